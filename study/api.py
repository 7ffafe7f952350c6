"""The Python API: what `import study` offers. The command lines call the same functions."""

import json
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import results
from results import report
from results.loggers import LoggerError, check_logger
from results.show import show
from search_spaces import SpaceError
from study.command_line import flag_of
from study.config import Config, ReproduceConfig, StudyConfig, TrainingConfig, read_yaml, to_yaml, validate
from study.data import DataOptions
from study.errors import StudyError, StudyInterrupted, UsageError
from study.execution import cluster, interruption
from study.execution.exit_notice import printed_if_killed
from study.pipeline.console import Output, StudyConsole
from study.pipeline.estimate import estimate
from study.pipeline.find_run import find_recipe, find_run
from study.pipeline.make_problem import make_problem, space_name
from study.pipeline.phases import REPRODUCE_PHASES, STUDY_PHASES
from study.pipeline.plan import describe
from study.pipeline.prepare_run import Request, resume_run, start_run
from study.pipeline.resume_settings import merge_resume_arguments
from study.pipeline.run_context import RunContext, run_phases
from study.pipeline.trackers import Trackers
from study.pipeline.trusted_code import check_recipe_code, is_file, verified
from study.recipe import Recipe, load_recipe
from study.search.optuna_study import check_database
from study.search.schedulers import SCHEDULERS, SchedulerSettings
from study.storage.files import atomic_write, write_json
from study.training.loop import Epoch
from study.training.references import LOCATIONS, reference_of
from study.winner import model_card

if TYPE_CHECKING:
    from study.pipeline.replay_trial import Replay
    from study.winner.model import Winner


@dataclass(frozen=True)
class Call:
    """Where a call comes from: Python, or a command line.

    Attributes:
        command: as study.json keeps it.
        spelling: how a setting is called in messages.
        resume: the run to resume, or None.
        resume_or_start: resume the run called `name` where it exists.
    """

    command: list[str] = field(default_factory=lambda: ["(from Python)"])
    spelling: Callable[[str], str] = str
    resume: Any = None
    resume_or_start: bool = False


def from_command_line(
    function: Callable[[Mapping[str, Any], Call], results.Run], given: dict[str, Any], command: Sequence[str]
) -> results.Run:
    """run_study or run_reproduction with the settings of a command line; errors are StudyErrors."""
    resume, resume_or_start = given.pop("resume", None), given.pop("resume_or_start", False)
    with errors_as_study_errors():
        return function(given, Call(list(command), flag_of, resume, resume_or_start))


def tune(
    space: Any = None, *, resume: str | Path | None = None, config: str | Path | None = None, **settings: Any
) -> results.Run:
    """Searches for a better recipe, retrains it beside the baseline, and evaluates both once on the sealed test set.

        run = study.tune("cnn", samples=20, seed=0)
        run.trials, run.verdict, run.best_recipe

    Args:
        space: what may vary: a name, "file.py:function", or a function from an Optuna trial to Recipe fields.
        resume: a run to continue, instead of starting one; its settings hold, changed by `settings`.
        config: a YAML file of settings, such as the study.yaml of a run; `settings` win.
        settings: those of `python -m study.run --help`, under the same names with underscores.

    Returns:
        The run, with its tables.

    Raises:
        StudyError: a setting or an input is wrong, or the study failed; the message says which and what to do.
        KeyboardInterrupt: Ctrl-C, or the stop button of a notebook. The run can be resumed.
    """
    given = {**({} if config is None else read_yaml(Path(config))), **settings}
    if space is not None:
        given["space"] = space
    with _in_python():
        return run_study(given, Call(resume=resume))


def resume(run: str | Path, **settings: Any) -> results.Run:
    """Continues a study, or extends it, such as with more `samples`. See `tune`."""
    return tune(resume=run, **settings)


def reproduce(
    recipe: str | Path | Recipe = "baseline", *, resume: str | Path | None = None, **settings: Any
) -> results.Run:
    """Trains one recipe from several seeds on all training images and evaluates each once on the sealed test set.

    Args:
        recipe: a Recipe, the name of one, a JSON file such as a run's best.json, or a run.
        settings: those of `python -m study.baseline --help`: seeds, epochs, dataset, model (a class as well), ...

    Raises:
        StudyError: as `tune`.
    """
    given = {**settings, **({} if resume is not None else {"recipe": recipe})}
    with _in_python():
        return run_reproduction(given, Call(resume=resume))


