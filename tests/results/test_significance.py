"""The verdict: what it is about, what it says, and what metrics.json has of it."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from results.seed_deviation import SeedDeviation
from results.significance import Comparison, claims, evaluations_note, holm, verdict

PRIOR = SeedDeviation(0.008, 7, 4)


def right(accuracy: float, seeds: int, images: int = 2000, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((seeds, images)) < accuracy


def compared(winner: float, baseline: float, seeds: int = 1, **more: Any) -> Comparison:
    return Comparison(right(winner, seeds), right(baseline, seeds, seed=1), **more)


def test_one_seed_speaks_of_the_models_and_several_of_the_recipes() -> None:
    one, several = verdict(compared(0.8, 0.6)), verdict(compared(0.8, 0.6, 3))
    assert (one.about, several.about) == ("models", "recipes")
    assert "One seed each: other seeds would give other models." in one.sentence
    assert several.sentence.endswith("over 3 seeds each).")
    assert one.verdict == several.verdict == "better"
    assert verdict(compared(0.6, 0.8, 3)).verdict == "worse"
    assert one.probability is one.seeds_needed is one.interval_on_these_images is None


def test_one_seed_speaks_of_recipes_where_earlier_runs_know_what_seeds_do() -> None:
    far, near = (
        verdict(Comparison(right(accuracy, 1, 10_000), right(0.65, 1, 10_000, 1), PRIOR, PRIOR))
        for accuracy in (0.79, 0.668)
    )
    assert (far.about, far.verdict, far.method) == ("recipes", "better", "pooled deviation")
    assert (near.about, near.verdict, near.models.verdict) == ("recipes", "no evidence", "better")
    assert "one seed each" in far.sentence
    assert any("0.80 points (from 4 recipes)" in note for note in far.notes)
    assert any(
        note.startswith("Models: of the two networks that were trained, the found one is") for note in near.notes
    )
    assert any("with at least" in note for note in near.notes)


def test_one_side_of_unknown_deviation_leaves_a_verdict_about_models() -> None:
    assert verdict(replace(compared(0.8, 0.6), winner_prior=PRIOR)).about == "models"


def test_numbers_of_seeds_may_differ() -> None:
    said = verdict(Comparison(right(0.8, 3), right(0.6, 5, seed=1)))
    assert said.sentence.endswith("over 3 and 5 seeds).")


@pytest.mark.parametrize("seeds", [1, 2, 3, 6])
def test_verdict_interval_and_p_value_never_disagree_about_zero(seeds: int) -> None:
    for seed in range(100):
        said = verdict(Comparison(right(0.72, seeds, 500, seed), right(0.70, seeds, 500, seed + 1000)))
        assert (said.verdict != "no evidence") == said.difference_interval.excludes_zero == (said.p_value < 0.05)


def test_networks_that_agree_everywhere_give_no_evidence() -> None:
    for seeds in (1, 3):
        same = np.ones((seeds, 100), bool)
        said = verdict(Comparison(same, same))
        assert (said.verdict, said.p_value, said.difference) == ("no evidence", 1.0, 0.0)
        json.dumps(said.as_metrics(), allow_nan=False)


@pytest.mark.parametrize(
    ("winner", "region", "word"),
    [(0.80, 0.05, "better"), (0.40, 0.05, "worse"), (0.61, 0.2, "equivalent"), (0.61, 0.01, "undecided")],
)
def test_size_is_judged_against_the_region_that_matters(winner: float, region: float, word: str) -> None:
    assert verdict(compared(winner, 0.6, 3, meaningful=region)).meaningful.verdict == word


def test_where_size_is_undecided_the_seeds_that_would_settle_it_are_said() -> None:
    said = verdict(Comparison(right(0.71, 3, 10_000), right(0.70, 3, 10_000, 1), meaningful=0.01))
    assert said.seeds_needed is not None
    assert said.seeds_needed.difference == pytest.approx(max(abs(said.difference), 0.01))
    assert any(f"with {said.seeds_needed.seeds} seeds each" in note for note in said.notes)
    assert verdict(compared(0.9, 0.6, 3)).seeds_needed is None


def test_exactly_these_images_leave_less_doubt_than_all_images() -> None:
    winner, baseline = right(0.75, 4), right(0.75, 4, seed=1)
    # Kinds of images that only one of the recipes can do: other test images would hold more or fewer of them.
    winner[:, :250], baseline[:, :250] = True, False
    winner[:, 250:400], baseline[:, 250:400] = False, True
    said = verdict(Comparison(winner, baseline))
    assert said.interval_on_these_images is not None
    assert said.interval_on_these_images.low > said.difference_interval.low + 0.005
    between = (said.interval_on_these_images.low + said.difference_interval.low) / 2
    said = verdict(Comparison(winner, baseline, meaningful=between))
    assert (said.meaningful.verdict, said.meaningful.on_these_images) == ("undecided", "better")


def test_holm_is_statsmodels() -> None:
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": 0.6}
    assert list(holm(p_values).values()) == pytest.approx(multipletests(list(p_values.values()), method="holm")[1])
    assert list(holm(p_values)) == list(p_values)
    assert holm({}) == {}


def test_of_several_claims_one_that_does_not_survive_the_correction_is_no_evidence() -> None:
    winner, baseline = np.arange(1000) < 120, np.arange(1000) >= 910
    weak, other = Comparison(winner[None], baseline[None]), compared(0.6, 0.6)
    assert 0.025 < verdict(weak).p_value < 0.05
    assert claims({"weak": weak})["weak"]["verdict"] == "better"
    found = claims({"weak": weak, "other": other})
    assert (found["weak"]["verdict"], found["weak"]["adjusted_p_value"]) == (
        "no evidence",
        pytest.approx(2 * found["weak"]["p_value"]),
    )


@pytest.mark.parametrize(
    ("evaluations", "ordinal"), [(2, "2nd"), (3, "3rd"), (7, "7th"), (11, "11th"), (112, "112th"), (21, "21st")]
)
def test_a_repeated_evaluation_is_counted_and_the_bound_divided(evaluations: int, ordinal: str) -> None:
    note = evaluations_note(evaluations, 0.04)
    assert f"This is the {ordinal} evaluation on these test images." in note
    assert f"p < {0.05 / evaluations:.2g}" in note
    assert note.endswith("p = 0.04, does not.")
    assert evaluations_note(evaluations, 1e-9).endswith("meets that.")


def test_the_first_evaluation_needs_no_word() -> None:
    assert evaluations_note(1, 0.04) == ""


def test_the_verdict_is_given_again_without_images_that_are_in_doubt() -> None:
    winner, baseline = right(0.7, 3), right(0.7, 3, seed=1)
    leaked = np.arange(300)
    winner[:, leaked], baseline[:, leaked] = True, False
    said = verdict(Comparison(winner, baseline, without={"near duplicates in training": leaked}))
    assert said.verdict == "better"
    (rest,) = said.without
    assert (rest.why, rest.images, rest.verdict) == ("near duplicates in training", 300, "no evidence")
    assert rest.difference == pytest.approx(winner[:, 300:].mean() - baseline[:, 300:].mean())
    assert said.notes[-1].startswith(
        'Without 300 test images (near duplicates in training) the verdict is "no evidence": '
    )


def test_without_no_image_or_without_all_of_them_there_is_nothing_to_say() -> None:
    images = {"none": np.array([], dtype=np.int64), "all": np.arange(2000)}
    assert verdict(compared(0.8, 0.6, 3, without=images)).without == ()


def test_metrics_keep_the_keys_that_earlier_runs_had_and_are_json() -> None:
    found = json.loads(json.dumps(verdict(compared(0.8, 0.6, 3)).as_metrics(), allow_nan=False))
    assert {"difference", "difference_interval", "mcnemar", "verdict", "about", "sentence"} <= set(found)
    assert set(found["mcnemar"]) == {"only_winner", "only_baseline", "p_value"}
    assert found["probability"]["on_these_images"]["value"] > 0.9
    assert len(found["difference_interval"]) == 2


@pytest.mark.parametrize(("winner", "baseline"), [((1, 5), (1, 6)), ((0, 5), (1, 5)), ((1, 1), (1, 1)), ((5,), (5,))])
def test_sides_that_cannot_be_compared_are_refused(winner: tuple[int, ...], baseline: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"winner and baseline are|a comparison needs"):
        verdict(Comparison(np.ones(winner, bool), np.ones(baseline, bool)))
