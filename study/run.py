"""Find a better recipe, retrain it, and say how much better it is:

    python -m study.run --samples 20

Flags in, calls, words out. What is heavy is not needed for --help, so it is imported late.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from study.flags import Parser, add_machine_and_files, duration, whole

if TYPE_CHECKING:
    from study.data import Dataset
    from study.resources import Slots


@dataclass(frozen=True)
class Arguments:
    """The command line, as flags() defines it."""

    samples: int
    space: str
    max_epochs: int
    grace_period: int
    reduction_factor: int
    final_epochs: int
    final_seeds: int
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    max_concurrent: int | None
    time_budget: float | None
    seed: int
    name: str | None
    runs_dir: Path
    data_dir: Path
    dataset: "Dataset"
    quiet: bool
    json: bool


def flags() -> Parser:
    parser = Parser(
        prog="study.run", description="Search hyperparameters of a CNN on CIFAR-10, retrain the best, compare."
    )
    search = parser.add_argument_group("search")
    search.add_argument("--samples", type=whole(1), default=20, metavar="N", help="trials, the baseline among them")
    search.add_argument("--space", default="cnn", help="a name, file.py:function or package.module:function")
    search.add_argument(
        "--max-epochs", type=whole(1), default=10, metavar="N", help="epochs of a trial that is not stopped"
    )
    search.add_argument(
        "--grace-period", type=whole(1), default=1, metavar="N", help="epochs before ASHA stops a trial"
    )
    search.add_argument(
        "--reduction-factor", type=whole(2), default=3, metavar="N", help="one trial in N goes on at each rung"
    )
    search.add_argument(
        "--time-budget", type=duration, metavar="TIME", help="ends the search, not the final: 90s, 30m, 2h"
    )
    search.add_argument("--seed", type=whole(0), default=0, metavar="N", help="everything random derives from it")
    final = parser.add_argument_group("final")
    final.add_argument("--final-epochs", type=whole(1), default=30, metavar="N", help="epochs of winner and baseline")
    final.add_argument("--final-seeds", type=whole(1), default=1, metavar="N", help="trainings of each of the two")
    add_machine_and_files(parser)
    parser.add_argument("--quiet", action="store_true", help="only the verdict")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    """Runs a study; the exit code is 0 (done), 1 (it failed), 2 (wrong input), or 128 + the signal that stopped it."""
    command = sys.argv[1:] if command is None else list(command)
    arguments = Arguments(**vars(flags().parse_args(command)))
    from study.opening import refusing

    with refusing("study.run"):
        return _study(arguments, list(command), Console(stderr=arguments.json))


def _study(arguments: Arguments, command: list[str], console: Console) -> int:
    import optuna

    import results
    import search_spaces
    from results import report
    from results.summary import show
    from study import final
    from study.asha import rungs
    from study.opening import UsageError, as_json, carry_out, final_seeds, open_run, timed, wall_time
    from study.recipe import BASELINE, load_recipe
    from study.record import Record
    from study.screen import Screen
    from study.search import Settings, search
    from study.searcher import Question
    from study.tuning import Interruption

    def say(line: str) -> None:
        if not arguments.quiet:
            console.print(line, soft_wrap=True, highlight=False)

    if arguments.grace_period > arguments.max_epochs:
        raise UsageError(
            f"--grace-period is {arguments.grace_period}; allowed: at most --max-epochs, {arguments.max_epochs}"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = search_spaces.load(arguments.space)
    question = Question(space, arguments.space, BASELINE, arguments.max_epochs, arguments.seed)
    question.check()
    settings = Settings(arguments.samples, arguments.max_epochs, arguments.grace_period, arguments.reduction_factor)
    name = arguments.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(arguments.space).stem}-{arguments.samples}"
    opened = open_run(
        arguments.runs_dir / name,
        arguments.data_dir,
        arguments.dataset,
        arguments.gpus_per_trial,
        arguments.cpus_per_trial,
        arguments.max_concurrent,
        say,
        {
            "kind": "search",
            "command": command,
            "arguments": as_json(asdict(arguments)),
            "space": arguments.space,
            "knobs": {
                field: json.loads(optuna.distributions.distribution_to_json(distribution))
                for field, distribution in search_spaces.knobs(space).items()
            },
            "base": BASELINE.as_dict(),
            **asdict(settings),
            "rungs": rungs(arguments.max_epochs, arguments.grace_period, arguments.reduction_factor),
            "seed": arguments.seed,
        },
    )
    say(_plan(arguments, opened.slots, opened.study.content["rungs"]))
    interruption = Interruption(arguments.time_budget)
    run_dir, training, slots = opened.run_dir, opened.training, opened.slots

    def do_search() -> None:
        screen = Screen(console, "search", arguments.samples, arguments.max_epochs, quiet=arguments.quiet)
        search(question, settings, training, slots, interruption, screen, run_dir)

    def do_final() -> None:
        recipes = {"winner": load_recipe(str(run_dir / "best.json")), "baseline": BASELINE}
        jobs = final.jobs(recipes, arguments.final_epochs, final_seeds(arguments.seed, arguments.final_seeds))
        screen = Screen(console, "final", len(jobs), arguments.final_epochs, quiet=arguments.quiet)
        with Record(run_dir / "final" / "epochs.jsonl", [screen]) as record, screen.live():
            final.retrain(jobs, training, run_dir / "final", record, slots, interruption)
        if interruption.signal_number is None:
            final.conclude(jobs, training, arguments.data_dir, arguments.dataset, run_dir / "final", opened.study)

    code = carry_out("study.run", opened, interruption, {"search": do_search, "final": do_final})
    if code == 0:
        with timed(opened.study, "report"):
            report.write(results.load_run(run_dir))
        run = results.load_run(run_dir)
        if arguments.json:
            best = json.loads((run_dir / "best.json").read_text())
            print(json.dumps({"run": str(run_dir), "best": best, "final": run.final}, indent=2))
        if run.final is not None and arguments.quiet:
            console.print(run.final["sentence"], highlight=False, soft_wrap=True)
        if not arguments.quiet:
            show(run, console)
            say(wall_time(run.study))
    return code


def _plan(arguments: Arguments, slots: "Slots", rungs: list[int]) -> str:
    share = f"{slots.cpus:g} CPU" + (f" and {slots.gpus:g} GPU" if slots.gpus else "")
    seeds = "one seed" if arguments.final_seeds == 1 else f"{arguments.final_seeds} seeds"
    lines = [
        f"Search: {arguments.samples} trials from space {arguments.space}, {slots.count} at once on {share} each.",
        f"        {arguments.max_epochs} epochs each, compared after {', '.join(map(str, rungs))}: "
        f"{arguments.samples * arguments.max_epochs} epochs if nothing is stopped.",
        f"Final:  winner and baseline, {arguments.final_epochs} epochs, {seeds} each.",
    ]
    if arguments.dataset == "synthetic":
        lines.append("Data:   synthetic images; no number below says anything about CIFAR-10.")
    if slots.reason:
        lines.append(f"        {slots.reason}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