def train(
    recipe: Recipe | str = "baseline", dataset: Any = "cifar10", *, data_dir: str | Path = "data", **options: Any
) -> Iterator[Epoch]:
    """Trains one recipe in this process, without Ray and without a run directory.

        for epoch in study.train(study.Recipe(lr=0.05)):
            print(epoch.number, epoch.metrics["val_accuracy"])

    Args:
        recipe: a Recipe, or the name or JSON file of one.
        dataset: as for `tune`.
        options: further fields of study.data.DataOptions, such as image_size.

    Raises:
        StudyError: the recipe or the data set cannot be used.
    """
    from study import data
    from study.training.loop import Training

    with _in_python():
        chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        loaded = data.load(dataset, DataOptions(data_dir=Path(data_dir), **options), lambda line: None)
        return iter(Training(chosen, *loaded.split(), spec=loaded.spec))


def replay(
    run: str | Path | results.Run,
    trial: int,
    *,
    data_dir: str | Path = "data",
    runs_dir: str | Path = "runs",
    say: Callable[[str], None] = lambda line: None,
) -> "Replay":
    """Trains a trial of a run again and compares each epoch with the event log.

    Args:
        run: a results.Run, a run directory, its name, or "latest".
        say: takes one line an epoch, such as print.

    Raises:
        StudyError: there is no such trial, or the images are not those of the run.
    """
    from study.pipeline.replay_trial import replay as replay_trial

    with _in_python():
        run_dir = run.path if isinstance(run, results.Run) else find_run(run, Path(runs_dir))
        return replay_trial(run_dir, trial, Path(data_dir), say)


def load_winner(
    run: str | Path | results.Run = "latest",
    *,
    runs_dir: str | Path = "runs",
    model: Any = None,
    trainer: Any = None,
    trust_code: bool = False,
    accept_changed_code: bool = False,
) -> "Winner":
    """The trained winner of a finished run, with `predict` and `predict_proba`. See study.winner.model.Winner.

        winner = study.load_winner("runs/NAME")
        winner.predict(["photo.jpg"])

    Args:
        run: a results.Run, a run directory, its name, or "latest".
        model, trainer: a network or trainer of your own that was passed from Python, passed again.
        trust_code: execute the network or trainer that a run of somebody else brings along.
        accept_changed_code: load them although they have changed since the run began.

    Raises:
        StudyError: the run has no finished final, its files are damaged, or its code may not be executed.
    """
    from study.pipeline.trusted_code import Permission
    from study.winner import model as winner

    with _in_python():
        run_dir = run.path if isinstance(run, results.Run) else find_run(run, Path(runs_dir))
        return winner.load(run_dir, Permission(model, trainer, trust_code, accept_changed_code), warnings.warn)


def run_study(given: Mapping[str, Any], call: Call) -> results.Run:
    """Starts or resumes a study with the settings `given`; prints what a study prints."""
    config, run_dir = merged_settings(StudyConfig, given, call, "search")
    for name in config.log_to:
        check_logger(name)
    output = _output(config)
    recorded = None if run_dir is None else _content(run_dir)
    loaded = _loadable(config, run_dir, given, output)
    problem = make_problem(loaded, recorded)
    if config.stop_at is not None and config.stop_at > 1 and problem.metric.format.endswith("%}"):
        raise UsageError(
            f"{call.spelling('stop_at')} is {config.stop_at:g}; allowed: at most 1, which is "
            f"{problem.metric.format.format(1)} {problem.metric.name.replace('_', ' ')}"
        )
    content: dict[str, Any] = {
        "samples": config.samples,
        "max_epochs": config.max_epochs,
        "grace_period": config.grace_period,
        "reduction_factor": config.reduction_factor,
        "epoch_budget": None,
    }
    if run_dir is None:
        compared = SchedulerSettings(config.max_epochs, config.samples, config.grace_period, config.reduction_factor)
        scheduler = SCHEDULERS[config.scheduler](compared)
        warm = {
            "run": ", ".join(map(str, config.warm_start)),
            "trials": list(problem.history),
            "leaders": list(problem.leaders),
        }
        content |= {
            "kind": "search",
            "baseline": _baseline(config).as_dict(),
            "rungs": list(scheduler.rungs),
            "warm_start": warm if config.warm_start else None,
        }
    elif config.samples < (begun := len(results.load_run(run_dir).trials)):
        raise UsageError(
            f"{call.spelling('samples')} is {config.samples}; allowed: at least {begun}, the trials that have started"
        )
    request = Request("study.run", config, loaded, call.command, content, output, problem)
    default = f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(space_name(config.space)).stem}-{config.samples}"
    if config.storage_url is not None and run_dir is None:
        check_database(config.storage_url, config.name or default)
    return _run(request, run_dir, default, STUDY_PHASES)


