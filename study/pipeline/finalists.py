"""Finalists: the best trials are trained again from fresh seeds before one of them is chosen."""

from dataclasses import dataclass, replace
from typing import Any

import results
from study.config import StudyConfig
from study.pipeline.planned_trainings import PlannedTraining, run_trainings
from study.pipeline.run_context import FINALISTS, SPLITS, StudyContext
from study.recipe import Recipe
from study.search.problem import derived_seed
from study.storage.files import write_json


@dataclass(frozen=True)
class Comparison:
    """One split of training and validation images, and the seeds that every finalist is trained from on it."""

    split_seed: int
    seeds: tuple[int, ...]


class Finalists:
    """Trains the `--finalists` best trials' recipes again, for `--final-epochs`, on the training split.

    With `--finalist-splits` they are trained on other splits as well. best.json then has the one with the best mean on
    the validation images.
    """

    name = "finalists"

    def enabled(self, config: StudyConfig) -> bool:
        return config.finalists > 1

    def run(self, context: StudyContext) -> None:
        config, run = context.config, results.load_run(context.run_dir)
        best = [int(number) for number in results.leaderboard(run).index[: config.finalists]]
        recipes = {number: Recipe.from_dict(run.recipe(number)) for number in best}
        comparisons = _comparisons(context, run, set(best))
        if config.finalist_splits > 1:
            split_seeds = {str(each.split_seed): list(each.seeds) for each in comparisons}
            context.study.update(finalist_splits=split_seeds)
        for each in comparisons:
            if context.interruption.signal_number is not None:
                return
            planned = [
                PlannedTraining("finalist", recipe.with_fields({"epochs": config.final_epochs, "seed": seed}), trial)
                for seed in each.seeds
                for trial, recipe in recipes.items()
            ]
            on_split = replace(context, dataset=context.dataset.with_split_seed(each.split_seed))
            run_trainings(on_split, planned, "finalists")
        if context.interruption.signal_number is None:
            _choose(context, set(recipes))


def _comparisons(context: StudyContext, run: results.Run, best: set[int]) -> list[Comparison]:
    """What the finalists are trained on and from.

    Further `--final-seeds` of a resumed study are for the final only: what the test set has seen is not chosen anew.
    """
    config, known = context.config, results.finalists(run)
    count = config.final_seeds * config.finalist_splits
    if len(run.final_epochs) and best <= set(known.index):
        count = min(count, int(known.loc[sorted(best), "seeds"].min()))
    seeds = context.seeds(FINALISTS, count)
    own = context.dataset.options.split_seed
    splits = [own, *(derived_seed(config.seed, SPLITS + other) for other in range(1, config.finalist_splits))]
    return [Comparison(split, tuple(seeds[at :: len(splits)])) for at, split in enumerate(splits) if seeds[at:]]


def _choose(context: StudyContext, numbers: set[int]) -> None:
    run = results.load_run(context.run_dir)
    confirmed = results.finalists(run)
    confirmed = confirmed[confirmed.index.isin(numbers)]
    if len(confirmed):
        number = int(confirmed.index[0])
        scores: dict[str, Any] = {
            "val_accuracy": float(confirmed["search_score"][number]),
            "confirmed": float(confirmed["confirmed_score"][number]),
        }
        write_json(context.run_dir / "best.json", {"recipe": run.recipe(number), "trial": number, **scores})
