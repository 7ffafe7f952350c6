"""One training as Ray Tune runs it: in a worker process, on its share of the machine, reporting each epoch."""

import faulthandler
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeGuard

import ray
from ray import tune

from search_spaces.loading import load_object
from study.data.dataset import ImageSpec, Split
from study.errors import ResourceError
from study.recipe import Recipe
from study.storage.store import Store
from study.storage.user_code import SourceFiles, install

if TYPE_CHECKING:
    from study.training.loop import Epoch
    from study.training.trainer import Trainer

# Keys of a report to Ray Tune; all others are metrics.
EPOCH, SECONDS, DEVICE, DIVERGED = "epoch", "seconds", "device", "diverged"
# Set by tests that give Ray more GPUs than the machine has.
PRETEND_GPUS = "STUDY_PRETEND_GPUS"
SECONDS_BETWEEN_CHECKPOINTS = 30.0
DIGEST_BYTES = 32  # SHA-256 of the checkpoint, stored before it
# A training hangs when an epoch takes ten times the median and at least five minutes, or the first one an hour.
HANGS_BEYOND, HANGS_AFTER_S, FIRST_EPOCH_S = 10, 300.0, 3600.0


@dataclass(frozen=True, eq=False)
class WorkerSetup:
    """What all trainings of one phase have in common. It is put into Ray's object store once.

    Attributes:
        train, validation: images; validation is None to skip validation.
        spec: what a network needs to know of the images.
        store: gets checkpoints/<number>.pt, after each of `checkpoint_epochs` and every 30 s of training.
        keep_weights: whether `store` gets the final state of each training as <number>.pt.
        threads: of torch, in the worker.
        gpu: whether a training has a share of a GPU; without one it runs on the CPU.
        trainer: a class with the Trainer protocol, "file.py:Class", or None for the built-in loop.
        metrics: names of METRICS to measure after each epoch.
        sources: files of the user's own network or trainer, which a worker installs.
        objects: reference -> network or trainer that was passed from Python.
    """

    train: Split
    validation: Split | None
    spec: ImageSpec
    store: Store
    checkpoint_epochs: tuple[int, ...]
    keep_weights: bool
    threads: int
    gpu: bool
    trainer: Any = None
    metrics: tuple[str, ...] = ("accuracy",)
    sources: tuple[SourceFiles, ...] = ()
    objects: Mapping[str, Any] = field(default_factory=dict)


def train(config: dict[str, Any], *, setup: WorkerSetup) -> None:
    """Trains `config["recipe"]` from its newest checkpoint, or from the start, and reports each epoch to Ray Tune.

    Args:
        config: "number", which names the checkpoint; "recipe", all its fields; "recorded", how many epochs the event
            log had when the training was started.

    Raises:
        ResourceError: Ray granted a share of a GPU that torch cannot use.
    """
    from study.training.loop import Diverged

    training = _CheckpointedTraining(config, setup)
    training.restore()
    try:
        training.run()
    except Diverged as diverged:
        tune.report({EPOCH: diverged.epoch, DIVERGED: str(diverged)})


