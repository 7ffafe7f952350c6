"""The search: a sampler suggests, a scheduler promotes, Ray trains, and the best trial's Recipe is kept."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import results
from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialPromoted
from results.formatting import count
from results.metric import MetricInfo
from study.config import StudyConfig
from study.errors import StudyFailed
from study.execution.interruption import Interruption
from study.execution.ray_scheduler import RayScheduler
from study.execution.recorder import Recorder, delete_left_over_checkpoints
from study.execution.runner import TrialSource, run_trials
from study.execution.trainable import checkpoint_of
from study.execution.trial_searcher import TrialSearcher
from study.pipeline.progress import PhaseSize
from study.pipeline.run_context import StudyContext
from study.recipe import Recipe
from study.search.enough import Enough
from study.search.optuna_study import OptunaDatabase, OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import SCHEDULERS, Scheduler, SchedulerSettings
from study.storage.event_log import EventLog, Listener
from study.storage.files import write_json
from study.storage.store import Store
from study.training.cost import costs_of

# Paused trials that keep their state: those most likely to be promoted. Any other one, if it is promoted after all, is
# trained again from its start, on a CPU to the same result bit for bit.
PAUSED_STATES = 16
TARGET_REACHED = "target reached"


@dataclass(frozen=True)
class SearchSettings:
    """How many trials, of how many epochs, and how they are compared.

    With `epoch_budget` no trial starts once all of them together have had so many epochs, with `stop_when_worth` none
    once further search is worth less than that (see `Enough`), and with `stop_at` none once one has that metric.
    """

    samples: int
    max_epochs: int
    grace_period: int
    reduction_factor: int
    epoch_budget: int | None = None
    stop_when_worth: float | None = None
    stop_at: float | None = None

    @classmethod
    def of(cls, config: StudyConfig) -> "SearchSettings":
        return cls(
            config.samples,
            config.max_epochs,
            config.grace_period,
            config.reduction_factor,
            stop_when_worth=config.stop_when_worth,
            stop_at=config.stop_at,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def size(self, title: str, scheduler: Scheduler) -> PhaseSize:
        """What a progress display needs to know. A search that is bounded by epochs has no known number of trials."""
        if self.epoch_budget is not None:
            bounds = self.epoch_budget, self.epoch_budget + self.max_epochs
            return PhaseSize(title, None, self.max_epochs, bounds, is_search=True)
        return PhaseSize(title, self.samples, self.max_epochs, scheduler.expected_epochs(), is_search=True)


class Search:
    """The phase that every study has."""

    name = "search"

    def enabled(self, config: StudyConfig) -> bool:
        return True

    def run(self, context: StudyContext) -> None:
        context.interruption.start_of_search()
        search(context, SearchSettings.of(context.config), "search", context.trackers.apply)


def search(context: StudyContext, settings: SearchSettings, title: str, follow: Listener = lambda event: None) -> None:
    """Runs a search to its end or its interruption; writes event log, tables and best.json to the run directory.

    What the event log says is done is not repeated.

    Args:
        follow: takes every event, those of earlier sessions first.

    Raises:
        StudyFailed: Ray failed, or no trial can be ranked.
    """
    problem, interruption = context.problem, context.interruption
    if problem is None:
        raise ValueError("a search needs a problem")
    size = settings.size(title, make_scheduler(context.config.scheduler, problem, settings))
    progress = context.output.follow(size, problem.metric)
    with ExitStack() as stack:
        log = stack.enter_context(
            EventLog(context.run_dir / "epochs.jsonl", [progress.apply, context.folder.after_event])
        )
        progress.catch_up(log.events)
        for event in log.events:
            follow(event)
        log.add_listener(follow)
        _Session(context, problem, settings, log, stack).run(progress)
    interruption.end_of_search()
    run = results.load_run(context.run_dir)
    results.write_tables(run)
    if interruption.signal_number is None:
        _keep_best(run)


class _Session:
    """One process's part in a search: everything that is rebuilt from the event log, and then follows it."""

    def __init__(
        self, context: StudyContext, problem: SearchProblem, settings: SearchSettings, log: EventLog, stack: ExitStack
    ) -> None:
        self._context, self._problem, self._settings, self._log = context, problem, settings, log
        self._store: Store = context.folder.store
        self._recorder = Recorder(log, self._store, settings.max_epochs)
        self._end_complete_trials()
        delete_left_over_checkpoints(self._store, log)
        self._scheduler = make_scheduler(context.config.scheduler, problem, settings)
        for event in log.events:
            self._scheduler.apply(event)
        log.add_listener(self._scheduler.apply)
        self._optuna_study = OptunaStudy(problem, log.events, context.study.content["name"])
        log.add_listener(self._optuna_study.apply)
        for place in (context.run_dir / "optuna.db", context.config.storage_url):
            if place is not None:
                database = OptunaDatabase(place, problem, self._optuna_study, context.study.content["created"])
                stack.callback(_warn, database, context)
                log.add_listener(stack.enter_context(database).apply)
        self._enough: Enough | None = None
        if settings.stop_when_worth is not None:
            metric = problem.metric
            about = MetricInfo(metric.name, metric.mode, metric.format)
            self._enough = Enough(settings.stop_when_worth, about, settings.max_epochs, log.events)
            log.add_listener(self._enough.apply)
        self._stop_at: _StopAt | None = None
        if settings.stop_at is not None:
            self._stop_at = _StopAt(settings.stop_at, problem, context.interruption, log.events)
            log.add_listener(self._stop_at.apply)
        self._with_state: set[int] = set(self._scheduler.paused())  # paused trials
        log.add_listener(self._note_state)

    def run(self, progress: Any) -> None:
        context, interruption, log = self._context, self._context.interruption, self._log
        if log.state.unfinished() or self._may_start(len(log.state.trials)):
            searcher = TrialSearcher(
                self._problem, log, self._optuna_study, self._scheduler, self._may_start, _Costs(context).of
            )
            source = TrialSource(
                searcher,
                RayScheduler(self._scheduler, self._recorder),
                self._settings.samples * (len(self._scheduler.rungs) + 1),
                self._after_each,
            )
            setup = context.worker_setup(context.folder, checkpoint_epochs=tuple(self._scheduler.rungs))
            with progress.live():
                run_trials(source, setup, self._recorder, log, context.slots, interruption)
        if self._enough is not None and self._enough.worth is not None:
            worth = self._enough.worth.in_words(self._enough.metric)
            context.output.say(
                f"The search ends after {count(len(log.state.trials), 'trial')}, by --stop-when-worth: {worth}."
            )
        if interruption.signal_number is None:
            self._end_at_rung(self._scheduler.paused())
            if interruption.reason is not None:
                self._end_unfinished(interruption.reason)

    def _may_start(self, number: int) -> bool:
        budget = self._settings.epoch_budget
        if self._enough is not None and self._enough.worth is not None:
            return False
        if self._stop_at is not None and self._stop_at.is_reached:
            return False
        return number < self._settings.samples and (budget is None or self._log.state.epochs < budget)

    def _after_each(self) -> None:
        """Ends trials that cannot be promoted, and deletes states that are unlikely to be needed."""
        self._end_at_rung(self._scheduler.cannot_be_promoted())
        if self._context.slots.gpus or self._log.state.paused_count <= PAUSED_STATES:
            return
        unlikely = self._with_state - self._scheduler.likeliest_to_be_promoted(PAUSED_STATES)
        for number in sorted(unlikely):
            self._store.delete(checkpoint_of(number))
        self._with_state -= unlikely

    def _note_state(self, event: Event) -> None:
        match event:
            case TrialPaused():
                self._with_state.add(event.number)
            case TrialPromoted() | TrialEnded():
                self._with_state.discard(event.number)

    def _end_at_rung(self, paused: Mapping[int, int]) -> None:
        for number, rung in paused.items():
            self._recorder.end(number, "stopped", f"rung {rung}")
            self._store.delete(checkpoint_of(number))

    def _end_unfinished(self, reason: str) -> None:
        for trial in self._log.state.unfinished():
            self._recorder.end(trial.number, "stopped", reason)
            self._store.delete(checkpoint_of(trial.number))

    def _end_complete_trials(self) -> None:
        """Ends trials that had their last epoch when the driver died: an epoch is recorded before the end is."""
        for trial in self._log.state.unfinished():
            if trial.epoch >= self._settings.max_epochs:
                self._recorder.end(trial.number, "completed", None)


