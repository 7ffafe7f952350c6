"""What else a study does so that its number can be defended: an audit of the early stopping, a control, the baseline
tuned, and finalists that are trained again.

None of these sees the test set. What they mean is worked out in results/evidence.py.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import results
import search_spaces
from study.execution.runner import Arrays, Interruption
from study.pipeline.progress import Progress
from study.pipeline.run_context import RunContext
from study.pipeline.search import Settings, search
from study.pipeline.trainings import PlannedTraining, run_trainings
from study.recipe import BASELINE, Recipe
from study.search.problem import SearchProblem, derived_seed, hyperparameters_as_json
from study.storage.event_log import StudyFile, now, write_json

# Numbers no trial has, from which the seeds of all else derive.
FINAL, FINALISTS, AUDIT, CONTROL, TUNED_BASELINE = (k * 1_000_000 for k in range(1, 6))


def audit(opened: RunContext, interruption: Interruption, screen: Progress, count: int, seed: int) -> None:
    """Trains `count` of the trials that ASHA stopped, drawn at random, to the end that they were not given.

    Each is trained from its start with its own seed, so on a CPU its first epochs are those it had. Nothing here is
    seen by any choice.
    """
    run = results.load_run(opened.run_dir)
    stopped = run.trials.index[run.trials["stop_reason"].str.startswith("rung", na=False)].to_numpy()
    drawn = np.random.default_rng(derived_seed(seed, AUDIT)).permutation(stopped)[:count]
    run_trainings(
        [PlannedTraining("audit", Recipe.from_dict(run.recipe(int(number))), int(number)) for number in sorted(drawn)],
        Arrays(*opened.dataset.split()),
        opened.folder.below("audit"),
        opened.slots,
        interruption,
        screen,
    )


def control(
    opened: RunContext, interruption: Interruption, screen: Progress, question: SearchProblem, settings: Settings
) -> None:
    """Random search in the same space with as many epochs as the search had, as a run of its own in control/."""
    alone = replace(question, sampler="random", seed=derived_seed(question.seed, CONTROL), history=())
    _search_beside(opened, "control", interruption, screen, alone, settings)


def tune_baseline(
    opened: RunContext, interruption: Interruption, screen: Progress, question: SearchProblem, settings: Settings
) -> None:
    """A study of the published network's own learning rate and batch size, with as many epochs as the search had, as a
    run of its own in tuned-baseline/."""
    published = SearchProblem(
        search_spaces.SPACES["baseline"],
        "baseline",
        BASELINE,
        question.max_epochs,
        derived_seed(question.seed, TUNED_BASELINE),
    )
    _search_beside(opened, "tuned-baseline", interruption, screen, published, settings)


def choose_among_finalists(
    opened: RunContext, interruption: Interruption, screen: Progress, count: int, epochs: int, seeds: list[int]
) -> None:
    """Trains the `count` best trials' recipes again, for `epochs` and from fresh `seeds`, on the training split.

    best.json then has the one with the best mean validation accuracy.
    """
    run = results.load_run(opened.run_dir)
    best = results.leaderboard(run).index[:count]
    recipes = {int(number): Recipe.from_dict(run.recipe(int(number))) for number in best}
    run_trainings(
        [
            PlannedTraining("finalist", recipe.with_fields({"epochs": epochs, "seed": seed}), number)
            for seed in seeds
            for number, recipe in recipes.items()
        ],
        Arrays(*opened.dataset.split()),
        opened.folder.below("finalists"),
        opened.slots,
        interruption,
        screen,
    )
    if interruption.signal_number is not None:
        return
    confirmed = results.finalists(results.load_run(opened.run_dir))
    confirmed = confirmed[confirmed.index.isin(recipes)]
    if len(confirmed):
        number = int(confirmed.index[0])
        scores = {"val_accuracy": confirmed["search_score"][number], "confirmed": confirmed["confirmed_score"][number]}
        scores = {name: float(score) for name, score in scores.items()}
        write_json(opened.run_dir / "best.json", {"recipe": run.recipe(number), "trial": number, **scores})


def _search_beside(
    opened: RunContext,
    name: str,
    interruption: Interruption,
    screen: Progress,
    question: SearchProblem,
    settings: Settings,
) -> None:
    """A search in a folder of the run, which is a run of its own for whoever reads it."""
    spent = int(results.load_run(opened.run_dir).trials["epochs"].sum())
    bounded = replace(settings, samples=spent, epoch_budget=spent)
    folder = opened.folder.below(name)
    folder.path.mkdir(exist_ok=True)
    study = _study_of(folder.path, opened, question, bounded)
    search(question, bounded, opened.dataset, opened.slots, interruption, screen, folder)
    if interruption.signal_number is None:
        study.update(status="finished", ended=now())


def _study_of(run_dir: Path, opened: RunContext, question: SearchProblem, settings: Settings) -> StudyFile:
    own: Mapping[str, Any] = {
        "name": f"{opened.run_dir.name}/{run_dir.name}",
        "kind": "search",
        "status": "running",
        "created": now(),
        "ended": None,
        "space": question.space_name,
        "knobs": hyperparameters_as_json(question),
        "base": question.base.as_dict(),
        **asdict(settings),
        "seed": question.seed,
        "seconds": {},
        "test_openings": [],
        "warm_start": None,
    }
    if (run_dir / "study.json").exists():
        study = StudyFile(run_dir / "study.json")
        study.update(status="running", ended=None, **asdict(settings))
        return study
    return StudyFile(run_dir / "study.json", {**opened.study.content, **own})
