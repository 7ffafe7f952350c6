"""Train a trial again from a run's record, and say whether it comes out the same:

    python -m study.replay runs/NAME --trial 7

On a CPU, with as many threads, the same torch and the same machine, every loss and accuracy is equal to the last bit.
"""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.flags import Parser, whole

if TYPE_CHECKING:
    from results import Run
    from study.training.loop import Epoch

COMPARED = ("train_loss", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Arguments:
    """The command line, as flags() defines it."""

    run: Path
    trial: int
    data_dir: Path


def flags() -> Parser:
    parser = Parser(prog="study.replay", description="Train a trial again from a run's record, and compare.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--trial", type=whole(0), required=True, metavar="N", help="its number")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="where CIFAR-10 is kept")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    """Replays; the exit code is 0 if the curve is the same, 1 if it is not, 2 for a wrong input."""
    arguments = Arguments(**vars(flags().parse_args(sys.argv[1:] if command is None else list(command))))
    from study.pipeline.run_context import exit_on_user_error

    with exit_on_user_error("study.replay"):
        return _replay(arguments, Console())


def _replay(arguments: Arguments, console: Console) -> int:
    import torch

    import results
    from study import data
    from study.data import DataOptions
    from study.errors import UsageError
    from study.recipe import Recipe
    from study.training.loop import Diverged, Training

    run = results.load_run(arguments.run)
    of_trial = run.epochs[run.epochs["number"] == arguments.trial]
    numbers = of_trial["training_iteration"].tolist()
    recorded = dict(zip(numbers, of_trial[list(COMPARED)].to_dict("records"), strict=True))
    if not recorded:
        known = ", ".join(map(str, run.trials.index[run.trials["epochs"] > 0])) or "none"
        raise UsageError(f"--trial is {arguments.trial}; allowed, with a finished epoch in {run.path}: {known}")
    dataset = data.load(run.study["dataset"], DataOptions(arguments.data_dir), console.print)
    train, validation = dataset.split()
    if dataset.digests()["split_digest"] != run.study["data"]["split_digest"]:
        raise UsageError(f"{arguments.data_dir} holds other images, or another split, than {run.path} was made with")
    torch.set_num_threads(run.study.get("threads", 1))
    say = f"Trial {arguments.trial} of {run.path}: {len(recorded)} epochs, {torch.get_num_threads()} thread(s)"
    console.print(f"{say}, torch {torch.__version__}.", soft_wrap=True, highlight=False)
    try:
        for epoch in Training(Recipe.from_dict(run.recipe(arguments.trial)), train, validation):
            difference = _difference(epoch, recorded[epoch.number])
            console.print(
                f"epoch {epoch.number}: training loss {epoch.metrics['train_loss']:.4f}, "
                f"validation accuracy {epoch.metrics['val_accuracy']:.2%}{f'; {difference}' if difference else ''}",
                soft_wrap=True,
                highlight=False,
            )
            if difference:
                console.print(f"Not the same, from epoch {epoch.number} on. {_why(run)}", soft_wrap=True)
                return 1
            if epoch.number == max(recorded):
                break
    except Diverged as diverged:
        console.print(f"Not the same: {diverged}, where the record has {len(recorded)} epochs. {_why(run)}")
        return 1
    console.print(f"The same to the last bit, all {len(recorded)} epochs.", style="green")
    return 0


def _difference(epoch: "Epoch", recorded: "dict[Hashable, Any]") -> str:
    """The first measured number that differs, with both values; empty where none does."""
    for name in COMPARED:
        ours, theirs = epoch.metrics[name], recorded[name]
        if ours != theirs:
            return f"{name} is {ours!r}, the record has {theirs!r}"
    return ""


def _why(run: "Run") -> str:
    """What may lie behind a difference: all that the curve depends on besides the recipe."""
    from importlib.metadata import version

    from study.storage.event_log import git, machine

    was, now = run.study["hardware"], machine()
    reasons = [
        f"{name} was {run.study['versions'][name]}, here it is {version(name)}"
        for name in ("torch", "numpy")
        if run.study["versions"][name] != version(name)
    ]
    if was["cpu"] != now["cpu"]:
        reasons.append(f"the processor was {was['cpu']}, here it is {now['cpu']}")
    revisions = [(found or {}).get("revision", "unknown") for found in (run.study["git"], git())]
    if revisions[0] != revisions[1]:
        reasons.append(f"the code was at {revisions[0][:8]}, here it is at {revisions[1][:8]}")
    if was["gpus"]:
        reasons.append("it was trained on a GPU, where the order of sums is not fixed")
    return f"What differs: {'; '.join(reasons)}." if reasons else "Nothing that the record knows of differs."


if __name__ == "__main__":
    sys.exit(main())
