"""The statistics of the evidence, on tables where the answer is known."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_run import MadeTrial, made_final, made_run
from optuna.distributions import FloatDistribution
from scipy.stats import norm, spearmanr

import results
from results.evidence import _weighted_spearman
from results.metric import MetricInfo


def series(values: list[float]) -> "pd.Series[float]":
    return pd.Series(values, dtype="float64")


@pytest.mark.parametrize("seed", range(5))
def test_with_equal_weights_the_rank_correlation_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    one = random.integers(0, 8, 30).astype(float)  # with ties
    other = one + random.normal(0, 3, 30)
    found = _weighted_spearman(series(one.tolist()), series(other.tolist()), series([1.0] * 30))
    assert found == pytest.approx(spearmanr(one, other).statistic)


def test_a_weight_of_three_is_the_trial_three_times() -> None:
    one, other, weights = [0.1, 0.5, 0.3, 0.9], [0.2, 0.4, 0.6, 0.8], [1, 3, 1, 2]
    repeated = [i for i, weight in enumerate(weights) for _ in range(weight)]
    expected = spearmanr([one[i] for i in repeated], [other[i] for i in repeated]).statistic
    assert _weighted_spearman(series(one), series(other), series(list(map(float, weights)))) == pytest.approx(expected)


def test_two_trials_or_a_constant_have_no_rank_correlation() -> None:
    assert math.isnan(_weighted_spearman(series([0.1, 0.2]), series([0.1, 0.2]), series([1.0, 1.0])))
    assert math.isnan(_weighted_spearman(series([0.1] * 4), series([0.1, 0.2, 0.3, 0.4]), series([1.0] * 4)))


LR = {"lr": FloatDistribution(1e-4, 1.0, log=True)}


def searched(path: Path, best: float = 0.7, **more: Any) -> results.Run:
    """Four whole trials of three epochs and two that were stopped after the first."""
    whole = [MadeTrial({"lr": 0.1}, [top / 2, top - 0.1, top]) for top in (0.4, best, 0.5, 0.6)]
    stopped = [MadeTrial({"lr": 0.2}, [accuracy], "stopped", "rung 1") for accuracy in (0.1, 0.12)]
    return made_run(path, [*whole, *stopped], LR, max_epochs=3, rungs=[1, 3], **more)


def retrained(scores: dict[int, list[list[float]]], fold: str | None = None) -> pd.DataFrame:
    """The epochs of trainings: trial -> the accuracies by epoch of each seed."""
    rows = [
        {"trial": trial, "seed": seed, "training_iteration": epoch, "val_accuracy": accuracy, "seconds": 10.0}
        for trial, seeds in scores.items()
        for seed, accuracies in enumerate(seeds)
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    return pd.DataFrame(rows).assign(fold=pd.Series([fold] * len(rows), dtype="str"))


def said(run: results.Run, kind: str) -> str:
    return next(sentence for sentence in results.sentences(run) if sentence.startswith(kind))


def test_selection_optimism_is_the_searchs_score_less_the_mean_of_fresh_seeds(tmp_path: Path) -> None:
    scores = {1: [[0.3, 0.5, 0.66], [0.3, 0.5, 0.64]], 3: [[0.3, 0.5, 0.67], [0.3, 0.5, 0.65]]}
    run = replace(searched(tmp_path / "run"), finalist_epochs=retrained(scores))
    table = results.finalists(run)
    assert table.index.tolist() == [3, 1]
    assert table["confirmed_score"].tolist() == pytest.approx([0.66, 0.65])
    assert table["standard_deviation"].tolist() == pytest.approx([np.std([0.66, 0.64], ddof=1)] * 2)
    assert table["optimism"].tolist() == pytest.approx([0.6 - 0.66, 0.7 - 0.65])
    sentence = said(run, "Finalists")
    assert "trial 3 is the best, not trial 1, the search's best" in sentence
    assert "trial 1 70.00% and 65.00% (+5.00 points)" in sentence
    assert "no measure of the search's luck" not in sentence


def test_a_longer_training_of_finalists_is_not_called_luck(tmp_path: Path) -> None:
    run = replace(searched(tmp_path / "run"), finalist_epochs=retrained({1: [[0.3, 0.5, 0.66, 0.7, 0.75]]}))
    sentence = said(run, "Finalists")
    assert "had 5 epochs, the search's 3" in sentence
    assert "no measure of the search's luck alone" in sentence


def test_the_score_of_a_finalist_is_its_mean_over_the_folds_that_the_study_asked_for_last(tmp_path: Path) -> None:
    halves = [
        retrained({1: [[one]], 3: [[other]]}, fold) for fold, one, other in (("1/2", 0.6, 0.7), ("2/2", 0.5, 0.8))
    ]
    before = [retrained({1: [[0.9]], 3: [[0.1]]}), retrained({1: [[0.9]], 3: [[0.1]]}, "1/3")]
    made = searched(tmp_path / "run", arguments={"folds": 2})
    run = replace(made, finalist_epochs=pd.concat([*before, *halves]))
    table = results.finalists(run)
    assert table.index.tolist() == [3, 1]
    assert table["confirmed_score"].tolist() == pytest.approx([0.75, 0.55])
    assert table[["trainings", "seeds", "folds"]].to_numpy().tolist() == [[2, 1, 2]] * 2
    assert "from one fresh seed, on each of 2 folds of the training images, trial 3 is" in said(run, "Finalists")
    # On 2 folds a training has half of 50,000 images, on 3 two thirds, on the study's split 45,000.
    assert results.budget(run)["images"]["finalists"] == round(4 * 25_000 + 2 * 100_000 / 3 + 2 * 45_000)


def by_log_loss(run: results.Run, factor: float) -> results.Run:
    """The run as if log_loss had selected, `factor` times what the accuracy lacks to 1."""
    tables = {
        name: getattr(run, name).assign(val_log_loss=lambda table: factor * (1 - table["val_accuracy"]))
        for name in ("trials", "epochs", "finalist_epochs", "audit_epochs")
    }
    return replace(run, metric=MetricInfo("log_loss", "min"), **tables)


def test_finalists_are_ranked_by_the_metric_that_selects(tmp_path: Path) -> None:
    made = searched(tmp_path / "run")
    epochs = retrained({1: [[0.9]], 3: [[0.1]]}).assign(val_log_loss=[0.8, 0.3])
    made = by_log_loss(made, 1.0)
    run = replace(made, finalist_epochs=epochs, trials=made.trials.assign(val_log_loss=0.5))
    table = results.finalists(run)
    assert table.index.tolist() == [3, 1]
    assert table["optimism"].tolist() == pytest.approx([-0.2, 0.3])  # positive where the search's was too good
    assert "Validation log loss in the search and confirmed" in said(run, "Finalists")


def test_the_winner_of_many_equal_recipes_is_confirmed_where_they_truly_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    luck = random.normal(0.6, 0.01, 200)
    trials = [MadeTrial({"lr": 0.1}, [accuracy]) for accuracy in luck]
    run = made_run(tmp_path / "run", trials, LR, max_epochs=1, rungs=[1])
    fresh = {int(number): [[score] for score in random.normal(0.6, 0.01, 50)] for number in luck.argsort()[-3:]}
    table = results.finalists(replace(run, finalist_epochs=retrained(fresh)))
    assert table["confirmed_score"].to_numpy() == pytest.approx(np.full(3, 0.6), abs=0.005)
    assert table["optimism"].max() == pytest.approx(luck.max() - 0.6, abs=0.005)


def test_the_rungs_of_whole_trials_correlate_as_scipy_says_and_the_sentence_says_of_how_many(tmp_path: Path) -> None:
    ends = (0.4, 0.7, 0.5, 0.6)
    firsts = (0.2, 0.3, 0.25, 0.1)
    trials = [MadeTrial({"lr": 0.1}, [first, end - 0.05, end]) for first, end in zip(firsts, ends, strict=True)]
    trials += [MadeTrial({"lr": 0.2}, [0.05], "stopped", "rung 1")]
    run = made_run(tmp_path / "run", trials, LR, max_epochs=3, rungs=[1, 3])
    audit = retrained({4: [[0.05, 0.2, 0.3]]})
    expected = spearmanr([*firsts, 0.05], [*ends, 0.3]).statistic
    run = replace(run, audit_epochs=audit)
    assert results.rung_correlation(run)["spearman"].tolist() == pytest.approx([expected])
    assert f"{expected:.2f} after epoch 1 (5 trials)" in said(run, "Early stopping")


@pytest.mark.parametrize(("end", "words"), [(0.69, "none of them would have"), (0.71, "trial 5 would have")])
def test_an_audited_trial_would_have_won_only_above_the_searchs_best(tmp_path: Path, end: float, words: str) -> None:
    run = replace(searched(tmp_path / "run"), audit_epochs=retrained({5: [[0.12, 0.5, end]]}))
    assert f"1 of 2 stopped trials, drawn at random, were trained to the end; {words}" in said(run, "Early stopping")


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (0.75, "the search was better than random search: +5.00"),
        (0.71, "cannot be told from"),
        (0.65, "was worse than random search: -5.00"),
    ],
)
def test_the_controls_sentence_follows_from_the_difference_and_its_chance(
    tmp_path: Path, best: float, words: str
) -> None:
    run = replace(searched(tmp_path / "run", best), control=searched(tmp_path / "control"))
    found = results.control(run)
    assert found is not None
    deviation = math.sqrt((best * (1 - best) + 0.7 * 0.3) / 5000)
    assert found["chance"] == pytest.approx(norm.ppf(0.975) * deviation, rel=1e-4)
    assert words in said(run, "Control")
    assert "5,000 validation images" in said(run, "Control")


def test_control_and_audit_follow_a_metric_that_is_minimised(tmp_path: Path) -> None:
    control = by_log_loss(searched(tmp_path / "control"), 2.0)
    run = replace(by_log_loss(searched(tmp_path / "run"), 1.0), control=control)
    found = results.control(run)
    assert found is not None
    assert (found["search"], found["control"], found["difference"]) == pytest.approx((0.3, 0.6, 0.3))
    assert found["chance"] is None
    assert "validation log loss of 0.3000 and random search 0.6000. One run of each" in said(run, "Control")
    audit = retrained({5: [[0.1, 0.5, 0.71]], 4: [[0.1, 0.5, 0.6]]})
    table = results.audited(replace(run, audit_epochs=audit.assign(val_log_loss=1 - audit["val_accuracy"])))
    assert table.loc[[5, 4], "would_have_won"].tolist() == [True, False]
    assert table.loc[5, "rank_at_end"] == 1
    assert table.loc[5, "val_log_loss_at_end"] == pytest.approx(0.29)


def test_the_control_is_looked_at_no_later_than_the_search_ended(tmp_path: Path) -> None:
    late = made_run(
        tmp_path / "late", [MadeTrial({"lr": 0.1}, [0.5] * 3)] * 4 + [MadeTrial({}, [0.5] * 2 + [0.99])], LR
    )
    found = results.control(replace(searched(tmp_path / "run"), control=late))
    assert found is not None
    assert (found["epochs"], found["search"], found["control"]) == (14, 0.7, 0.5)


def test_the_parts_of_the_attribution_add_up_in_its_sentence(tmp_path: Path) -> None:
    steps = {
        name: {
            "difference": difference,
            "difference_interval": [difference - 0.01, difference + 0.01],
            "verdict": "better",
        }
        for name, difference in {"tuning": 0.03, "recipe": 0.1}.items()
    }
    run = searched(tmp_path / "run", final=made_final(0.8, 0.81, attribution=steps))
    sentence = said(run, "Attribution")
    assert "of the winner's +13.00 points on the test set, over 2 seeds each" in sentence
    assert "+3.00 points (95% interval +2.00 to +4.00; better)" in sentence


def test_a_seed_that_the_comparison_lost_is_named_first(tmp_path: Path) -> None:
    lost = {"role": "tuned_baseline", "seed": 5, "status": "diverged", "reason": "loss nan at epoch 1, step 0"}
    trials = [MadeTrial({"lr": 0.01}, [0.5])]
    space = {"lr": FloatDistribution(1e-3, 1e-1, log=True)}
    run = made_run(tmp_path / "run", trials, space, final=made_final(diverged=[lost]))
    assert results.sentences(run)[0] == ("Without seed 5: the tuned baseline diverged (loss nan at epoch 1, step 0).")
