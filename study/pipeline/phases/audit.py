"""The audit: some of the stopped trials are trained to their end, to see what early stopping has lost."""

import numpy as np

import results
from study.config import StudyConfig
from study.pipeline.phases.planned_trainings import PlannedTraining, run_trainings
from study.pipeline.run_context import AUDIT, StudyContext
from study.recipe import Recipe
from study.search.problem import derived_seed


class Audit:
    """Trains `--audit` stopped trials, drawn at random, to the end that they were not given.

    Each is trained from its start with its own seed, so on a CPU its first epochs are those it had. Nothing is chosen
    by what comes out.
    """

    name = "audit"

    def enabled(self, config: StudyConfig) -> bool:
        return config.audit > 0

    def run(self, context: StudyContext) -> None:
        run = results.load_run(context.run_dir)
        stopped = run.trials.index[run.trials["stop_reason"].str.startswith("rung", na=False)].to_numpy()
        generator = np.random.default_rng(derived_seed(context.config.seed, AUDIT))
        drawn = sorted(int(number) for number in generator.permutation(stopped)[: context.config.audit])
        if drawn:
            planned = [PlannedTraining("audit", Recipe.from_dict(run.recipe(number)), number) for number in drawn]
            run_trainings(context, planned, "audit")
