"""Find a better recipe, retrain it, and say how much better it is:

    python -m study.run --samples 20

Flags in, calls, words out. What heavy modules do is not needed for --help, so they are imported late.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from study.flags import Parser, duration, number, run_name, whole

if TYPE_CHECKING:
    from study.data import Dataset, Split
    from study.record import StudyFile
    from study.resources import Slots
    from study.search import Interruption
    from study.searcher import Question

FINAL_SEED = 1_000_000  # added to a final's number, so that no trial has its seed


class UsageError(Exception):
    """A command line that cannot be carried out. The message is one line for the user."""


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
    parser = Parser(prog="study.run", description="Search hyperparameters of a CNN on CIFAR-10, retrain the best, compare.")
    search = parser.add_argument_group("search")
    search.add_argument("--samples", type=whole(1), default=20, metavar="N", help="trials, the baseline among them")
    search.add_argument("--space", default="cnn", help="a name, file.py:function or package.module:function")
    search.add_argument("--max-epochs", type=whole(1), default=10, metavar="N", help="epochs of a trial that is not stopped")
    search.add_argument("--grace-period", type=whole(1), default=1, metavar="N", help="epochs before ASHA stops a trial")
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
    machine = parser.add_argument_group("machine")
    machine.add_argument("--gpus-per-trial", type=number, metavar="X", help="0.25 where GPUs exist, else 0")
    machine.add_argument("--cpus-per-trial", type=number, metavar="X", help="1, or less where trials share GPUs")
    machine.add_argument("--max-concurrent", type=whole(1), metavar="N", help="trials at once; as many as fit if not given")
    files = parser.add_argument_group("files and words")
    files.add_argument("--name", type=run_name, help="of the run; date, space and samples if not given")
    files.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept")
    files.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="where CIFAR-10 is or will be")
    files.add_argument("--dataset", choices=["cifar10", "synthetic"], default="cifar10", help="synthetic: a stand-in to try")
    files.add_argument("--quiet", action="store_true", help="only the verdict")
    files.add_argument("--json", action="store_true", help="the result as JSON on standard output, words on standard error")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    """Runs a study; the exit code is 0 (done), 1 (it failed), 2 (wrong input), or 128 + the signal that stopped it."""
    command = sys.argv[1:] if command is None else command
    arguments = Arguments(**vars(flags().parse_args(command)))
    console = Console(stderr=arguments.json, quiet=False)
    with refusing("study.run"):
        return _study(arguments, list(command), console)


@contextmanager
def refusing(program: str) -> Iterator[None]:
    """Inside, a mistake that the user can mend ends in its own words and exit code 2."""
    from search_spaces import SpaceError

    from study.data import DataError
    from study.recipe import RecipeError
    from study.resources import ResourceError

    try:
        yield
    except (UsageError, SpaceError, DataError, RecipeError, ResourceError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


def _study(arguments: Arguments, command: list[str], console: Console) -> int:
    if arguments.grace_period > arguments.max_epochs:
        raise UsageError(
            f"--grace-period is {arguments.grace_period}; allowed: at most --max-epochs, {arguments.max_epochs}"
        )
    name = arguments.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(arguments.space).stem}-{arguments.samples}"
    run_dir = new_run_directory(arguments.runs_dir, name)
    try:
        prepared = _prepare(arguments, command, name, run_dir, console)
    except BaseException:
        run_dir.rmdir()  # refuses to go where anything was written
        raise
    return _carry_out(arguments, run_dir, console, *prepared)


def new_run_directory(runs_dir: Path, name: str) -> Path:
    """Makes the directory of a new run.

    Raises:
        UsageError: it exists already, or cannot be made.
    """
    run_dir = runs_dir / name
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"--name is {name!r}, but {run_dir} exists already; give another name") from None
    except OSError as error:
        raise UsageError(f"--runs-dir is {runs_dir}, but {run_dir} cannot be made: {error.strerror}") from None
    if not os.access(run_dir, os.W_OK):
        raise UsageError(f"--runs-dir is {runs_dir}, but nothing can be written there")
    return run_dir


def _prepare(
    arguments: Arguments, command: list[str], name: str, run_dir: Path, console: Console
) -> "tuple[Question, Slots, Split, StudyFile]":
    """All that can refuse the command line, cheapest first; then the data, and study.json."""
    import optuna
    import search_spaces

    from study import data, resources
    from study.record import StudyFile, now, surroundings

    started = time.perf_counter()
    for flag, amount in (("gpus", arguments.gpus_per_trial), ("cpus", arguments.cpus_per_trial)):
        if amount is not None:
            resources.check_fraction(f"--{flag}-per-trial", amount)
    space = search_spaces.load(arguments.space)

    from study.recipe import BASELINE
    from study.search import start_ray
    from study.searcher import Question

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    question = Question(space, arguments.space, BASELINE, arguments.max_epochs, arguments.seed)
    question.check()
    before_data = time.perf_counter()
    data.prepare(arguments.data_dir, arguments.dataset, lambda line: _say(arguments, console, line))
    training = data.load_training(arguments.data_dir, arguments.dataset)
    train, validation = data.split(training)
    after_data = time.perf_counter()
    nodes = start_ray()
    slots = resources.plan(nodes, arguments.gpus_per_trial, arguments.cpus_per_trial, arguments.max_concurrent)

    from study.asha import rungs

    content = {
        "format": 1,
        "kind": "search",
        "name": name,
        "command": command,
        "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(arguments).items()},
        "status": "running",
        "reason": None,
        "created": now(),
        "ended": None,
        "space": arguments.space,
        "knobs": {
            field: json.loads(optuna.distributions.distribution_to_json(distribution))
            for field, distribution in search_spaces.knobs(space).items()
        },
        "base": BASELINE.as_dict(),
        "samples": arguments.samples,
        "max_epochs": arguments.max_epochs,
        "grace_period": arguments.grace_period,
        "reduction_factor": arguments.reduction_factor,
        "rungs": rungs(arguments.max_epochs, arguments.grace_period, arguments.reduction_factor),
        "seed": arguments.seed,
        "slots": slots.count,
        "dataset": arguments.dataset,
        "data": {
            "digest": data.digest(training),
            "split_digest": data.digest(train, validation),
            "train": len(train.labels),
            "validation": len(validation.labels),
        },
        **surroundings(nodes),
        "seconds": {
            "data": after_data - before_data,
            "start_up": before_data - started + time.perf_counter() - after_data,
        },
        "test_openings": [],
    }
    return question, slots, training, StudyFile(run_dir / "study.json", content)


def _carry_out(
    arguments: Arguments,
    run_dir: Path,
    console: Console,
    question: "Question",
    slots: "Slots",
    training: "Split",
    study: "StudyFile",
) -> int:
    """The study itself, from the plan to the verdict."""
    import results

    from study.record import now
    from study.search import Interruption, StudyFailed

    interruption = Interruption(arguments.time_budget)
    try:
        with interruption.on_signals():
            _say(arguments, console, _plan(arguments, slots, study.content["rungs"]))
            with _timed(study, "search"):
                _search(arguments, run_dir, console, question, slots, training, interruption)
            if interruption.signal_number is None:
                with _timed(study, "final"):
                    _final(arguments, run_dir, console, slots, training, interruption, study)
        if interruption.signal_number is not None:
            study.update(status="stopped", reason=interruption.reason, ended=now())
            console.print(f"Stopped by {interruption.reason}: all finished epochs are kept in {run_dir}", soft_wrap=True)
            return 128 + interruption.signal_number
        study.update(status="finished", ended=now())
    except (StudyFailed, OSError) as error:
        study.update(status="failed", reason=str(error), ended=now())
        print(f"study.run: {error}; what was finished is in {run_dir}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        study.update(status="stopped", reason="SIGINT", ended=now())
        print(f"study.run: stopped; what was finished is in {run_dir}", file=sys.stderr)
        return 130
    run = results.load_run(run_dir)
    if arguments.json:
        print(json.dumps(_outcome(run), indent=2))
    if arguments.quiet:
        console.print(run.final["sentence"] if run.final else "", highlight=False, soft_wrap=True)
    else:
        from results.summary import show

        show(run, console)
        console.print(_wall_time(study.content), soft_wrap=True, highlight=False)
    return 0


def _search(
    arguments: Arguments,
    run_dir: Path,
    console: Console,
    question: "Question",
    slots: "Slots",
    training: "Split",
    interruption: "Interruption",
) -> None:
    """Runs the search, to its end or its interruption, and writes the tables and best.json."""
    import results

    from study import data
    from study.asha import RecordedASHA
    from study.record import Record, write_json
    from study.screen import Screen
    from study.search import Arrays, Recorder, StudyFailed, run_trials
    from study.searcher import OptunaSearcher, Suggestion, rebuild, tell

    screen = Screen(console, "search", arguments.samples, arguments.max_epochs, quiet=arguments.quiet)
    record = Record(run_dir / "epochs.jsonl", [screen])

    def record_suggestion(suggestion: Suggestion) -> None:
        named = {"number": suggestion.number, "trial_id": f"trial_{suggestion.number:05d}"}
        record.append({"event": "trial", **named, "config": suggestion.config, "seed": suggestion.recipe.seed})

    optuna_study, unfinished = rebuild(run_dir / "optuna.db", question, record.events)
    recorder = Recorder(record, arguments.max_epochs)
    scheduler = RecordedASHA(arguments.max_epochs, arguments.grace_period, arguments.reduction_factor)
    with screen.live():
        run_trials(
            OptunaSearcher(optuna_study, question, arguments.samples, unfinished, record_suggestion),
            scheduler,
            recorder,
            count=arguments.samples,
            arrays=Arrays(*data.split(training)),
            slots=slots,
            interruption=interruption,
            folder=run_dir,
            checkpoint_epochs=scheduler.rungs,
        )
    if interruption.reason == "time budget":
        for number in recorder.unfinished():
            recorder.end(number, "stopped", "time budget")
            tell(optuna_study, number, "stopped", None)
    record.close()
    run = results.load_run(run_dir)
    results.write_tables(run)
    if interruption.signal_number is not None:
        return
    ranked = results.leaderboard(run.trials)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}")
    winner = int(ranked.index[0])
    accuracy = float(ranked["val_accuracy"].iloc[0])
    write_json(run_dir / "best.json", {"recipe": run.recipe(winner), "trial": winner, "val_accuracy": accuracy})


def _final(
    arguments: Arguments,
    run_dir: Path,
    console: Console,
    slots: "Slots",
    training: "Split",
    interruption: "Interruption",
    study: "StudyFile",
) -> None:
    """Retrains winner and baseline, opens the test set, and writes final/."""
    from study import final
    from study.record import Record, write_json
    from study.recipe import BASELINE, load_recipe
    from study.screen import Screen
    from study.searcher import derived_seed

    seeds = [derived_seed(arguments.seed, FINAL_SEED + index) for index in range(arguments.final_seeds)]
    recipes = {"winner": load_recipe(str(run_dir / "best.json")), "baseline": BASELINE}
    jobs = final.jobs(recipes, arguments.final_epochs, seeds)
    screen = Screen(console, "final", len(jobs), arguments.final_epochs, quiet=arguments.quiet)
    folder = run_dir / "final"
    record = Record(folder / "epochs.jsonl", [screen])
    with screen.live():
        final.retrain(jobs, training, folder, record, slots, interruption)
    record.close()
    if interruption.signal_number is not None:
        return
    test = final.open_test(arguments.data_dir, arguments.dataset)
    probabilities = final.evaluate(jobs, training, test, folder, study)
    metrics = final.conclude(jobs, probabilities, test, folder)
    write_json(folder / "metrics.json", {**metrics, "dataset": arguments.dataset})
    final.keep_weights(jobs, folder)


@contextmanager
def _timed(study: "StudyFile", part: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        study.add_seconds(part, time.perf_counter() - started)


def _plan(arguments: Arguments, slots: "Slots", rungs: list[int]) -> str:
    share = f"{slots.cpus:g} CPU" + (f" and {slots.gpus:g} GPU" if slots.gpus else "")
    lines = [
        f"Search: {arguments.samples} trials from space {arguments.space}, {slots.count} at once on {share} each.",
        f"        {arguments.max_epochs} epochs each, compared after {', '.join(map(str, rungs))}: "
        f"{arguments.samples * arguments.max_epochs} epochs if nothing is stopped.",
        f"Final:  winner and baseline, {arguments.final_epochs} epochs, {arguments.final_seeds} seed(s) each.",
    ]
    if arguments.dataset == "synthetic":
        lines.append("Data:   synthetic images; no number below says anything about CIFAR-10.")
    if slots.reason:
        lines.append(f"        {slots.reason}.")
    return "\n".join(lines)


def _say(arguments: Arguments, console: Console, line: str) -> None:
    if not arguments.quiet:
        console.print(line, soft_wrap=True, highlight=False)


def _outcome(run: Any) -> dict[str, Any]:
    """What --json prints: the winner, the final's metrics, and where the rest is."""
    best = cast(dict[str, Any], json.loads((run.path / "best.json").read_text()))
    return {"run": str(run.path), "status": run.study["status"], "best": best, "final": run.final}


def _wall_time(content: dict[str, Any]) -> str:
    parts = ", ".join(f"{part.replace('_', ' ')} {seconds:.0f} s" for part, seconds in content["seconds"].items())
    hardware = content["hardware"]
    return f"Took {sum(content['seconds'].values()) / 60:.1f} min ({parts}) on {hardware['cpus']} x {hardware['cpu']}"


if __name__ == "__main__":
    sys.exit(main())