def run_reproduction(given: Mapping[str, Any], call: Call) -> results.Run:
    """Starts or resumes the trainings of one recipe with the settings `given`."""
    recipe = given.get("recipe", "baseline")
    if isinstance(recipe, Recipe):
        named = {"model": recipe.model} if is_file(recipe.model) else {}
        given = {**named, **given, "recipe": "(from Python)"}
    config, run_dir = merged_settings(ReproduceConfig, given, call, "baseline")
    chosen = _reproduced_recipe(recipe, config, run_dir)
    content: dict[str, Any] = {}
    if run_dir is None:
        epochs = config.epochs or chosen.epochs
        content = {
            "kind": "baseline",
            "space": None,
            "knobs": {},
            "base": chosen.as_dict(),
            "baseline": chosen.as_dict(),
            "samples": 0,
            "max_epochs": epochs,
            "grace_period": epochs,
            "reduction_factor": 2,
            "rungs": [],
            "seed": config.seed,
            "warm_start": None,
        }
    else:
        begun = results.load_run(run_dir).final_epochs["seed"].nunique()
        if config.seeds < begun:
            raise UsageError(
                f"{call.spelling('seeds')} is {config.seeds}; allowed: at least {begun}, the seeds that have started"
            )
    output = _output(config)
    loaded = _loadable(config, run_dir, given, output)
    content.setdefault("base", chosen.as_dict())
    request = Request("study.baseline", config, loaded, call.command, content, output)
    default = f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(config.recipe).stem.strip('()').replace(' ', '-')}"
    return _run(request, run_dir, default, REPRODUCE_PHASES)


def _reproduced_recipe(recipe: Any, config: ReproduceConfig, run_dir: Path | None) -> Recipe:
    if run_dir is not None:
        return Recipe.from_dict(_content(run_dir)["base"])
    if not isinstance(recipe, Recipe):
        recipe = check_recipe_code(str(recipe), find_recipe(str(recipe), config.runs_dir), config)
    chosen: Recipe = recipe if config.model is None else recipe.with_fields({"model": reference_of(config.model)})
    return chosen


def _baseline(config: StudyConfig) -> Recipe:
    """What the winner is compared with. `--model` replaces the network of the search only."""
    found = find_recipe(config.baseline, config.runs_dir)
    return check_recipe_code(config.baseline, found, config.model_copy(update={"model": None}))


def merged_settings(
    kind: type[Config], given: Mapping[str, Any], call: Call, run_kind: str
) -> tuple[Config, Path | None]:
    """The settings, and the directory of the run that is resumed."""
    resume = call.resume
    if resume is None and not call.resume_or_start:
        return validate(kind, given, call.spelling), None
    runs_dir = Path(given.get("runs_dir", kind.model_fields["runs_dir"].default))
    if resume is None:
        if "name" not in given:
            raise UsageError(f"{call.spelling('resume_or_start')} needs {call.spelling('name')}")
        if not (runs_dir / str(given["name"]) / "study.json").exists():
            return validate(kind, given, call.spelling), None
        resume = runs_dir / str(given["name"])
    run_dir = find_run(resume, runs_dir)
    if _content(run_dir).get("kind") != run_kind or "/" in str(_content(run_dir)["name"]):
        raise UsageError(f"{run_dir} is not a run of this command")
    return merge_resume_arguments(kind, run_dir, given, call.spelling), run_dir


def _loadable(config: Config, run_dir: Path | None, given: Mapping[str, Any], output: Output) -> Config:
    """The settings with the code of the user's own that may be loaded."""
    LOCATIONS.clear()
    if run_dir is None:
        return config
    loaded, notices = verified(config, run_dir, given)
    for notice in notices:
        output.say(notice)
    return loaded


def _content(run_dir: Path) -> dict[str, Any]:
    from study.storage.study_file import StudyFile

    return StudyFile(run_dir / "study.json").content


def _output(config: TrainingConfig) -> Output:
    return Output(StudyConsole(stderr=config.json_output), quiet=config.quiet, progress=config.progress)


