"""Finalists: the best trials are trained again from fresh seeds before one of them is chosen."""

from typing import Any

import results
from study.config import StudyConfig
from study.data.dataset import Fold
from study.pipeline.phases.planned_trainings import PlannedTraining, run_trainings
from study.pipeline.run_context import FINALISTS, StudyContext
from study.recipe import Recipe
from study.storage.files import write_json


class Finalists:
    """Trains the `--finalists` best trials' recipes again, for `--final-epochs`, from fresh seeds.

    They are trained and validated on the study's own split, or on each of `--folds` folds of all training images.
    best.json then has the one with the best mean of the study's metric on validation images.
    """

    name = "finalists"

    def enabled(self, config: StudyConfig) -> bool:
        return config.finalists > 1

    def run(self, context: StudyContext) -> None:
        config, run = context.config, results.load_run(context.run_dir)
        best = [int(number) for number in results.leaderboard(run).index[: config.finalists]]
        recipes = {number: Recipe.from_dict(run.recipe(number)) for number in best}
        seeds = _seeds(config.final_seeds, run, set(best))
        for fold in _folds(config.folds):
            if context.interruption.signal_number is None:
                planned = [
                    PlannedTraining(
                        "finalist", recipe.with_fields({"epochs": config.final_epochs, "seed": seed}), number, fold
                    )
                    for seed in context.seeds(FINALISTS, seeds)
                    for number, recipe in recipes.items()
                ]
                run_trainings(context, planned, "finalists")
        if context.interruption.signal_number is None:
            _choose(context, set(recipes))


def _folds(count: int) -> list[Fold | None]:
    """None stands for the study's own split."""
    return [None] if count == 1 else [Fold(number, count) for number in range(1, count + 1)]


def _seeds(asked: int, run: results.Run, best: set[int]) -> int:
    """How many seeds each finalist is trained from.

    Further `--final-seeds` of a resumed study are for the final only: what the test set has seen is not chosen anew.
    """
    known = run.finalist_epochs.groupby("trial")["seed"].nunique()
    return min(asked, int(known[sorted(best)].min())) if len(run.final_epochs) and best <= set(known.index) else asked


def _choose(context: StudyContext, numbers: set[int]) -> None:
    run = results.load_run(context.run_dir)
    confirmed = results.finalists(run)
    confirmed = confirmed[confirmed.index.isin(numbers)]
    # A mean over fewer seeds or folds, as of a recipe that diverged in one of them, cannot be compared.
    confirmed = confirmed[confirmed["trainings"] == confirmed["trainings"].max()]
    if len(confirmed):
        number = int(confirmed.index[0])
        scores: dict[str, Any] = {
            run.metric.column: float(confirmed["search_score"][number]),
            "confirmed": float(confirmed["confirmed_score"][number]),
        }
        write_json(context.run_dir / "best.json", {"recipe": run.recipe(number), "trial": number, **scores})
