"""The report of a search with many trials: it shows a part of them and says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from made_run import SOUND_HYPERPARAMETERS, MadeTrial, made_run

from results import Run, plots, report
from results.plots.figure import DRAWN
from results.plots.search import _is_base

TRIALS = 1_500


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Run:
    random = np.random.default_rng(0)
    trials = [
        MadeTrial(
            {"lr": float(10 ** random.uniform(-3, -1)), "batch_size": int(random.choice([32, 64, 128]))},
            (random.random() * np.linspace(0.5, 1, 10)).tolist(),
        )
        for _ in range(TRIALS)
    ]
    return made_run(tmp_path_factory.mktemp("large") / "run", trials, SOUND_HYPERPARAMETERS)


def ranked(run: Run) -> list[int]:
    return run.trials["val_accuracy"].sort_values(ascending=False, kind="stable").index.tolist()


def test_a_picture_draws_the_best_trials_and_others_evenly_and_says_so(large: Run) -> None:
    figure = plots.effect(large, "lr")
    shown = {int(text.split("<br>")[0].removeprefix("trial ")) for text in figure.data[0].text}
    assert len(shown) == DRAWN
    assert set(ranked(large)[: DRAWN // 2]) <= shown
    assert ranked(large)[-1] in shown
    said = "Drawn are the best 500 of 1,500 trials and 500 of the others, evenly by rank."
    assert said in figure.layout.title.subtitle.text


@pytest.mark.parametrize("draw", [plots.learning_curves, plots.parallel_coordinates, plots.accuracy_against_cost])
def test_every_picture_of_trials_draws_no_more_than_that(large: Run, draw: Callable[[Run], go.Figure]) -> None:
    figure = draw(large)
    assert "500 of the others" in figure.layout.title.subtitle.text
    points = sum(len(trace.x) for trace in figure.data)
    assert points <= (DRAWN + 1) * 12


def test_learning_curves_count_the_trials_that_are_not_drawn(large: Run) -> None:
    names = [trace.name for trace in plots.learning_curves(large).data]
    assert f"{TRIALS - 1} completed" in names


def test_the_table_has_the_best_thousand_and_says_how_many_more_there_are(large: Run) -> None:
    page = report.render(large)
    assert "The best 1,000 trials; trials.csv has 500 more." in page
    assert page.count("<tr class=") == 1_000


def test_up_to_a_thousand_trials_nothing_is_left_out(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.01 + at / 100_000, "batch_size": 32}, [at / 2_000]) for at in range(DRAWN)]
    run = made_run(tmp_path / "run", trials, SOUND_HYPERPARAMETERS)
    figure = plots.effect(run, "lr")
    assert len(figure.data[0].x) == DRAWN
    assert "Drawn are" not in figure.layout.title.subtitle.text
    assert "trials.csv has" not in report.render(run)


def test_the_trials_with_the_base_recipe_are_found_without_looking_at_each(large: Run) -> None:
    one_by_one = [
        all(value == large.base.get(name) for name, value in large.config(number).items())
        for number in large.trials.index[:50]
    ]
    assert _is_base(large)[:50].tolist() == one_by_one


def test_importance_is_of_an_even_part_of_many_trials_and_says_so(large: Run) -> None:
    figure = plots.importance(large)
    assert "These are 750 of 1,500, evenly by number." in figure.layout.title.subtitle.text


def test_a_trials_config_keeps_the_types_of_its_values(large: Run) -> None:
    config = large.config(3)
    assert {name: type(value) for name, value in config.items()} == {"lr": float, "batch_size": int}
    with pytest.raises(KeyError):
        large.config(TRIALS)
