"""Further searches with the same budget of epochs: a random control, and a search around the baseline.

Each is a run of its own in a folder of the run.
"""

from dataclasses import replace

import results
import search_spaces
from study.config import StudyConfig
from study.pipeline.make_problem import problem_as_json
from study.pipeline.phases.search import SearchSettings, search
from study.pipeline.run_context import CONTROL, TUNED_BASELINE, StudyContext
from study.recipe import load_recipe
from study.search.problem import SearchProblem, derived_seed
from study.storage.study_file import StudyFile, now


class Control:
    """Random search in the same space."""

    name = "control"

    def enabled(self, config: StudyConfig) -> bool:
        return config.control is not None

    def run(self, context: StudyContext) -> None:
        seed = derived_seed(context.config.seed, CONTROL)
        problem = replace(_problem(context), sampler="random", seed=seed, history=(), starts=())
        _search_beside(context, "control", problem)


class TunedBaseline:
    """A search of the baseline's own learning rate and batch size."""

    name = "baseline_tuning"

    def enabled(self, config: StudyConfig) -> bool:
        return config.tune_baseline

    def run(self, context: StudyContext) -> None:
        problem = replace(
            _problem(context),
            space=search_spaces.SPACES["baseline"],
            space_name="baseline",
            base=load_recipe(context.config.baseline),
            seed=derived_seed(context.config.seed, TUNED_BASELINE),
            fixed={},
            history=(),
            leaders=(),
            priors={},
            starts=(),
        )
        _search_beside(context, "tuned-baseline", problem)


def _problem(context: StudyContext) -> SearchProblem:
    if context.problem is None:
        raise ValueError("a run without a search has no search beside it")
    return context.problem


def _search_beside(context: StudyContext, name: str, problem: SearchProblem) -> None:
    spent = int(results.load_run(context.run_dir).trials["epochs"].sum())
    asked = SearchSettings.of(context.config)
    # What ends the main search early would make this one's budget another.
    settings = replace(asked, samples=spent, epoch_budget=spent, stop_when_worth=None, stop_at=None)
    folder = context.folder.below(name)
    folder.path.mkdir(exist_ok=True)
    study = _study_file(context, folder.path.name, problem, settings)
    beside = replace(context, folder=folder, study=study, problem=problem)
    search(beside, settings, title=name.replace("-", " "))
    if context.interruption.signal_number is None:
        study.update(status="finished", ended=now())


def _study_file(context: StudyContext, name: str, problem: SearchProblem, settings: SearchSettings) -> StudyFile:
    path = context.run_dir / name / "study.json"
    if path.exists():
        study = StudyFile(path)
        study.update(status="running", ended=None, **settings.as_json())
        return study
    own = {
        "name": f"{context.run_dir.name}/{name}",
        "kind": "search",
        "status": "running",
        "created": now(),
        "ended": None,
        **problem_as_json(problem),
        **settings.as_json(),
        "seconds": {},
        "test_openings": [],
        "warm_start": None,
    }
    return StudyFile(path, {**context.study.content, **own})
