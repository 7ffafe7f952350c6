"""Analysis and statistics on tables made for the purpose, and against reference implementations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from made_run import MadeTrial, made_run, write_study
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

import results
from results import analysis

BASE = {"lr": 0.5, "batch_size": 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    """Twelve trials in which lr decides: 8 whole, 2 stopped, one diverged, one without an epoch."""
    path = tmp_path_factory.mktemp("runs") / "made"
    path.mkdir()
    share = FloatDistribution(0.0, 1.0)
    write_study(path, {"lr": share, "momentum": share}, samples=12, max_epochs=3, rungs=[1, 3], base=BASE)
    random = np.random.default_rng(0)
    lines = []
    for number in range(12):
        config = {"lr": number / 12, "momentum": float(random.random()), "batch_size": 16}
        lines.append(
            {"event": "trial", "number": number, "trial_id": f"trial_{number:05d}", "config": config, "seed": 1}
        )
        status = {8: "stopped", 9: "stopped", 10: "diverged", 11: "failed"}.get(number, "completed")
        for epoch in range(1, {"completed": 3, "stopped": 1, "diverged": 1, "failed": 0}[status] + 1):
            accuracy = 0.9 if status == "diverged" else 0.1 + number / 20 + 0.01 * epoch
            measured = {"train_loss": 1.0, "val_loss": 1.0, "val_accuracy": accuracy, "seconds": 2.0}
            lines.append(
                {"event": "epoch", "number": number, "training_iteration": epoch, **measured, "time_total_s": 2.0}
            )
        lines.append({"event": "end", "number": number, "status": status, "stop_reason": None})
    written = "".join(json.dumps({**line, "time": 1.0}) + "\n" for line in lines)
    (path / "epochs.jsonl").write_text(written + '{"event": "epo')
    return results.load_run(path)


def test_a_half_written_last_line_is_dropped_and_named(run: results.Run) -> None:
    assert len(run.dropped) == 1
    assert "half-written" in run.dropped[0]
    assert len(run.trials) == 12


def test_the_best_trial_is_never_one_that_diverged_or_failed(run: results.Run) -> None:
    assert run.trials["val_accuracy"].idxmax() == 10
    assert results.best(run).name == 9  # a stopped trial may win, if it is ahead where it was stopped


def test_ties_go_to_the_earlier_trial(run: results.Run) -> None:
    tied = replace(run, trials=pd.DataFrame({"val_accuracy": [0.5, 0.7, 0.7], "status": "completed"}))
    assert results.leaderboard(tied).index.tolist() == [1, 2, 0]


def test_without_a_finished_epoch_there_is_no_best(run: results.Run) -> None:
    nothing = replace(run, trials=pd.DataFrame({"val_accuracy": [np.nan], "status": ["failed"]}))
    with pytest.raises(ValueError, match="no trial"):
        results.best(nothing)


def test_epochs_saved_is_a_share_of_training_everything(run: results.Run) -> None:
    assert results.epochs_saved(run) == pytest.approx(1 - (8 * 3 + 3) / 36)


def test_whole_numbers_stay_whole_in_a_recipe_read_from_the_table(run: results.Run) -> None:
    recipe = run.recipe(3)
    assert (type(recipe["batch_size"]), type(recipe["lr"])) == (int, float)


def test_the_runs_optuna_study_has_its_states_and_steps(run: results.Run) -> None:
    trials = run.to_optuna().trials
    states = [TrialState.COMPLETE] * 8 + [TrialState.PRUNED] * 2 + [TrialState.FAIL] * 2
    assert [trial.state for trial in trials] == states
    assert trials[8].intermediate_values == {1: pytest.approx(0.51)}
    assert optuna.visualization.plot_optimization_history(run.to_optuna()).data


def test_importance_finds_the_hyperparameter_that_decides(run: results.Run) -> None:
    shares = analysis.importance(run)
    assert shares.index[0] == "lr"
    assert shares.attrs["trials"] == 8
    assert shares.sum().tolist() == pytest.approx([1.0, 1.0])


def test_importance_of_too_few_trials_is_refused(run: results.Run) -> None:
    few = results.Run(**{**vars(run), "trials": run.trials.iloc[6:]})
    with pytest.raises(ValueError, match="2 completed trials"):
        analysis.importance(few)


LR = {"lr": FloatDistribution(1e-4, 1.0, log=True)}


def test_the_incumbent_is_the_best_so_far_against_what_was_spent(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.1}, [0.3, 0.5]), MadeTrial({"lr": 0.2}, [0.4, 0.6])]
    run = made_run(tmp_path / "made", trials, LR)
    table = results.incumbent(run)
    assert table["val_accuracy"].tolist() == [0.3, 0.5, 0.5, 0.6]
    assert table["number"].tolist() == [0, 0, 0, 1]
    assert table["training_iteration"].tolist() == [1, 2, 2, 2]
    assert table["epochs_spent"].tolist() == [1, 2, 3, 4]
    assert table["seconds"].tolist() == [10, 20, 1010, 1020]


def test_effects_count_every_trial_but_compare_whole_ones_only(run: results.Run) -> None:
    table = results.effects(run, "lr", bins=2)
    assert table["trials"].sum() == 12
    assert table["completed"].sum() == 8
    assert table["failed"].tolist() == [0, 2]
    assert table["best"].max() == run.trials.loc[run.trials["status"] == "completed", "val_accuracy"].max()


def test_at_an_epoch_the_trials_that_came_so_far_are_whole_ones_measured_there(run: results.Run) -> None:
    early = run.at_epoch(1)
    assert early.trials.loc[run.trials["epochs"] >= 1, "status"].eq("completed").all()
    assert early.trials.loc[run.trials["epochs"] < 1, "status"].isin(["diverged", "failed"]).all()
    first = run.epochs[run.epochs["training_iteration"] == 1].set_index("number")["val_accuracy"]
    pd.testing.assert_series_equal(early.trials["val_accuracy"].dropna(), first.dropna(), check_names=False)
    assert results.effects(early, "lr", bins=2)["completed"].sum() == len(first)
    assert len(early.to_optuna().trials[0].intermediate_values) == 1
    assert run.at_epoch(3).trials["val_accuracy"].equals(run.trials["val_accuracy"])
    with pytest.raises(ValueError, match="allowed: 1 to 3"):
        run.at_epoch(4)


def test_trials_are_compared_whole_where_enough_are_and_else_where_most_of_them_were(tmp_path: Path) -> None:
    whole = [MadeTrial({"lr": 0.1 + 0.01 * each}, [0.5] * 9) for each in range(5)]
    short = [MadeTrial({"lr": 0.1 + 0.01 * each}, [0.4] * 3, status="stopped") for each in range(3)]
    assert results.comparable(made_run(tmp_path / "enough", whole + short, LR)).study["max_epochs"] == 9
    compared = results.comparable(made_run(tmp_path / "few", whole[:4] + short, LR))
    assert compared.study["max_epochs"] == 3
    assert results.importance(compared).attrs["trials"] == 7


@pytest.mark.parametrize(
    "values", [[0.0, 4.3e-6, 1.234567e-4, 9.99999e-4], [1, 3, 5, 1024], [-1.23456, -0.5, 0.1, 2.0]]
)
def test_bins_hold_every_value_between_edges_of_three_digits(values: list[float], tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", [MadeTrial({"lr": value}, [0.5] * 9) for value in values], LR)
    table = results.effects(run, "lr", bins=3)
    assert table["trials"].sum() == len(values)
    edges = [edge for interval in table.index for edge in (interval.left, interval.right)]
    assert edges == [float(f"{edge:.3g}") for edge in edges]


def test_a_hyperparameter_that_no_trial_drew_has_no_effects(run: results.Run) -> None:
    with pytest.raises(KeyError, match="no trial has drawn 'nothing'"):
        results.effects(run, "nothing")


def test_a_rung_that_orders_the_trials_as_the_end_does_correlates_fully(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.1}, [top / 2] * 3 + [top] * 6) for top in (0.5, 0.6, 0.7, 0.8)]
    ranks = results.rank_correlation(made_run(tmp_path / "made", trials, LR))
    assert ranks.index.tolist() == [1, 3]
    assert ranks["spearman"].tolist() == pytest.approx([1, 1])
    assert ranks["winner_rank"].tolist() == [1, 1]
    assert not ranks["winner_cut"].any()


def test_a_winner_that_was_weak_at_a_rung_would_have_been_cut(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.1}, [0.5] * 9) for _ in range(5)] + [MadeTrial({"lr": 0.1}, [0.1] * 3 + [0.9] * 6)]
    first = results.rank_correlation(made_run(tmp_path / "made", trials, LR)).loc[1]
    assert (first["winner_rank"], first["of"], first["winner_cut"]) == (6, 6, True)


def test_compared_runs_are_paired_by_test_image(tmp_path: Path) -> None:
    right = [True] * 90 + [False] * 10
    better = made_run(tmp_path / "better", [], LR, correct={"winner": right})
    worse = made_run(tmp_path / "worse", [], LR, correct={"winner": [False] * 30 + right[30:]})
    second = results.compare([better, worse]).loc[str(worse.path)]
    assert second["difference"] == pytest.approx(-0.3)
    assert (second["only_this"], second["only_first"], second["verdict"]) == (0, 30, "worse")


def test_runs_of_other_images_are_not_paired(tmp_path: Path) -> None:
    digests = {"digest": "other", "split_digest": "other", "train": 1, "validation": 1}
    one = made_run(tmp_path / "one", [], LR, correct={"winner": [True] * 100})
    other = made_run(tmp_path / "other", [], LR, correct={"winner": [False] * 100}, data=digests)
    second = results.compare([one, other]).loc[str(other.path)]
    assert not second["same_data"]
    assert pd.isna(second["verdict"])
    assert pd.isna(second["difference"])


def test_confusion_and_classes_count_each_test_image_once(tmp_path: Path) -> None:
    correct = {"winner": [True] * 80 + [False] * 20, "baseline": [True] * 100}
    predictions = made_run(tmp_path / "made", [], LR, correct=correct).predictions
    assert predictions is not None
    counted = results.confusion(predictions)
    assert counted.to_numpy().sum() == 100
    assert counted.to_numpy().trace() == 80
    classes = results.per_class(predictions)
    assert classes["images"].tolist() == [10] * 10
    assert classes["winner"].mean() == pytest.approx(0.8)
    assert classes["difference"].tolist() == pytest.approx([-0.2] * 10)