class _Costs:
    """Counts what the networks of trials cost. What cannot be counted is one warning and costs the study nothing."""

    def __init__(self, context: StudyContext) -> None:
        self._context, self._is_known = context, context.config.trainer is None

    def of(self, recipe: Recipe) -> dict[str, int] | None:
        """parameters, multiply_adds and file_bytes; None for a trainer of the user's own, whose network is unknown."""
        if not self._is_known:
            return None
        try:
            [counts] = costs_of([recipe], self._context.dataset.spec)
        except Exception as error:
            self._is_known = False
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._context.output.say(f"warning: what the networks of trials cost could not be counted ({cause})")
            return None
        return asdict(counts)


class _StopAt:
    """Ends the search when a trial's metric reaches a target, also where it did so before this session."""

    def __init__(
        self, target: float, problem: SearchProblem, interruption: Interruption, events: Iterable[Event]
    ) -> None:
        self._target, self._metric, self._interruption = target, problem.metric, interruption
        self.is_reached = False
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        value = event.metrics.get(f"val_{self._metric.name}") if isinstance(event, EpochFinished) else None
        if value is not None and not self._metric.is_better(self._target, value):
            self.is_reached = True
            self._interruption.ask(TARGET_REACHED)


def make_scheduler(name: str, problem: SearchProblem, settings: SearchSettings) -> Scheduler:
    """A new scheduler for a search; see SCHEDULERS."""
    return SCHEDULERS[name](
        SchedulerSettings(
            max_epochs=settings.max_epochs,
            samples=settings.samples,
            grace_period=settings.grace_period,
            reduction_factor=settings.reduction_factor,
            metric=problem.metric,
            base=problem.base.as_dict(),
        )
    )


def _warn(database: OptunaDatabase, context: StudyContext) -> None:
    """optuna.db is a view: what goes wrong with it is one warning."""
    if database.failure is not None:
        context.output.say(f"warning: {database.failure}")


def _keep_best(run: results.Run) -> None:
    ranked = results.leaderboard(run)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}", resumable=False)
    winner = int(ranked.index[0])
    metric = f"val_{run.metric.name}"
    write_json(
        run.path / "best.json",
        {"recipe": run.recipe(winner), "trial": winner, metric: float(ranked[metric].iloc[0])},
    )
