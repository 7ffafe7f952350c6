"""One training as Ray runs it: in a worker process, on its share of the machine, reporting each Epoch.

Ray is met here and in search.py; the training loop knows nothing of it.
"""

import faulthandler
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, TypeGuard

from ray import tune

from study.data import Split
from study.recipe import Recipe
from study.storage.store import Store

# Names in a result as Ray Tune has it.
EPOCH = "epoch"
METRIC = "val_accuracy"

SECONDS_BETWEEN_CHECKPOINTS = 30.0
DIGEST_BYTES = 32  # SHA-256, before the state that it is of
# A training hangs that takes ten times its median epoch for one, and at least five minutes; before the first epoch has
# shown how long one is, an hour.
HANGS_BEYOND, HANGS_AFTER_S, FIRST_EPOCH_S = 10, 300.0, 3600.0


def train(
    config: dict[str, Any],
    *,
    train: Split,
    validation: Split | None,
    store: Store,
    checkpoint_epochs: tuple[int, ...],
    keep_weights: bool,
    threads: int,
    gpu: bool,
) -> None:
    """Trains `config["recipe"]` from its newest checkpoint, or from the start, and reports each Epoch to Ray Tune.

    Args:
        config: "number", which names the checkpoint, "recipe", all its fields, and "recorded", the epochs that the
            record had when the training was handed out.
        train: zero-copy from Ray's object store.
        validation: the same, or None to train without looking.
        store: gets checkpoints/<number>.pt, written after each of `checkpoint_epochs` and every 30 s of training.
        threads: of torch, in this process.
        gpu: whether the training has a share of one; without, it stays on the CPU also where a GPU is.
        keep_weights: whether `store` gets the finished network as <number>.pt, a state_dict.
    """
    import torch

    from study.training.loop import Diverged, Training

    torch.set_num_threads(threads)
    checkpoint, reports = checkpoint_of(config["number"]), list[dict[str, Any]]()
    saved = time.monotonic()

    def save(training: Training) -> None:
        nonlocal saved
        content = {"recipe": config["recipe"], "training": training.state_dict(), "reports": reports}
        state = as_bytes(content)
        store.write(checkpoint, sha256(state).digest() + state)
        saved = time.monotonic()

    def save_when_due(training: Training) -> None:
        if time.monotonic() - saved >= SECONDS_BETWEEN_CHECKPOINTS:
            save(training)

    training = Training(
        Recipe.from_dict(config["recipe"]),
        train,
        validation,
        device="cuda" if gpu and torch.cuda.is_available() else "cpu",
        after_step=save_when_due,
    )
    if _is_whole(written := store.read(checkpoint)):
        content = torch.load(io.BytesIO(written[DIGEST_BYTES:]), weights_only=True, map_location=training.device)
        # A store may have states that its copy of the record does not know of yet, where the driver's disk was lost:
        # epochs are then reported from here, and a number that went to another recipe starts anew.
        if Recipe.from_dict(content["recipe"]) == training.recipe:
            training.load_state_dict(content["training"])
            reports = content["reports"]
    for report in reports:
        if report[EPOCH] > config["recorded"]:
            tune.report(report)
    took: list[float] = []
    try:
        with hang_watch(store.folder and store.folder / hang_log_of(config["number"])) as watch:
            watch(FIRST_EPOCH_S)
            for epoch in training:
                took.append(epoch.seconds)
                watch(max(HANGS_AFTER_S, HANGS_BEYOND * median(took)))
                if keep_weights and epoch.number == training.recipe.epochs:
                    store.write(weights_of(config["number"]), as_bytes(training.model.state_dict()))
                reports.append(
                    {
                        EPOCH: epoch.number,
                        **epoch.metrics,
                        "seconds": epoch.seconds,
                    }
                )
                # Before the report, from which a trial that comes to rest does not return. Where the driver dies before
                # it has recorded the epoch, the checkpoint brings it again.
                if epoch.number in checkpoint_epochs:
                    save(training)
                tune.report(reports[-1])
    except Diverged as diverged:
        tune.report({EPOCH: diverged.epoch, METRIC: float("nan"), "diverged": str(diverged)})


def _is_whole(written: bytes | None) -> TypeGuard[bytes]:
    """Whether a state is there and is as it was written. What one that the disk has damaged held is trained again."""
    return written is not None and sha256(written[DIGEST_BYTES:]).digest() == written[:DIGEST_BYTES]


@contextmanager
def hang_watch(log: Path | None) -> Iterator[Callable[[float], None]]:
    """Inside, the function given ends this process unless it is called again within that many seconds.

    The process ends from a thread of its own, which needs nothing of Python's, also where all else is stuck. Ray takes
    it for a dead worker. `log` then holds where the process stood; otherwise it is gone. Without one, where it stood is
    in Ray's own log of the worker.
    """
    with nullcontext(sys.stderr) if log is None else log.open("w") as file:
        try:
            yield lambda seconds: faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        finally:
            faulthandler.cancel_dump_traceback_later()
            if log is not None:
                log.unlink(missing_ok=True)


def checkpoint_of(number: int) -> str:
    """The name in the store of a training's newest state."""
    return f"checkpoints/{number}.pt"


def hang_log_of(number: int) -> str:
    """The name in the store of the log in which a training that hung says where."""
    return f"checkpoints/{number}.hang"


def weights_of(number: int) -> str:
    """The name in the store of a finished network."""
    return f"{number}.pt"


def as_bytes(content: Any) -> memoryview:
    """As torch.save writes it, loadable with weights_only."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()
