"""How long a study will take, from a few timed training steps before it starts. The display corrects it as it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import StudyFailed
from study.execution.probe import time_recipes
from study.pipeline.make_problem import sample_recipes
from study.pipeline.phases.search import SearchSettings, make_scheduler
from study.pipeline.progress import clock
from study.pipeline.run_context import StudyContext

DRAWS = 6  # recipes of the space that are timed, besides the base recipe
# Seconds of an evaluated image as a share of those of a trained one: a forward pass without its backward pass.
EVALUATION_SHARE = 1 / 3
# A probe's workers are prestarted by Ray and only import torch. Those of a phase are new processes, and Ray Tune starts
# and stops around them; for the first phase it is imported, too. Measured with `python -m benchmarks.estimate`.
STARTS_OF_A_PHASE, STARTS_OF_RAY_TUNE = 2.5, 1.5
# Of a small network with its optimizer's state, and of an epoch in the event log and the tables.
CHECKPOINT_BYTES, EPOCH_BYTES, CHECKPOINTS = 5_000_000, 1_000, 16


@dataclass(frozen=True)
class Estimate:
    """Seconds of wall time of each phase, the least and the most that is likely, and bytes of disk."""

    phases: Mapping[str, tuple[float, float]]
    disk: int

    @property
    def total(self) -> tuple[float, float]:
        return sum(low for low, _ in self.phases.values()), sum(high for _, high in self.phases.values())

    def in_words(self) -> str:
        """One line for a person."""
        parts = [f"{name.replace('_', ' ')} {_span(span)}" for name, span in self.phases.items()]
        return f"{_span(self.total)} ({', '.join(parts)}); {max(0.1, self.disk / 1e9):.1f} GB of disk"

    def as_json(self) -> dict[str, Any]:
        """`estimate` of study.json: phase -> seconds, the least and the most."""
        return {name: [round(low, 1), round(high, 1)] for name, (low, high) in self.phases.items()}


def estimate(context: StudyContext) -> Estimate:
    """Times a few steps of the base recipe and of some draws from the space, on all slots at once.

    A search has as many epochs as its scheduler expects. The winner is taken to be as expensive as the mean and as the
    most expensive of the recipes that were timed. Each phase starts workers of its own.

    Raises:
        StudyFailed: no recipe could be timed.
    """
    config, problem = context.config, context.problem
    if problem is None:
        raise ValueError("a run without a search has no estimate")
    recipes = [problem.base, *sample_recipes(problem, DRAWS)]
    setup = context.worker_setup(context.folder, on_all_training_images=True)
    timing = time_recipes(setup, recipes, context.slots)
    timed = [seconds for seconds in timing.per_image if seconds]
    if not timed:
        raise StudyFailed("each recipe that was timed diverged at once")
    mean, dearest = sum(timed) / len(timed), max(timed)
    train, validation = context.splits
    images = len(train.labels) + EVALUATION_SHARE * len(validation.labels)
    per_epoch = images * mean / context.slots.count
    settings = SearchSettings.of(config)
    epochs = make_scheduler(config.scheduler, problem, settings).expected_epochs()
    start = STARTS_OF_A_PHASE * timing.start
    searching = _plus((epochs[0] * per_epoch, epochs[1] * per_epoch), start)
    trainings = _Trainings(context, start)
    baseline = timing.per_image[0] or mean
    phases = {"search": _plus(searching, STARTS_OF_RAY_TUNE * timing.start)}
    if config.audit:
        most = config.audit * config.max_epochs * per_epoch
        phases["audit"] = _plus((most / 2, most), start)
    beside = {"control": config.control, "baseline_tuning": config.tune_baseline}
    phases |= {name: searching for name, asked in beside.items() if asked}
    if config.finalists > 1:
        every, folds = len(context.dataset.training.labels), config.folds
        of_fold = images if folds == 1 else every * (1 - (1 - EVALUATION_SHARE) / folds)
        low, high = trainings.span([mean] * config.finalists, [dearest] * config.finalists, of_fold)
        phases["finalists"] = (folds * low, folds * high)  # one fold after another
    roles = [baseline] * (2 if config.tune_baseline else 1)
    phases["final"] = trainings.span([mean, *roles], [dearest, *roles], len(context.dataset.training.labels))
    if config.replicates:
        once = [phases[name] for name in ("search", "finalists", "final") if name in phases]
        low, high = (config.replicates * sum(span[end] for span in once) for end in (0, 1))
        phases["replicates"] = (low, high)
    searches = 1 + config.replicates
    disk = CHECKPOINTS * CHECKPOINT_BYTES + searches * config.samples * config.max_epochs * EPOCH_BYTES
    return Estimate(phases, disk)


@dataclass(frozen=True)
class _Trainings:
    """Trainings of `--final-epochs` for each of the `--final-seeds`, side by side."""

    context: StudyContext
    start: float

    def span(self, least: list[float], most: list[float], images: float) -> tuple[float, float]:
        """Seconds of trainings whose recipes take so many seconds per image.

        At most as long as the longest training; at least, where that one can use all CPUs, their share of the slots.
        """
        slots, seeds = self.context.slots, self.context.config.final_seeds
        faster = self.context.threads_of(len(least) * seeds) / slots.threads
        every = self.context.config.final_epochs * images
        low = max(seeds * sum(least) / slots.count, max(least) / faster)
        high = max(seeds * sum(most) / slots.count, max(most))
        return _plus((low * every, high * every), self.start)


def _plus(span: tuple[float, float], seconds: float) -> tuple[float, float]:
    return span[0] + seconds, span[1] + seconds


def _span(span: tuple[float, float]) -> str:
    low, high = clock(span[0]), clock(span[1])
    return low if low == high else f"{low} to {high}"
