"""The seal: each opening is written down before any image is returned, over all runs of a data set."""

import json
from pathlib import Path

import pytest

from study import data
from study.data import DataOptions, Dataset, test_set
from study.data.test_set import LEDGER, Opening
from study.errors import DataError
from study.recipe import BASELINE


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    return data.load("digits", DataOptions(tmp_path / "data"))


def opening(run: Path, seed: int = 0) -> Opening:
    return Opening.of(run, "winner", BASELINE.with_fields({"seed": seed}))


def test_each_opening_is_a_line_of_the_ledger_with_run_role_seed_and_recipe(digits: Dataset, tmp_path: Path) -> None:
    test_set.open_test_set(digits, [opening(tmp_path / "one")])
    (line,) = (tmp_path / "data" / LEDGER).read_text().splitlines()
    written = json.loads(line)
    assert set(written) == {"time", "dataset", "test_digest", "run", "role", "seed", "recipe"}
    assert (written["dataset"], written["role"], written["seed"]) == ("digits", "winner", 0)
    assert written["run"] == str(tmp_path / "one")


def test_openings_are_counted_over_all_runs_of_the_same_test_images_and_no_others(
    digits: Dataset, synthetic_dir: Path, tmp_path: Path
) -> None:
    other = data.load("digits", DataOptions(tmp_path / "data", image_size=16))
    assert test_set.count_openings(digits) == 0
    test_set.open_test_set(digits, [opening(tmp_path / "one", seed) for seed in range(3)])
    test_set.open_test_set(digits, [opening(tmp_path / "two")])
    test_set.open_test_set(other, [opening(tmp_path / "three")])
    assert test_set.count_openings(digits) == 4
    assert test_set.count_openings(other) == 1


def test_an_opening_that_was_cut_off_and_comes_again_is_the_same_one(digits: Dataset, tmp_path: Path) -> None:
    for _ in range(2):
        test_set.open_test_set(digits, [opening(tmp_path / "one")])
    assert test_set.count_openings(digits) == 1


def test_the_line_is_written_before_the_images_are_returned(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "data" / LEDGER).mkdir(parents=True)  # nothing can be written to it
    with pytest.raises(DataError, match=r"test-openings\.jsonl cannot be (read|written): Is a directory"):
        test_set.open_test_set(digits, [opening(tmp_path / "one")])


def test_the_check_at_the_start_finds_a_ledger_that_cannot_be_written_and_opens_nothing(
    digits: Dataset, tmp_path: Path
) -> None:
    test_set.check(digits)
    assert test_set.count_openings(digits) == 0
    (tmp_path / "data" / LEDGER).unlink()
    (tmp_path / "data" / LEDGER).mkdir()
    with pytest.raises(DataError, match="give a writable --data-dir"):
        test_set.check(digits)


def test_a_damaged_ledger_is_one_line(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / LEDGER).write_text("{")
    with pytest.raises(DataError, match="is damaged; it is JSON, one opening of the test set a line"):
        test_set.count_openings(digits)


def test_opening_for_nothing_is_an_error_of_the_program(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="give at least one Opening"):
        test_set.open_test_set(digits, [])


def test_a_run_and_its_replicates_count_as_one_evaluation(digits: Dataset, tmp_path: Path) -> None:
    for run in ("one", "one/replicates/1", "one/replicates/2", "two"):
        test_set.open_test_set(digits, [opening(tmp_path / run)])
    assert test_set.count_openings(digits) == 4
    assert test_set.count_runs(digits) == 2
