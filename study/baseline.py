"""Reproduce the published training, or check anybody's recipe, over several seeds:

python -m study.baseline --seeds 3
python -m study.baseline --recipe runs/NAME/best.json
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from study.flags import Parser, add_machine_and_files, run_or_url, whole

if TYPE_CHECKING:
    from results import Run
    from study.pipeline.run_context import RunContext
    from study.recipe import Recipe


@dataclass(frozen=True)
class Arguments:
    """The command line, as flags() defines it; of a resumed run, that of its beginning with what was given now."""

    recipe: str
    seeds: int
    epochs: int | None
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    max_concurrent: int | None
    address: str
    storage_path: str | None
    seed: int
    name: str | None
    runs_dir: Path
    data_dir: Path
    dataset: str
    resume: Path | str | None
    json: bool


# What a run means. A resumed one keeps these as they were; all else may be given anew.
MEANING = ("recipe", "epochs", "seed", "dataset", "name", "runs_dir")
# What holds for one sitting only: a resumed run does not inherit it.
OF_A_SITTING = ("json", "resume")


def flags() -> Parser:
    parser = Parser(prog="study.baseline", description="Train a recipe on all training images, over several seeds.")
    parser.add_argument("--recipe", default="baseline", metavar="NAME|FILE", help="of study.recipe, or a JSON file")
    parser.add_argument("--seeds", type=whole(1), default=3, metavar="N", help="trainings")
    parser.add_argument("--epochs", type=whole(1), metavar="N", help="in place of the recipe's own")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="the seeds derive from it")
    add_machine_and_files(parser)
    parser.add_argument("--resume", type=run_or_url, metavar="RUN", help="goes on with a run, or adds --seeds to it")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    """Trains and reports; the exit code is 0 whatever the accuracy.

    Args:
        command: the flags.
    """
    command = sys.argv[1:] if command is None else list(command)
    arguments = Arguments(**vars(flags().parse_args(command)))
    from study.pipeline.run_context import exit_on_user_error, merge_resume_arguments

    with exit_on_user_error("study.baseline"):
        if arguments.resume is not None:
            values = merge_resume_arguments(arguments.resume, "baseline", flags(), command, MEANING, OF_A_SITTING)
            arguments = Arguments(**values)
        return _reproduce(arguments, command, Console(stderr=arguments.json))


def _reproduce(arguments: Arguments, command: list[str], console: Console) -> int:
    import results
    from results import report
    from study.execution.runner import Arrays, Interruption
    from study.pipeline import final
    from study.pipeline.evidence import FINAL
    from study.pipeline.progress import Progress
    from study.pipeline.run_context import copied, run_phases, timed, wall_time
    from study.pipeline.trainings import run_trainings
    from study.recipe import load_recipe
    from study.search.problem import derived_seed

    recipe = load_recipe(arguments.recipe)
    epochs = arguments.epochs or recipe.epochs
    opened = _open(arguments, command, recipe, epochs, console)
    interruption = Interruption()

    def train_and_evaluate() -> None:
        seeds = [derived_seed(arguments.seed, FINAL + index) for index in range(arguments.seeds)]
        jobs = final.jobs({"recipe_under_test": recipe}, epochs, seeds)
        screen = Progress(console, "baseline", len(jobs), epochs)
        folder, arrays = opened.folder.below("final"), Arrays(opened.training, None)
        done = run_trainings(jobs, arrays, folder, opened.slots, interruption, screen, keep_weights=True)
        if interruption.signal_number is None:
            final.conclude(done, opened.dataset, folder, opened.study)

    code = run_phases("study.baseline", opened, interruption, {"final": train_and_evaluate})
    if code == 0:
        with timed(opened.study, "report"):
            report.write(results.load_run(opened.run_dir))
        run = results.load_run(opened.run_dir)
        rows = against_publication(run)
        if arguments.json:
            print(json.dumps({"run": str(opened.run_dir), "measured": rows, "final": run.final}, indent=2))
        _show(rows, run, console)
        console.print(f"\nFiles: {opened.run_dir}\n{wall_time(run.study)}", soft_wrap=True, highlight=False)
    return copied("study.baseline", opened, code)


def _open(arguments: Arguments, command: list[str], recipe: "Recipe", epochs: int, console: Console) -> "RunContext":
    """The run, new or resumed.

    Raises:
        UsageError, DataError, ResourceError, EventLogError: it cannot begin, or go on.
    """
    import results
    from study.errors import UsageError
    from study.pipeline.run_context import Machine, as_json, resume_run, start_run
    from study.recipe import Recipe

    machine = Machine.of(arguments)
    asked = {"command": command, "arguments": {**as_json(asdict(arguments)), "resume": None}}

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    if arguments.resume is not None:
        run_dir = Path(arguments.resume)
        run = results.load_run(run_dir)
        if recipe != Recipe.from_dict(run.base):
            raise UsageError(f"recipe {arguments.recipe} is otherwise than when {run.path} began")
        if arguments.seeds < (begun := run.final_epochs["seed"].nunique()):
            raise UsageError(f"--seeds is {arguments.seeds}; allowed: at least the {begun} begun")
        return resume_run(run_dir, machine, say, asked)
    return start_run(
        arguments.runs_dir / _name(arguments),
        machine,
        say,
        {
            **asked,
            "kind": "baseline",
            "space": None,
            "knobs": {},
            "base": recipe.as_dict(),
            "baseline": recipe.as_dict(),
            "samples": 0,
            "max_epochs": epochs,
            "grace_period": epochs,
            "reduction_factor": 2,
            "rungs": [],
            "seed": arguments.seed,
            "warm_start": None,
        },
    )


def _name(arguments: Arguments) -> str:
    """Of a new run."""
    return arguments.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(arguments.recipe).stem}"


def against_publication(run: "Run") -> list[dict[str, Any]]:
    """Each published number beside what the seeds of a baseline run gave, as far as it trained.

    Returns:
        Objects of quantity, published, mean, lowest, highest, difference (mean - published), inside (whether the
        published number lies within the seeds' range) and values (one per seed).
    """
    from study.pipeline.final import PUBLISHED_ACCURACY, PUBLISHED_LOSS

    epochs = run.final_epochs
    found: list[tuple[str, float, list[float]]] = []
    for epoch, published in PUBLISHED_LOSS.items():
        values = epochs.loc[epochs["training_iteration"] == epoch, "train_loss"].tolist()
        if values:
            found.append((f"training loss, epoch {epoch}", published, values))
    if run.final is not None:
        accuracies = [each["accuracy"] for each in run.final["recipe_under_test"]["seeds"]]
        found.append((f"test accuracy, epoch {run.final['final_epochs']}", PUBLISHED_ACCURACY, accuracies))
    return [
        {
            "quantity": quantity,
            "published": published,
            "mean": mean(values),
            "lowest": min(values),
            "highest": max(values),
            "difference": mean(values) - published,
            "inside": min(values) <= published <= max(values),
            "values": values,
        }
        for quantity, published, values in found
    ]


def _show(rows: list[dict[str, Any]], run: "Run", console: Console) -> None:
    if run.synthetic:
        console.print("Synthetic images: no number here says anything about CIFAR-10.", style="bold yellow")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "published", "mean", "lowest", "highest", "difference", "inside"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        form = "{:.2%}" if "accuracy" in row["quantity"] else "{:.3f}"
        numbers = [form.format(row[name]) for name in ("published", "mean", "lowest", "highest")]
        sign = "+" if row["difference"] >= 0 else ""
        table.add_row(
            row["quantity"], *numbers, sign + form.format(row["difference"]), "yes" if row["inside"] else "no"
        )
    console.print()
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
