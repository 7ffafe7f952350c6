"""Find a better recipe, retrain it, and say how much better it is:

    python -m study.run --samples 20
    python -m study.run --resume runs/NAME

Flags in, calls, words out. What is heavy is not needed for --help, so it is imported late.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.flags import Parser, add_machine_and_files, duration, pinned, run_or_url, whole

if TYPE_CHECKING:
    from study.pipeline.run_context import RunContext
    from study.pipeline.search import Settings
    from study.search.problem import SearchProblem


@dataclass(frozen=True)
class Arguments:
    """The command line, as flags() defines it; of a resumed study, that of its beginning with what was given now."""

    samples: int
    space: str
    fix: list[tuple[str, str]]
    recipe: str
    max_epochs: int
    grace_period: int
    reduction_factor: int
    time_budget: float | None
    seed: int
    warm_start: Path | None
    final_epochs: int
    final_seeds: int
    finalists: int
    tune_baseline: bool
    control: str | None
    audit: int
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    max_concurrent: int | None
    address: str
    storage_path: str | None
    name: str | None
    runs_dir: Path
    data_dir: Path
    dataset: str
    resume: Path | str | None
    quiet: bool
    json: bool


# What a study means. A resumed one keeps these as they were; all else may be given anew.
MEANING = (
    "space", "fix", "recipe", "max_epochs", "grace_period", "reduction_factor", "seed", "warm_start", "dataset", "name",
    "runs_dir",
)  # fmt: skip
# What holds for one sitting only: a resumed study does not inherit it.
OF_A_SITTING = ("time_budget", "quiet", "json", "resume")


def flags() -> Parser:
    parser = Parser(
        prog="study.run", description="Search hyperparameters of a CNN on CIFAR-10, retrain the best, compare."
    )
    search = parser.add_argument_group("search")
    search.add_argument("--samples", type=whole(1), default=20, metavar="N", help="trials, the baseline among them")
    search.add_argument("--space", default="cnn", help="a name, file.py:function or package.module:function")
    search.add_argument(
        "--fix",
        type=pinned,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="one field of the recipe at one value in all trials; may be given again",
    )
    search.add_argument(
        "--recipe", default="baseline", metavar="NAME|FILE", help="trial 0, and what the space leaves alone"
    )
    search.add_argument(
        "--max-epochs", type=whole(1), default=10, metavar="N", help="epochs of a trial that is not stopped"
    )
    search.add_argument(
        "--grace-period", type=whole(1), default=1, metavar="N", help="epochs of each trial before the first comparison"
    )
    search.add_argument(
        "--reduction-factor", type=whole(2), default=2, metavar="N", help="one trial in N goes on at each rung"
    )
    search.add_argument(
        "--time-budget", type=duration, metavar="TIME", help="ends the search, not the final: 90s, 30m, 2h"
    )
    search.add_argument("--seed", type=whole(0), default=0, metavar="N", help="everything random derives from it")
    search.add_argument(
        "--warm-start", type=Path, metavar="RUN", help="another study, whose finished trials the searcher knows"
    )
    final = parser.add_argument_group("final")
    final.add_argument("--final-epochs", type=whole(1), default=30, metavar="N", help="epochs of winner and baseline")
    final.add_argument("--final-seeds", type=whole(1), default=1, metavar="N", help="trainings of each of the two")
    evidence = parser.add_argument_group("evidence")
    evidence.add_argument(
        "--finalists", type=whole(1), default=1, metavar="K", help="best trials trained again before one is chosen"
    )
    evidence.add_argument(
        "--tune-baseline", action="store_true", help="a study of the baseline's own lr and batch size beside this one"
    )
    evidence.add_argument("--control", choices=["random"], help="random search with as many epochs beside this one")
    evidence.add_argument(
        "--audit", type=whole(0), default=0, metavar="M", help="stopped trials trained to their end after the search"
    )
    add_machine_and_files(parser)
    again = parser.add_argument_group("again")
    again.add_argument(
        "--resume", type=run_or_url, metavar="RUN", help="goes on with a run, or with more --samples makes it larger"
    )
    parser.add_argument("--quiet", action="store_true", help="only the verdict")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    """Runs a study; the exit code is 0 (done), 1 (it failed), 2 (wrong input), or 128 + the signal that stopped it.

    Args:
        command: the flags.
    """
    command = sys.argv[1:] if command is None else list(command)
    arguments = Arguments(**vars(flags().parse_args(command)))
    from study.pipeline.run_context import exit_on_user_error

    with exit_on_user_error("study.run"):
        if arguments.resume is not None:
            arguments = _as_begun(arguments.resume, command)
        return _study(arguments, command, Console(stderr=arguments.json))


def _as_begun(resume: Path | str, command: Sequence[str]) -> Arguments:
    """The arguments that the study at `resume` began with, changed by those that `command` names.

    Raises:
        UsageError, EventLogError: it cannot go on so.
    """
    from study.pipeline.run_context import merge_resume_arguments

    values = merge_resume_arguments(resume, "search", flags(), command, MEANING, OF_A_SITTING)
    warm_start = None if values["warm_start"] is None else Path(values["warm_start"])
    return Arguments(**{**values, "warm_start": warm_start, "fix": [(name, value) for name, value in values["fix"]]})


def _study(arguments: Arguments, command: list[str], console: Console) -> int:
    import results
    from results import report
    from results.text import show
    from study.execution.runner import Arrays, Interruption
    from study.pipeline import evidence, final
    from study.pipeline.progress import Progress
    from study.pipeline.run_context import copied, run_phases, timed, wall_time
    from study.pipeline.search import Settings, search
    from study.pipeline.trainings import run_trainings
    from study.recipe import BASELINE, load_recipe
    from study.search.problem import derived_seed

    def say(line: str) -> None:
        if not arguments.quiet:
            console.print(line, soft_wrap=True, highlight=False)

    def screen(title: str, trainings: int | None, epochs: int) -> Progress:
        return Progress(console, title, trainings, epochs, quiet=arguments.quiet)

    def seeds(first: int) -> list[int]:
        return [derived_seed(arguments.seed, first + index) for index in range(arguments.final_seeds)]

    settings = Settings(arguments.samples, arguments.max_epochs, arguments.grace_period, arguments.reduction_factor)
    question = _question(arguments)
    opened = _open(arguments, command, question, settings, say)
    run_dir, slots, study = opened.run_dir, opened.slots, opened.study
    say(_plan(arguments, opened))
    interruption = Interruption(arguments.time_budget)

    def do_search() -> None:
        of_search = screen("search", arguments.samples, arguments.max_epochs)
        search(question, settings, opened.dataset, slots, interruption, of_search, opened.folder)

    def do_audit() -> None:
        of_audit = screen("audit", arguments.audit, arguments.max_epochs)
        evidence.audit(opened, interruption, of_audit, arguments.audit, arguments.seed)

    def do_control() -> None:
        of_control = screen("control", None, arguments.max_epochs)
        evidence.control(opened, interruption, of_control, question, settings)

    def do_tune_baseline() -> None:
        of_baseline = screen("baseline, tuned", None, arguments.max_epochs)
        evidence.tune_baseline(opened, interruption, of_baseline, question, settings)

    def do_finalists() -> None:
        trainings = arguments.finalists * arguments.final_seeds
        of_finalists = screen("finalists", trainings, arguments.final_epochs)
        fresh, count, epochs = seeds(evidence.FINALISTS), arguments.finalists, arguments.final_epochs
        evidence.choose_among_finalists(opened, interruption, of_finalists, count, epochs, fresh)

    def do_final() -> None:
        recipes = {"winner": load_recipe(str(run_dir / "best.json")), "baseline": BASELINE}
        if arguments.tune_baseline:
            recipes["tuned_baseline"] = load_recipe(str(run_dir / "tuned-baseline" / "best.json"))
        jobs = final.jobs(recipes, arguments.final_epochs, seeds(evidence.FINAL))
        of_final, folder = screen("final", len(jobs), arguments.final_epochs), opened.folder.below("final")
        done = run_trainings(
            jobs, Arrays(opened.training, None), folder, slots, interruption, of_final, keep_weights=True
        )
        if interruption.signal_number is None:
            final.conclude(done, opened.dataset, folder, study)

    parts = {"search": do_search}
    if arguments.audit:
        parts["audit"] = do_audit
    if arguments.control:
        parts["control"] = do_control
    if arguments.tune_baseline:
        parts["baseline_tuning"] = do_tune_baseline
    if arguments.finalists > 1:
        parts["finalists"] = do_finalists
    code = run_phases("study.run", opened, interruption, {**parts, "final": do_final})
    if code == 0:
        with timed(study, "report"):
            final.add_evidence(run_dir / "final", results.evidence(results.load_run(run_dir)))
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
    return copied("study.run", opened, code)


def _question(arguments: Arguments) -> "SearchProblem":
    """What the study asks, checked.

    Raises:
        UsageError, RecipeError, SpaceError, WeightsError, RunError: it cannot be asked.
    """
    import optuna

    import results
    import search_spaces
    from study.errors import UsageError
    from study.recipe import load_recipe, parse
    from study.search.problem import SearchProblem, history
    from study.storage.event_log import StudyFile

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if arguments.grace_period > arguments.max_epochs:
        raise UsageError(
            f"--grace-period is {arguments.grace_period}; allowed: at most --max-epochs, {arguments.max_epochs}"
        )
    fixed: dict[str, Any] = {}
    for name, text in arguments.fix:
        if name in fixed or name in ("epochs", "seed"):
            why = "given twice" if name in fixed else f"not for --fix; allowed: --{_FLAG_OF[name]}"
            raise UsageError(f"--fix {name} is {why}")
        fixed[name] = parse(name, text)
    space = search_spaces.load(arguments.space)
    base = load_recipe(arguments.recipe).with_fields(fixed)
    question = SearchProblem(space, arguments.space, base, arguments.max_epochs, arguments.seed, fixed)
    question.check()
    if arguments.resume is not None and (
        warm := StudyFile(Path(arguments.resume) / "study.json").content.get("warm_start")
    ):
        return replace(question, history=warm["trials"])
    if arguments.warm_start is None or arguments.resume is not None:
        return question
    other = results.load_run(arguments.warm_start)
    for name in ("dataset", "max_epochs"):
        if other.study[name] != getattr(arguments, name):
            flag, mine = "--" + name.replace("_", "-"), getattr(arguments, name)
            raise UsageError(f"--warm-start {other.path} had {flag} {other.study[name]}, this study has {mine}")
    known = history(other, question)
    if not known:
        raise UsageError(f"--warm-start {other.path} has no finished trial that this study could have asked for")
    return replace(question, history=known)


_FLAG_OF = {"epochs": "max-epochs and --final-epochs", "seed": "seed"}


def _open(
    arguments: Arguments,
    command: list[str],
    question: "SearchProblem",
    settings: "Settings",
    say: Callable[[str], None],
) -> "RunContext":
    """The run, new or resumed.

    Raises:
        UsageError, DataError, ResourceError, EventLogError: it cannot begin, or go on.
    """
    import results
    from study.errors import UsageError
    from study.pipeline.run_context import Machine, as_json, resume_run, start_run
    from study.recipe import BASELINE, Recipe
    from study.search.problem import hyperparameters_as_json
    from study.search.schedulers import rungs

    machine = Machine.of(arguments)
    asked = {"command": command, "arguments": {**as_json(asdict(arguments)), "resume": None}, **asdict(settings)}
    knobs = hyperparameters_as_json(question)
    if arguments.resume is None:
        began = {
            "kind": "search",
            "space": arguments.space,
            "knobs": knobs,
            "base": question.base.as_dict(),
            "baseline": BASELINE.as_dict(),
            "rungs": rungs(settings.max_epochs, settings.grace_period, settings.reduction_factor),
            "seed": arguments.seed,
            "warm_start": None
            if arguments.warm_start is None
            else {"run": str(arguments.warm_start), "trials": question.history},
        }
        return start_run(arguments.runs_dir / _name(arguments), machine, say, {**asked, **began})
    run_dir = Path(arguments.resume)
    run = results.load_run(run_dir)
    if arguments.samples < len(run.trials):
        raise UsageError(f"--samples is {arguments.samples}; allowed: at least the {len(run.trials)} trials begun")
    if knobs != run.hyperparameters or question.base != Recipe.from_dict(run.base):
        changed = sorted(
            {name for name in {*knobs, *run.hyperparameters} if knobs.get(name) != run.hyperparameters.get(name)}
        )
        what = f"space {arguments.space} draws {', '.join(changed)}" if changed else f"recipe {arguments.recipe} is"
        raise UsageError(f"{what} otherwise than when {run.path} began, and a resumed study keeps its meaning")
    return resume_run(run_dir, machine, say, asked)


def _name(arguments: Arguments) -> str:
    """Of a new run."""
    return arguments.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(arguments.space).stem}-{arguments.samples}"


def _plan(arguments: Arguments, opened: "RunContext") -> str:
    slots, rungs = opened.slots, opened.study.content["rungs"]
    share = f"{slots.cpus:g} CPU" + (f" and {slots.gpus:g} GPU" if slots.gpus else "")
    seeds = "one seed" if arguments.final_seeds == 1 else f"{arguments.final_seeds} seeds"
    lines = [
        f"Search: {arguments.samples} trials from space {arguments.space}, {slots.count} at once on {share} each.",
        f"        {arguments.max_epochs} epochs each, compared after {', '.join(map(str, rungs))}: "
        f"{arguments.samples * arguments.max_epochs} epochs if nothing is stopped.",
    ]
    if arguments.fix:
        lines.append(f"        In all of them {', '.join(f'{name} is {text}' for name, text in arguments.fix)}.")
    if warm := opened.study.content["warm_start"]:
        lines.append(f"        The searcher knows {len(warm['trials'])} trials of {warm['run']}.")
    if arguments.audit:
        lines.append(f"Audit:  {arguments.audit} stopped trials, trained to their end.")
    if arguments.control:
        lines.append("Control: random search with as many epochs.")
    if arguments.tune_baseline:
        lines.append("Tuning of the baseline's lr and batch size, with as many epochs.")
    if arguments.finalists > 1:
        lines.append(f"Finalists: the {arguments.finalists} best, {arguments.final_epochs} epochs, {seeds} each.")
    lines.append(f"Final:  winner and baseline, {arguments.final_epochs} epochs, {seeds} each.")
    if arguments.dataset == "synthetic":
        lines.append("Data:   synthetic images; no number below says anything about CIFAR-10.")
    if slots.reason:
        lines.append(f"        {slots.reason}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
