"""Replicates: the whole study once more, from other seeds and on other splits, as its result is a draw as well.

Each is a run of its own in `replicates/<number>` of the run: search, finalists and final, but no further evidence.
Nothing is chosen among them: the study's verdict is that of its own search.
"""

from dataclasses import replace

import results
from study.config import StudyConfig
from study.errors import StudyFailed
from study.execution.interruption import TIME_BUDGET
from study.pipeline.make_problem import problem_as_json
from study.pipeline.phases.final import Final
from study.pipeline.phases.finalists import Finalists
from study.pipeline.phases.search import SearchSettings, search
from study.pipeline.run_context import REPLICATES, Phase, StudyContext
from study.search.problem import SearchProblem, derived_seed
from study.storage.study_file import StudyFile, now

AFTER_THE_SEARCH: list[Phase[StudyConfig]] = [Finalists(), Final()]


class Replicates:
    """Repeats search and choice `--replicates` times; one that is complete is not repeated."""

    name = "replicates"

    def enabled(self, config: StudyConfig) -> bool:
        return config.replicates > 0

    def run(self, context: StudyContext) -> None:
        for number in range(1, context.config.replicates + 1):
            if context.interruption.signal_number is None:
                _repeat(context, number)


def _repeat(context: StudyContext, number: int) -> None:
    replicate = _context(context, number)
    if replicate is None:
        return
    interruption, config, title = context.interruption, replicate.config, f"replicate {number}"
    try:
        with replicate.study.timed("search"):
            search(replicate, _settings(context), title)
        for phase in AFTER_THE_SEARCH:
            if phase.enabled(config) and interruption.signal_number is None:
                with replicate.study.timed(phase.name):
                    phase.run(replicate)
    except StudyFailed as error:
        if error.resumable:
            raise
        # That one of several repetitions finds nothing costs this one; the study has its verdict.
        replicate.study.update(status="failed", reason=str(error), ended=now())
        context.output.say(f"warning: {title}: {error}")
        return
    if interruption.signal_number is None:
        replicate.study.update(status="finished", ended=now())


def _settings(context: StudyContext) -> SearchSettings:
    """Those of the study's own search. A time budget has no epochs: what it allowed is the number of trials."""
    trials = results.load_run(context.run_dir).trials
    settings = SearchSettings.of(context.config)
    return replace(settings, samples=len(trials)) if (trials["stop_reason"] == TIME_BUDGET).any() else settings


def _context(context: StudyContext, number: int) -> StudyContext | None:
    """That of the replicate, which has begun; None where it is complete."""
    if context.problem is None:
        raise ValueError("a run without a search has no replicate")
    seed, split_seed = (derived_seed(context.config.seed, REPLICATES + number, which) for which in (0, 1))
    changes = {"seed": seed, "split_seed": split_seed, "audit": 0, "control": None, "tune_baseline": False}
    config = context.config.model_copy(update={**changes, "replicates": 0})
    dataset = context.dataset.with_split_seed(split_seed)
    folder = context.folder.below("replicates").below(str(number))
    folder.path.mkdir(parents=True, exist_ok=True)
    problem = replace(context.problem, seed=seed)
    replicate = replace(context, config=config, folder=folder, dataset=dataset, problem=problem)
    study = _study_file(context, replicate, problem)
    return None if study is None else replace(replicate, study=study)


def _study_file(context: StudyContext, replicate: StudyContext, problem: SearchProblem) -> StudyFile | None:
    path, config = replicate.run_dir / "study.json", replicate.config
    settings, name = _settings(context).as_json(), replicate.run_dir.name
    if path.exists():
        study = StudyFile(path, on_change=replicate.folder.copy)
        # Further seeds of the study's final are no reason to train those of its replicates; more trials are.
        if study.content["status"] == "finished" and study.content["samples"] == settings["samples"]:
            return None
        study.update(status="running", reason=None, ended=None, **settings)
        return study
    own = {
        "name": f"{context.run_dir.name}/replicates/{name}",
        "arguments": {**context.study.content["arguments"], "seed": config.seed, "split_seed": config.split_seed},
        "status": "running",
        "created": now(),
        "ended": None,
        "data": {**context.study.content["data"], **replicate.dataset.digests()},
        **problem_as_json(problem),
        **settings,
        "seconds": {},
        "test_openings": [],
        "resumed": [],
    }
    return StudyFile(path, {**context.study.content, **own}, replicate.folder.copy)
