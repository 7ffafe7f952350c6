"""How long a study will take, from a few timed training steps before it starts."""

import time
from dataclasses import dataclass

import torch

from study.config import StudyConfig
from study.data import Split
from study.pipeline.make_problem import sample_recipes
from study.pipeline.progress import clock
from study.pipeline.run_context import StudyContext
from study.pipeline.search import SearchSettings
from study.recipe import Recipe
from study.training.loop import Diverged, Training

STEPS = 4  # timed, after one that warms up
DRAWS = 6  # recipes of the space that are timed, besides the base recipe
# Seconds of an evaluated image as a share of those of a trained one: a forward pass without its backward pass.
EVALUATION_SHARE = 1 / 3
# Of a small network with its optimizer's state, and of an epoch in the event log and the tables.
CHECKPOINT_BYTES, EPOCH_BYTES, CHECKPOINTS = 5_000_000, 1_000, 16


@dataclass(frozen=True)
class Estimate:
    """Seconds of wall time, the least and the most that is likely, and bytes of disk."""

    search: tuple[float, float]
    final: tuple[float, float]
    disk: int
    replicates: tuple[float, float] = (0.0, 0.0)

    def in_words(self) -> str:
        """One line for a person."""
        low, high = (sum(span[end] for span in self.parts().values()) for end in (0, 1))
        parts = [f"{name} {clock(span[0])} to {clock(span[1])}" for name, span in self.parts().items()]
        return f"{clock(low)} to {clock(high)} ({', '.join(parts)}); {max(0.1, self.disk / 1e9):.1f} GB of disk"

    def parts(self) -> dict[str, tuple[float, float]]:
        more = {"replicates": self.replicates} if self.replicates[1] else {}
        return {"search": self.search, "final": self.final, **more}


def estimate(context: StudyContext) -> Estimate:
    """Times a few steps of the base recipe and of some draws from the space, in this process.

    The search has as many epochs as its scheduler is expected to give (SearchSettings.size). The winner is taken to be
    as expensive as the mean and as the most expensive of the recipes that were timed.
    """
    config, problem = context.config, context.problem
    if problem is None:
        raise ValueError("a run without a search has no estimate")
    train, validation = context.splits
    base = _seconds_per_image(problem.base, context)
    draws = sorted(_seconds_per_image(recipe, context) for recipe in sample_recipes(problem, DRAWS))
    mean = (base + sum(draws)) / (1 + len(draws))
    images = len(train.labels) + EVALUATION_SHARE * len(validation.labels)
    low, high = SearchSettings.of(config).size("search").expected_epochs or (0.0, 0.0)
    per_epoch = images * mean / context.slots.count
    search = (low * per_epoch, high * per_epoch)
    final = (_final(context, mean, base), _final(context, draws[-1], base))
    once = tuple(one + other for one, other in zip(search, final, strict=True))
    return Estimate(
        search,
        final,
        CHECKPOINTS * CHECKPOINT_BYTES + (1 + config.replicates) * config.samples * config.max_epochs * EPOCH_BYTES,
        (config.replicates * once[0], config.replicates * once[1]),
    )


def _final(context: StudyContext, winner: float, baseline: float) -> float:
    """Seconds of the final: side by side, its trainings take as long as the longest one or as their share of the slots.

    Args:
        winner, baseline: seconds of training on one image.
    """
    config: StudyConfig = context.config
    images = config.final_epochs * len(context.dataset.training.labels)
    trainings = [winner * images, baseline * images] * config.final_seeds
    return max(max(trainings), sum(trainings) / context.slots.count)


def _seconds_per_image(recipe: Recipe, context: StudyContext) -> float:
    """Of one training step, measured over STEPS steps; 0 for a recipe that diverges at once."""
    train, threads = context.splits[0], torch.get_num_threads()
    images = min(len(train.labels), recipe.batch_size * (STEPS + 1))
    few = Split(train.images[:images], train.labels[:images])
    times: list[float] = []
    torch.set_num_threads(context.slots.threads)
    try:
        short = recipe.with_fields({"epochs": 1})
        training = Training(
            short, few, spec=context.dataset.spec, after_step=lambda _: times.append(time.perf_counter())
        )
        next(iter(training))
    except Diverged:
        pass
    finally:
        torch.set_num_threads(threads)
    return (times[-1] - times[0]) / ((len(times) - 1) * recipe.batch_size) if len(times) > 1 else 0.0
