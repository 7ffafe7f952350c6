"""What earlier runs say of the deviation between seeds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import made_final, made_run

from results.seed_deviation import COLUMNS, grow_seed_deviations, main, pooled, published

NONE = pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


def test_the_published_deviation_is_that_of_the_runs_in_the_documentation() -> None:
    five = np.array([65.93, 64.49, 64.49, 63.76, 65.91]) / 100  # docs/lab-notes.md
    pairs = [np.array(pair) / 100 for pair in ([74.10, 74.47], [63.29, 63.84], [59.50, 60.49])]  # docs/defended.md
    squares = 4 * five.var(ddof=1) + sum(pair.var(ddof=1) for pair in pairs)
    found = pooled(published(), "cifar10", "cnn")
    assert found is not None
    assert found.deviation == pytest.approx((squares / 7) ** 0.5, rel=1e-3)
    assert (found.freedom, found.recipes) == (7, 4)


def test_of_an_unknown_family_or_data_set_nothing_is_known() -> None:
    assert pooled(published(), "cifar10", "resnet18") is None
    assert pooled(published(), "flowers", "cnn") is None


def test_a_run_adds_a_row_for_each_recipe_with_several_seeds_and_only_once(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", [], {}, final=made_final(0.80, 0.82))
    alone = made_run(tmp_path / "alone", [], {}, final=made_final(0.80))
    unfinished = made_run(tmp_path / "unfinished", [], {})
    table = grow_seed_deviations([run, alone, unfinished], NONE)
    assert table["source"].tolist() == ["made 2026-11-23, winner", "made 2026-11-23, baseline"]
    assert table["standard_deviation"].tolist() == pytest.approx([np.std([0.80, 0.82], ddof=1)] * 2, rel=1e-4)
    assert table[["seeds", "epochs", "images"]].iloc[0].tolist() == [2, 30, 10_000]
    assert len(grow_seed_deviations([run], table)) == 2
    assert dict(table.dtypes.astype(str)) == dict(published().dtypes.astype(str))


def test_however_many_runs_are_pooled_they_count_as_eleven_seeds(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", [], {}, final=made_final(0.8, *np.linspace(0.7, 0.9, 40)))
    found = pooled(grow_seed_deviations([run], NONE), "cifar10", "cnn")
    assert found is not None
    assert found.freedom == 10


def test_the_command_prints_and_writes_the_grown_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(tmp_path / "runs" / "made", [], {}, final=made_final(0.80, 0.82), dataset="flowers")
    file = tmp_path / "grown.csv"
    assert main([str(tmp_path / "runs"), "--output", str(file)]) == 0
    assert "flowers, cnn: 1.41 points, from 2 recipes" in capsys.readouterr().out
    assert len(published(file)) == len(published()) + 2


def test_a_directory_without_runs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
