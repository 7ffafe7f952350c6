"""Each finding on a made study that has the fault, and none of it on the sound study that the faults are made from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_run import SOUND_HYPERPARAMETERS as HYPERPARAMETERS
from made_run import SOUND_TRIALS as TRIALS
from made_run import MadeTrial, failing, made_final, made_run, sound
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import results
from results.doctor import Finding
from results.metric import MetricInfo

Make = Callable[..., results.Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_it(trials: list[MadeTrial], hyperparameters: dict[str, Any] = HYPERPARAMETERS, **more: Any) -> results.Run:
        return made_run(tmp_path / "made", trials, hyperparameters, **more)

    return make_it


def found(run: results.Run, name: str) -> list[Finding]:
    return [finding for finding in results.diagnose(run) if finding.name == name]


def final(verdict: str, accuracy: float = 0.82) -> dict[str, Any]:
    return made_final(accuracy, verdict=verdict, sentence=f"It is {verdict}.")


def test_a_sound_study_has_no_findings(make: Make) -> None:
    assert results.diagnose(make(sound(), final=final("better"))) == []


def test_a_run_without_trials_has_no_findings(make: Make) -> None:
    assert results.diagnose(make([], status="running")) == []


@pytest.mark.parametrize(("peak", "edge", "to"), [(1.0, "upper", "0.464"), (0.0, "lower", "0.000215")])
def test_the_best_on_an_edge_says_which_and_how_far_to_move_it(make: Make, peak: float, edge: str, to: str) -> None:
    trials = sound(peak)
    # the baseline is trial 0, and would be the winner of the lower edge
    [finding] = found(make(trials), "best on an edge")
    assert f"{edge} edge" in finding.evidence
    assert finding.suggestion.endswith(f"to {to}.")


def test_a_lone_best_trial_on_an_edge_is_luck(make: Make) -> None:
    trials = sound()
    trials[39] = replace(trials[39], accuracies=[0.9] * 9, status="completed", stop_reason=None)
    assert not found(make(trials), "best on an edge")


def test_the_best_at_zero_is_at_no_edge(make: Make) -> None:
    """A quantity that starts at 0, off, has nothing below."""
    trials = [
        replace(trial, config={"cutout": abs(2 * number - 40) // 4}) for number, trial in enumerate(sound(20 / 39))
    ]
    run = make(trials, {"cutout": IntDistribution(0, 10)})
    assert run.config(20)["cutout"] == 0
    assert not found(run, "best on an edge")


def test_steps_are_kept_beyond_an_edge(make: Make) -> None:
    trials = [replace(trial, config={"cutout": 8 - 4 * (abs(n - 20) // 7 % 3)}) for n, trial in enumerate(sound())]
    [finding] = found(make(trials, {"cutout": IntDistribution(0, 8, step=4)}), "best on an edge")
    assert "from 8 to 12" in finding.suggestion


def test_a_share_never_passes_one(make: Make) -> None:
    trials = [replace(trial, config={"momentum": 0.8 + 0.19 * n / 39}) for n, trial in enumerate(sound(1.0))]
    [finding] = found(make(trials, {"momentum": FloatDistribution(0.8, 0.99)}), "best on an edge")
    assert "from 0.99 to 0.995" in finding.suggestion


@pytest.mark.parametrize(
    ("choices", "best", "added"),
    [([32, 64, 128], 32, "16"), (["8-16", "16-32", "32-64"], "32-64", "64-128"), ([3, 5, 7], 7, "14")],
)
def test_the_outermost_of_ordered_choices_is_an_edge(make: Make, choices: list[Any], best: Any, added: str) -> None:
    others = [choice for choice in choices if choice != best]
    config = [{"field": best if abs(n - 20) < 4 else others[n % 2]} for n in range(TRIALS)]
    trials = [replace(trial, config=each) for trial, each in zip(sound(), config, strict=True)]
    [finding] = found(make(trials, {"field": CategoricalDistribution(choices)}), "best on an edge")
    assert finding.suggestion == f"Add {added} to the choices of field."


@pytest.mark.parametrize("choices", [["cosine", "step", "none"], [True, False], [0.0, 0.1, 0.2]])
def test_choices_with_nothing_beyond_have_no_edge(make: Make, choices: list[Any]) -> None:
    trials = [replace(trial, config={"field": choices[min(abs(n - 20) // 6, 1)]}) for n, trial in enumerate(sound())]
    assert not found(make(trials, {"field": CategoricalDistribution(choices)}), "best on an edge")


def test_a_range_of_which_everything_diverged_is_named(make: Make) -> None:
    [finding] = found(make(failing(sound(), [35, 36, 37, 38, 39])), "a range that fails")
    assert finding.severity == "serious"
    assert finding.evidence == "All 5 trials with lr above 0.0554 diverged or failed."
    assert finding.suggestion == "Let lr end at 0.0588 instead of 0.1."


def test_a_choice_of_which_everything_failed_is_named(make: Make) -> None:
    numbers = [number for number, trial in enumerate(sound()) if trial.config["batch_size"] == 128]
    [finding] = found(make(failing(sound(), numbers)), "a range that fails")
    assert finding.suggestion == "Leave 128 out of batch_size."


def test_failures_all_over_the_space_blame_no_range(make: Make) -> None:
    assert not found(make(failing(sound(), [2, 9, 15, 27, 33])), "a range that fails")


def test_everything_failing_blames_no_range(make: Make) -> None:
    assert not found(make(failing(sound(), list(range(TRIALS)))), "a range that fails")


def test_leaders_whose_training_loss_is_far_below_are_over_fitted(make: Make) -> None:
    run = make([replace(trial, train_loss=0.4) for trial in sound()])
    assert "0.400 against 1.000" in found(run, "over-fitting")[0].evidence


def test_leaders_that_fit_their_own_images_no_better_are_under_fitted(make: Make) -> None:
    assert found(make([replace(trial, train_loss=1.2) for trial in sound()]), "under-fitting")


def test_a_training_loss_made_harder_by_augmentation_is_no_under_fitting(make: Make) -> None:
    trials = [replace(trial, train_loss=1.2, config={**trial.config, "flip": "random"}) for trial in sound()]
    assert not found(make(trials), "under-fitting")


def test_leaders_that_gain_to_the_last_epoch_are_still_improving(make: Make) -> None:
    trials = [
        replace(trial, accuracies=[value * (0.5 + n / 18) for n, value in enumerate(trial.accuracies, 1)])
        for trial in sound()
    ]
    [finding] = found(make(trials), "still improving")
    assert finding.suggestion == "`--max-epochs 18`."


def test_leaders_closer_than_their_noise_are_told(make: Make) -> None:
    trials = sound()
    noise = [0.0, 0.0, 0.0, 0.015, -0.015, 0.02, -0.02, 0.015, 0.0]
    for number in (20, 21):
        wavering = [value + each for value, each in zip(trials[20].accuracies, noise, strict=True)]
        wavering[-1] -= 0.001 * (number == 21)
        trials[number] = replace(trials[number], accuracies=wavering)
    [finding] = found(make(trials), "leaders within noise")
    assert "Trials 20 and 21 are 0.10 points apart" in finding.evidence
    assert finding.suggestion.endswith("or train them again: `--finalists 2`.")


def test_leaders_that_few_validation_images_cannot_tell_apart_are_sent_to_folds(tmp_path: Path) -> None:
    few = {"digest": "d1" * 32, "split_digest": "5e" * 32, "train": 4500, "validation": 500}
    run = made_run(tmp_path / "run", sound(), HYPERPARAMETERS, data=few)
    [finding] = found(run, "leaders within noise")
    assert "500 validation images" in finding.evidence
    assert "on 5 folds, which validate on all training images: `--finalists 3 --folds 5`." in finding.suggestion


def test_classes_of_very_different_size_are_told_where_accuracy_selects(make: Make) -> None:
    run = replace(make(sound()), data={"counts": {"training": {"sky": 900, "roof": 100}}})
    [finding] = found(run, "imbalanced classes")
    assert "a network that always says the largest has 90% accuracy" in finding.evidence
    assert "--metric balanced_accuracy" in finding.suggestion
    assert not found(replace(run, data={"counts": {"training": {"sky": 250, "roof": 100}}}), "imbalanced classes")
    balanced = replace(
        run,
        metric=MetricInfo("balanced_accuracy", "max", "{:.2%}"),
        trials=run.trials.assign(val_balanced_accuracy=run.trials["val_accuracy"]),
        epochs=run.epochs.assign(val_balanced_accuracy=run.epochs["val_accuracy"]),
    )
    assert not found(balanced, "imbalanced classes")


@pytest.mark.parametrize(("balanced", "told"), [(0.6, 1), (0.8, 0)])
def test_a_winner_that_is_worse_on_rare_classes_is_told(make: Make, balanced: float, told: int) -> None:
    final = made_final(verdict="better")
    final["winner"] = {**final["winner"], "metrics": {"accuracy": 0.82, "balanced_accuracy": balanced}}
    findings = found(make(sound(), final=final), "imbalanced classes")
    assert len(findings) == told
    if told:
        assert "82.0% accuracy on the test images, but 60.0% on the average over classes" in findings[0].evidence


def test_too_few_trials_for_the_hyperparameters_are_reported(make: Make) -> None:
    [finding] = found(make(sound()[16:25]), "too few trials")
    assert finding.evidence.startswith("9 usable trials for 2 hyperparameters")


def test_too_few_trials_so_far_is_no_finding_where_more_will_come(make: Make) -> None:
    run = make(sound()[16:25], status="stopped")
    assert found(replace(run, study={**run.study, "samples": 9}), "too few trials")
    assert not found(replace(run, study={**run.study, "samples": 10}), "too few trials")


def test_trials_stopped_within_chance_of_passing_are_told(make: Make) -> None:
    trials = [
        replace(trial, accuracies=[0.4 + 0.0001 * (number % 7), *trial.accuracies[1:]])
        for number, trial in enumerate(sound())
    ]
    [finding] = found(make(trials), "stopped on noise")
    assert "of the 27 trials stopped at rung 1" in finding.evidence
    assert "`--grace-period 3`" in finding.suggestion or "`--grace-period` to 3" in finding.suggestion


def test_a_rung_that_does_not_predict_the_end_is_told(make: Make) -> None:
    whole = [number for number, trial in enumerate(sound()) if trial.status == "completed"]
    trials = sound()
    for rank, number in enumerate(sorted(whole, key=lambda n: trials[n].accuracies[-1])):
        trials[number] = replace(trials[number], accuracies=[0.78 - 0.003 * rank, *trials[number].accuracies[1:]])
    [finding] = found(make(trials), "stopped on noise")
    assert f"rank correlation -1.00 over {len(whole)} trials" in finding.evidence


def test_trials_with_one_config_are_duplicates(make: Make) -> None:
    trials = sound()
    trials[30] = replace(trials[30], config=trials[33].config, seed=2)
    [finding] = found(make(trials), "duplicates")
    assert finding.evidence.startswith("Trials 30 and 33 have the same config")


def test_a_test_accuracy_below_validation_by_more_than_chance_is_told(make: Make) -> None:
    [finding] = found(make(sound(), final=final("better", 0.74)), "validation above test")
    assert "6.00 points less" in finding.evidence


@pytest.mark.parametrize("accuracy", [0.79, 0.85])
def test_a_test_accuracy_within_chance_or_above_is_no_finding(make: Make, accuracy: float) -> None:
    assert not found(make(sound(), final=final("better", accuracy)), "validation above test")


def with_final_losses(run: results.Run, losses: dict[tuple[str, int], float]) -> results.Run:
    """`run` whose final trainings, by role and seed, began at 2.303 and ended with these losses."""
    rows = [
        {"role": role, "seed": seed, "training_iteration": epoch, "train_loss": loss}
        for (role, seed), end in losses.items()
        for epoch, loss in ((1, 2.303), (30, end))
    ]
    return replace(run, final_epochs=pd.DataFrame(rows))


def test_a_final_training_that_failed_is_told_in_place_of_a_gap_that_it_explains(make: Make) -> None:
    run = with_final_losses(make(sound(), final=final("worse", 0.1)), {("winner", 1): 2.301, ("baseline", 1): 0.9})
    [finding] = found(run, "a final training failed")
    assert finding.severity == "serious"
    assert finding.evidence == (
        "The winner's final training did not learn: the training loss ended at 2.301 (seed 1), against 0.900 of "
        "trial 20 in the search, after 9 epochs."
    )
    assert "`--final-seeds 3`" in finding.suggestion
    assert not found(run, "validation above test")


def test_a_baseline_whose_final_training_failed_is_told(make: Make) -> None:
    losses = {("winner", 1): 0.9, ("winner", 2): 0.9, ("baseline", 1): 0.9, ("baseline", 2): 2.3}
    run = with_final_losses(make(sound(), final=made_final(0.82, 0.81, verdict="better")), losses)
    [finding] = found(run, "a final training failed")
    assert finding.evidence.startswith("1 of the baseline's 2 final trainings did not learn")
    assert "2.300 (seed 2), against 0.900 of trial 0" in finding.evidence


@pytest.mark.parametrize(("train_loss", "end"), [(0.9, 1.0), (0.9, 1.3), (0.01, 0.1)])
def test_a_final_loss_that_another_seed_explains_is_no_failure_and_the_gap_is_told(
    make: Make, train_loss: float, end: float
) -> None:
    trials = [replace(trial, train_loss=train_loss) for trial in sound()]
    run = with_final_losses(make(trials, final=final("better", 0.74)), {("winner", 1): end})
    assert not found(run, "a final training failed")
    assert found(run, "validation above test")


@pytest.mark.parametrize("verdict", ["worse", "no evidence"])
def test_a_winner_no_better_than_the_baseline_comes_first(make: Make, verdict: str) -> None:
    first = results.diagnose(make([replace(trial, train_loss=0.4) for trial in sound(1.0)], final=final(verdict)))[0]
    assert (first.name, first.severity) == ("no better than the baseline", "serious")
    assert first.evidence == f"It is {verdict}."


def test_before_the_final_the_baseline_as_the_best_trial_is_told(make: Make) -> None:
    assert found(make(sound(0.0)), "no better than the baseline")


def test_findings_are_ordered_by_severity(make: Make) -> None:
    trials = failing([replace(trial, train_loss=0.4) for trial in sound()], [35, 36, 37, 38, 39])
    trials[30] = replace(trials[30], config=trials[33].config, seed=2)
    severities = [finding.severity for finding in results.diagnose(make(trials))]
    assert severities == ["serious", "notable", "minor"]


def test_one_whole_leader_is_no_pattern(make: Make) -> None:
    alone = [MadeTrial({"lr": 0.01}, [0.5] * 9, train_loss=0.2), MadeTrial({"lr": 0.02}, [0.4], "stopped", "rung 1")]
    assert not found(make(alone), "over-fitting")