class _CheckpointedTraining:
    """A Trainer whose state is kept in the store, and whose epochs are reported to Ray Tune."""

    def __init__(self, config: dict[str, Any], setup: WorkerSetup) -> None:
        self._number, self._fields, self._recorded = config["number"], config["recipe"], config["recorded"]
        self._setup = setup
        self._reports: list[dict[str, Any]] = []
        self._saved = time.monotonic()
        from study.training import devices

        self._device = device_of(setup)
        self._recipe = Recipe.from_dict(self._fields)
        self._trainer = make_trainer(self._recipe, setup, device=self._device, after_step=self._save_when_due)
        self._described = devices.describe(self._device, getattr(self._trainer, "arithmetic", None))

    def restore(self) -> None:
        """Continues from the checkpoint, if there is one, and reports the epochs that the event log does not have."""
        import torch

        written = self._setup.store.read(checkpoint_of(self._number))
        if _is_intact(written):
            content = torch.load(io.BytesIO(written[DIGEST_BYTES:]), weights_only=True, map_location="cpu")
            # A store may have states that its copy of the event log does not know of yet, where the driver's disk was
            # lost. Their epochs are reported now. A number that went to another recipe starts anew.
            if Recipe.from_dict(content["recipe"]) == self._recipe:
                self._trainer.load_state_dict(content["training"])
                self._reports = content["reports"]
        for report in self._reports:
            if report[EPOCH] > self._recorded:
                tune.report(report)

    def run(self) -> None:
        """Trains to the last epoch, or until Ray Tune stops this process."""
        from study.training.trainer import final_state

        log = self._setup.store.folder and self._setup.store.folder / hang_log_of(self._number)
        took: list[float] = []
        with hang_watch(log) as watch:
            watch(FIRST_EPOCH_S)
            for epoch in self._trainer:
                took.append(epoch.seconds)
                watch(max(HANGS_AFTER_S, HANGS_BEYOND * median(took)))
                if self._setup.keep_weights and epoch.number == self._fields["epochs"]:
                    self._setup.store.write(weights_of(self._number), as_bytes(final_state(self._trainer)))
                self._reports.append(self._report(epoch))
                # Before the report, as a trial that is paused does not return from it. If the driver dies before it has
                # recorded the epoch, the checkpoint reports it again.
                if epoch.number in self._setup.checkpoint_epochs:
                    self._save(self._trainer)
                tune.report(self._reports[-1])

    def _report(self, epoch: "Epoch") -> dict[str, Any]:
        return {EPOCH: epoch.number, **epoch.metrics, SECONDS: epoch.seconds, DEVICE: self._described}

    def _save_when_due(self, trainer: "Trainer") -> None:
        if time.monotonic() - self._saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self._save(trainer)

    def _save(self, trainer: "Trainer") -> None:
        state = trainer.state_dict() if hasattr(trainer, "state_dict") else None
        if state is None:
            return  # a trainer that cannot save its state begins anew after an interruption
        content = as_bytes({"recipe": self._fields, "training": state, "reports": self._reports})
        self._setup.store.write(checkpoint_of(self._number), sha256(content).digest() + content)
        self._saved = time.monotonic()


def device_of(setup: WorkerSetup) -> str:
    """The device of a training: "cuda" for one with a share of a GPU, of whose memory it may take as much, else "cpu".

    Raises:
        ResourceError: torch cannot use the GPU that was granted.
    """
    import torch

    from study.training import devices

    if not setup.gpu:
        return "cpu"
    if not torch.cuda.is_available():
        if PRETEND_GPUS in os.environ:
            return "cpu"
        raise ResourceError("Ray granted a share of a GPU, but torch has no CUDA device; give --gpus-per-trial 0")
    context: Any = ray.get_runtime_context()
    devices.limit_memory(context.get_assigned_resources().get("GPU", 1.0))
    return "cuda"


def make_trainer(recipe: Recipe, setup: WorkerSetup, **options: Any) -> "Trainer":
    """The Trainer of `recipe` in this process: the built-in loop, or the user's class."""
    import torch

    from study.training.references import OBJECTS
    from study.training.trainer import build_trainer

    torch.set_num_threads(setup.threads)
    OBJECTS.update(setup.objects)
    for reference, local in install(setup.sources).items():
        OBJECTS[reference] = load_object(local, "network or trainer")
    return build_trainer(
        setup.trainer, recipe, setup.train, setup.validation, spec=setup.spec, metrics=setup.metrics, **options
    )


def metrics_of(report: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics among what a training reported; Ray Tune adds keys of its own to a report."""
    return {name: value for name, value in report.items() if name == "train_loss" or name.startswith("val_")}


def _is_intact(written: bytes | None) -> TypeGuard[bytes]:
    """Whether a checkpoint is there and undamaged. The epochs of a damaged one are trained again."""
    return written is not None and sha256(written[DIGEST_BYTES:]).digest() == written[:DIGEST_BYTES]


@contextmanager
def hang_watch(log: Path | None) -> Iterator[Callable[[float], None]]:
    """Yields a function that ends this process unless it is called again within the given seconds.

    faulthandler ends the process from a C thread, so it works even where the interpreter is stuck. Ray sees a dead
    worker. `log` then has the traceback; otherwise it is deleted. Without a `log` the traceback is in Ray's worker log.
    """
    with nullcontext(sys.stderr) if log is None else log.open("w") as file:
        try:
            yield lambda seconds: faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        finally:
            faulthandler.cancel_dump_traceback_later()
            if log is not None:
                log.unlink(missing_ok=True)


def checkpoint_of(number: int) -> str:
    """The name in the store of a training's newest checkpoint."""
    return f"checkpoints/{number}.pt"


def hang_log_of(number: int) -> str:
    """The name in the store of the traceback of a training that hung."""
    return f"checkpoints/{number}.hang"


def weights_of(number: int) -> str:
    """The name in the store of a finished network."""
    return f"{number}.pt"


def as_bytes(content: Any) -> memoryview:
    """`content` as torch.save writes it; it loads with weights_only."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()
