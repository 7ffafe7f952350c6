"""Pictures show what the tables hold: each figure's numbers are looked up in the frames it was drawn from."""

import json
import re
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path

import plotly.graph_objects as go
import pytest
import reported_run
from made_run import MadeTrial, made_run, write_events
from optuna.distributions import FloatDistribution
from reported_run import RUNGS

from results import Run, analysis, load_run, palette, plots

FIGURES: dict[str, Callable[[Run], go.Figure]] = {
    "learning curves": plots.learning_curves,
    "incumbent by epochs": partial(plots.incumbent, against="epochs"),
    "incumbent by time": partial(plots.incumbent, against="time"),
    "parallel coordinates": plots.parallel_coordinates,
    "importance": plots.importance,
    "effect of a number": partial(plots.effect, hyperparameter="lr"),
    "effect of an option": partial(plots.effect, hyperparameter="optimizer"),
    "effect of a switch": partial(plots.effect, hyperparameter="batch_norm"),
    "effect of a hyperparameter that is not always drawn": partial(plots.effect, hyperparameter="momentum"),
    "accuracies": plots.accuracies,
    "confusion matrix": plots.confusion_matrix,
    "per class": plots.per_class,
    "final losses": plots.final_losses,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return reported_run.search(tmp_path_factory.mktemp("runs") / "made", 18)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return reported_run.baseline(tmp_path_factory.mktemp("runs") / "seeds")


@pytest.fixture(params=FIGURES)
def draw(request: pytest.FixtureRequest) -> Callable[[Run], go.Figure]:
    return FIGURES[request.param]


def test_every_figure_is_named_and_only_in_colours_that_have_a_partner_on_dark(
    run: Run, draw: Callable[[Run], go.Figure]
) -> None:
    figure = draw(run)
    assert figure.layout.title.text
    used = set(re.findall(r"#[0-9a-f]{6}\b", figure.to_json()))
    assert used <= set(astuple(palette.LIGHT))
    on_dark = set(re.findall(r"#[0-9a-f]{6}\b", palette.on_dark(figure).to_json()))
    assert on_dark <= set(astuple(palette.DARK))


def test_every_figure_says_that_its_images_are_synthetic(tmp_path: Path, draw: Callable[[Run], go.Figure]) -> None:
    made_up = reported_run.search(tmp_path / "made-up", 18, dataset="synthetic")
    assert "Synthetic images." in draw(made_up).layout.title.subtitle.text


def test_a_run_that_has_not_begun_has_nothing_to_plot(tmp_path: Path, draw: Callable[[Run], go.Figure]) -> None:
    with pytest.raises(plots.NothingToPlot, match=r"\.$"):
        draw(reported_run.search(tmp_path / "empty", 0, final=False, status="running"))


def test_learning_curves_hold_each_epoch_once_and_mark_each_rung(run: Run) -> None:
    figure = plots.learning_curves(run)
    shown = [y for trace in figure.data for y in trace.y if y is not None]
    assert sorted(shown) == pytest.approx(sorted(100 * run.epochs["val_accuracy"]), abs=1e-3)
    assert sorted(shape.x0 for shape in figure.layout.shapes) == RUNGS


def test_the_winner_and_the_baseline_stand_out_by_name(run: Run) -> None:
    texts = " ".join(annotation.text for annotation in plots.learning_curves(run).layout.annotations)
    winner = run.trials["val_accuracy"].idxmax()
    assert f"<b>trial {winner}</b><br>{run.trials['val_accuracy'].max():.2%}" in texts
    assert "<b>baseline</b>" in texts


def test_the_incumbent_never_falls_and_ends_at_the_best_epoch_of_all(run: Run) -> None:
    for against in ("epochs", "time"):
        line = plots.incumbent(run, against).data[0]
        assert list(line.y) == sorted(line.y)
        assert line.y[-1] == pytest.approx(100 * run.epochs["val_accuracy"].max())
    assert plots.incumbent(run, "epochs").data[0].x[-1] == len(run.epochs)


def test_parallel_coordinates_has_one_axis_for_each_hyperparameter_and_one_line_for_each_ranked_trial(run: Run) -> None:
    figure = plots.parallel_coordinates(run)
    lines = sum(list(trace.x).count(None) for trace in figure.data)
    assert lines == len(analysis.leaderboard(run))
    assert len(figure.layout.shapes) == len(run.hyperparameters) + 1


def test_a_field_that_only_the_first_trial_has_otherwise_is_no_hyperparameter(tmp_path: Path) -> None:
    trials = [MadeTrial({"dropout": at / 10, "padding": "same" if at else "valid"}, [0.5 + at / 20]) for at in range(4)]
    made = made_run(tmp_path / "made", trials, {"dropout": FloatDistribution(0.0, 0.5)})
    texts = [annotation.text for annotation in plots.parallel_coordinates(made).layout.annotations]
    assert "<b>dropout</b>" in texts
    assert "<b>padding</b>" not in texts


def test_a_trial_that_did_not_draw_a_hyperparameter_passes_its_axis_where_it_says_not_drawn(run: Run) -> None:
    texts = [annotation.text for annotation in plots.parallel_coordinates(run).layout.annotations]
    assert "not drawn" in texts
    drawn = analysis.leaderboard(run)["config/momentum"].notna().sum()
    assert len(plots.effect(run, "momentum").data[0].x) == drawn


def test_a_logarithmic_hyperparameter_has_a_logarithmic_axis(run: Run) -> None:
    dots = plots.effect(run, "lr").data[0]
    at = {text.split("<br>")[0]: x for text, x in zip(dots.text, dots.x, strict=True)}
    assert at["trial 0"] == pytest.approx(0.1084, abs=1e-3)  # log(0.001 / 0.0005) / log(0.3 / 0.0005)


def test_importance_shares_are_those_of_the_analysis(run: Run) -> None:
    measured = analysis.importance(analysis.comparable(run))
    figure = plots.importance(run)
    assert dict(zip(figure.data[0].y, figure.data[0].x, strict=True)) == pytest.approx(
        (100 * measured["fanova"]).to_dict()
    )
    assert f"{measured.attrs['trials']} trials" in figure.layout.title.subtitle.text
    assert "mostly noise" in figure.layout.title.subtitle.text


def test_a_row_of_the_confusion_matrix_adds_up_to_all_images_of_its_class(run: Run) -> None:
    right, wrong = plots.confusion_matrix(run).data
    for label in range(10):
        row = [share for share in [*right.z[label], *wrong.z[label]] if share == share]
        assert sum(row) == pytest.approx(100)


def test_classes_are_sorted_by_gain_with_both_accuracies(run: Run) -> None:
    assert run.predictions is not None
    cats = run.predictions[run.predictions["label"] == 3]
    baseline, winner = plots.per_class(run).data
    row = winner.y.index("cat")
    assert winner.x[row] == pytest.approx(100 * (cats["winner"] == 3).mean())
    assert baseline.x[row] == pytest.approx(100 * (cats["baseline"] == 3).mean())
    gains = [ours - theirs for ours, theirs in zip(winner.x, baseline.x, strict=True)]
    assert gains == sorted(gains)


def test_one_seed_has_an_interval_and_several_have_a_dot_each(run: Run, baseline: Run) -> None:
    assert all(trace.error_x.array for trace in plots.accuracies(run).data)
    (dots,) = plots.accuracies(baseline).data
    assert len(dots.x) == 3
    assert dots.error_x.array is None


def test_the_published_losses_are_marked_in_a_baseline_run_only(run: Run, baseline: Run) -> None:
    marked = plots.final_losses(baseline).data[-1]
    assert dict(zip(marked.x, marked.y, strict=True)) == {10: 1.073, 30: 0.528}
    assert not any("published" in json.dumps(trace.to_plotly_json()["mode"]) for trace in plots.final_losses(run).data)
    assert all(trace.mode == "lines" for trace in plots.final_losses(run).data)


def test_a_name_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    optimizer = {"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adamw"]}}
    run = reported_run.search(tmp_path / "made", knobs={"optimizer": optimizer, "<b>x": optimizer})
    run.trials["config/<b>x"] = "<a href='https://example.org'>"
    figure = plots.parallel_coordinates(run)
    assert "<b>&lt;b&gt;x</b>" in [annotation.text for annotation in figure.layout.annotations]
    assert "<a" not in figure.to_json().replace("\\u003c", "<")


def test_the_pareto_front_of_a_counted_cost_has_the_trials_that_no_other_beats_in_both(tmp_path: Path) -> None:
    made = made_run(tmp_path / "run", [MadeTrial({"lr": 0.01}, [accuracy]) for accuracy in (0.5, 0.6, 0.4, 0.7)], {})
    log = made.path / "epochs.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["event"] == "trial":
            counted = (100, 200, 300, 200)[line["number"]]
            line["costs"] = {"parameters": counted, "multiply_adds": 7, "file_bytes": 4 * counted}
    write_events(log, lines)
    run = load_run(made.path)
    assert run.trials["parameters"].tolist() == [100, 200, 300, 200]
    others, front = plots.accuracy_against_cost(run, cost="parameters").data
    assert list(front.x) == [100, 200]
    assert list(front.y) == [50.0, 70.0]
    assert list(others.x) == [200, 300]
    with pytest.raises(plots.NothingToPlot, match="All these trials cost the same: 7 multiply-adds"):
        plots.accuracy_against_cost(run, cost="multiply_adds")
    with pytest.raises(plots.NothingToPlot, match="has not recorded the parameters"):
        plots.accuracy_against_cost(made, cost="parameters")
