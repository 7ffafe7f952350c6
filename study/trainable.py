"""One training as Ray runs it: in a worker process, on its share of the machine, reporting each Epoch.

Ray is met here and in search.py; the training loop knows nothing of it.
"""

import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from ray import tune

from study.asha import EPOCH, METRIC
from study.data import Split
from study.recipe import Recipe
from study.record import whole

SECONDS_BETWEEN_CHECKPOINTS = 30.0
# A training hangs that takes ten times its median epoch for one, and at least five minutes; before the first epoch has
# shown how long one is, an hour.
HANGS_BEYOND, HANGS_AFTER_S, FIRST_EPOCH_S = 10, 300.0, 3600.0


def train(
    config: dict[str, Any],
    *,
    train: Split,
    validation: Split | None,
    checkpoints: str,
    checkpoint_epochs: tuple[int, ...],
    weights: str | None,
    threads: int,
    gpu: bool,
) -> None:
    """Trains `config["recipe"]` from its newest checkpoint, or from the start, and reports each Epoch to Ray Tune.

    Args:
        config: "number", which names the checkpoint, and "recipe", all its fields.
        train: zero-copy from Ray's object store.
        validation: the same, or None to train without looking.
        checkpoints: folder of `<number>.pt`; written after each of `checkpoint_epochs` and every 30 s of training.
        threads: of torch, in this process.
        gpu: whether the training has a share of one; without, it stays on the CPU also where a GPU is.
        weights: folder that gets the finished network as `<number>.pt`, a state_dict; None to keep none.
    """
    import torch

    from study.training import Diverged, Training

    torch.set_num_threads(threads)
    checkpoint = Path(checkpoints) / f"{config['number']}.pt"
    saved = time.monotonic()

    def save(training: Training, report: dict[str, Any] | None = None) -> None:
        nonlocal saved
        write_tensors(checkpoint, {"training": training.state_dict(), "report": report})
        saved = time.monotonic()

    def save_when_due(training: Training) -> None:
        if time.monotonic() - saved >= SECONDS_BETWEEN_CHECKPOINTS:
            save(training)

    training = Training(
        Recipe(**config["recipe"]),
        train,
        validation,
        device="cuda" if gpu and torch.cuda.is_available() else "cpu",
        after_step=save_when_due,
    )
    if checkpoint.exists():
        content = torch.load(checkpoint, weights_only=True, map_location=training.device)
        training.load_state_dict(content["training"])
        if content["report"] is not None:
            tune.report(content["report"])
    took: list[float] = []
    try:
        with hang_watch(checkpoint.with_suffix(".hang")) as watch:
            watch(FIRST_EPOCH_S)
            for epoch in training:
                took.append(epoch.seconds)
                watch(max(HANGS_AFTER_S, HANGS_BEYOND * median(took)))
                if weights is not None and epoch.number == training.recipe.epochs:
                    write_tensors(Path(weights) / f"{config['number']}.pt", training.model.state_dict())
                report = {
                    EPOCH: epoch.number,
                    "train_loss": epoch.train_loss,
                    "val_loss": epoch.val_loss,
                    METRIC: epoch.val_accuracy,
                    "seconds": epoch.seconds,
                }
                # Before the report, from which a trial that comes to rest does not return. Where the driver dies before
                # it has recorded the epoch, the checkpoint brings it again.
                if epoch.number in checkpoint_epochs:
                    save(training, report)
                tune.report(report)
    except Diverged as diverged:
        tune.report({EPOCH: diverged.epoch, METRIC: float("nan"), "diverged": str(diverged)})


@contextmanager
def hang_watch(log: Path) -> Iterator[Callable[[float], None]]:
    """Inside, the function given ends this process unless it is called again within that many seconds.

    The process ends from a thread of its own, which needs nothing of Python's, also where all else is stuck. Ray takes
    it for a dead worker. `log` then holds where the process stood; otherwise it is gone.
    """
    with log.open("w") as file:
        try:
            yield lambda seconds: faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        finally:
            faulthandler.cancel_dump_traceback_later()
            log.unlink(missing_ok=True)


def write_tensors(path: Path, content: Any) -> None:
    """torch.save, whole or not at all, loadable with weights_only."""
    import torch

    with whole(path) as file:
        torch.save(content, file)