def _run(request: Request, run_dir: Path | None, default_name: str, phases: Any) -> results.Run:
    """Runs the phases, prints the verdict, then makes the views."""
    config = request.config
    was_running = cluster.is_started()
    context: RunContext[Any]
    with interruption.signals_raised(), printed_if_killed() as set_exit_notice:
        try:
            if run_dir is None:
                context = start_run(config.runs_dir / (config.name or default_name), request)
            else:
                context = resume_run(run_dir, request)
            with atomic_write(context.run_dir / "study.yaml") as file:
                file.write(to_yaml(config).encode())
            try:
                request.output.say(describe(context))
                if isinstance(config, StudyConfig) and (config.dry_run or not config.quiet):
                    _view(context, "estimate", lambda: _say_estimate(context))
                if getattr(config, "dry_run", False):
                    return _discard(context)
                context = replace(context, trackers=_trackers(context))
                try:
                    run_phases(context, phases, set_exit_notice)
                    return _conclude(context)
                finally:
                    _view(context, "trackers", lambda: context.trackers.finish(results.load_run(context.run_dir)))
            finally:
                context.lock.release()
        except StudyError as error:
            set_exit_notice(f"{request.program}: {error}")  # Ray may end this process before it has said so
            raise
        finally:
            LOCATIONS.clear()
            if not was_running:
                cluster.stop_ray()


def _conclude(context: RunContext[Any]) -> results.Run:
    """Prints the verdict and makes the report. Both read the run; what fails costs one warning."""
    _add_evidence(context)
    run = results.load_run(context.run_dir)
    output = context.output
    if output.quiet and run.final is not None and "sentence" in run.final:
        output.console.print(run.final["sentence"], highlight=False, soft_wrap=True, markup=False)
    if not output.quiet:
        _view(context, "summary", lambda: _show(run, output.console))
    with context.study.timed("report"):
        if run.final is not None:
            _view(context, "model card", lambda: model_card.write(context.run_dir))
        _view(context, "report", lambda: report.write(results.load_run(context.run_dir)))
    context.folder.copy()
    return results.load_run(context.run_dir)


def _show(run: results.Run, console: Console) -> None:
    if not console.is_jupyter:
        show(run, console)
        return
    from IPython.display import display

    display(run)  # type: ignore[no-untyped-call]  # in one block, where each print would be one of its own


def _say_estimate(context: RunContext[Any]) -> None:
    expected = estimate(context)
    context.study.update(estimate=expected.as_json())
    context.output.say(f"Time:   {expected.in_words()}.")


def _trackers(context: RunContext[Any]) -> Trackers:
    names = getattr(context.config, "log_to", [])
    return Trackers(names, context.run_dir, context.study.content, lambda line: context.output.say(f"warning: {line}"))


def _discard(context: RunContext[Any]) -> results.Run:
    """After a dry run: the run as it would have begun; its directory is removed, unless it was resumed."""
    run = results.load_run(context.run_dir)
    if not run.study["resumed"]:
        context.lock.release()
        shutil.rmtree(context.run_dir)
    return run


def _add_evidence(context: RunContext[Any]) -> None:
    path = context.run_dir / "final" / "metrics.json"
    run = results.load_run(context.run_dir)
    if run.study["kind"] == "search" and path.exists():
        content = json.loads(path.read_bytes())
        _view(context, "evidence", lambda: write_json(path, {**content, **results.evidence(run)}))


def _view(context: RunContext[Any], name: str, make: Callable[[], Any]) -> None:
    """Makes something that can be made again: its failure is one warning and costs nothing else."""
    try:
        make()
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        remade = {
            "report": "python -m results report",
            "evidence": "python -m results report",
            "summary": "python -m results show",
        }
        again = f"; make it again with: {remade[name]} {context.run_dir}" if name in remade else ""
        context.output.say(f"warning: the {name} could not be made ({cause}){again}")


@contextmanager
def errors_as_study_errors() -> Iterator[None]:
    """Errors of the packages below study, which do not know StudyError, become one with the same words."""
    try:
        yield
    except (SpaceError, results.RunError, LoggerError) as error:
        raise StudyError(str(error)) from error


@contextmanager
def _in_python() -> Iterator[None]:
    """For calls from Python: Ctrl-C that stopped a study cleanly is a KeyboardInterrupt, as everywhere in Python."""
    try:
        with errors_as_study_errors():
            yield
    except StudyInterrupted as error:
        if error.signal_number != signal.SIGINT:
            raise
        raise KeyboardInterrupt(str(error)) from None
