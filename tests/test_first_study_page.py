"""The outputs on docs/first-study.md and docs/analysis.md can be made again from a run by one command."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import reported_run

DOCS = Path(__file__).parents[1] / "docs"
PRINTED = """\
Search: 12 trials from space cnn, 2 at once on 1 CPU each.
Time:   0:01 to 0:02; 0.1 GB of disk.
trial 0 started: model cnn
trial 1 started: model cnn
trial {winner} completed after 4 epochs

field  baseline  winner
lr     0.001     0.1
The found model is better than the baseline.

Evidence
- Size: better.
Findings
- too few trials (notable): 12 usable trials for 6 hyperparameters, {filler}
Files: runs/one
"""


@pytest.fixture
def first_study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    spec = spec_from_file_location("first_study", DOCS / "first_study.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "first_study", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shown(first_study: ModuleType, tmp_path: Path) -> Any:
    run = reported_run.search(tmp_path / "one")
    winner = int(run.trials["val_accuracy"].idxmax())
    assert winner not in (0, 1)
    printed = PRINTED.format(winner=winner, filler="which is a long line " * 8)
    return first_study.Shown(run, printed.splitlines(), "a machine")


@pytest.mark.parametrize("name", ["first-study", "analysis"])
def test_every_block_of_the_page_can_be_made_and_the_text_around_stays(
    name: str, first_study: ModuleType, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(first_study.BLOCKS, "asked", lambda shown, before: "```\n>>> 1\n1\n```")
    page = (DOCS / f"{name}.md").read_text()
    made = first_study.remade(page, shown)
    assert made != page
    assert first_study.BLOCK.sub("", made) == first_study.BLOCK.sub("", page)
    assert first_study.remade(made, shown) == made


def test_the_blocks_have_what_the_command_printed(first_study: ModuleType, shown: Any) -> None:
    lines = {name: first_study.BLOCKS[name](shown, "").splitlines() for name in ("plan", "search", "comparison")}
    assert lines["plan"][1:-1] == shown.printed[:2]
    assert [line.split()[:2] for line in lines["search"][1:-1]] == [["trial", "0"], shown.printed[4].split()[:2]]
    assert lines["comparison"][-2] == "The found model is better than the baseline."
    evidence = first_study.evidence(shown, "").splitlines()
    assert max(map(len, evidence)) <= first_study.WIDTH
    assert " ".join(evidence[1:-1]).startswith("Evidence - Size: better. Findings")
    assert "on a machine;" in first_study.provenance(shown, "")


def test_python_lines_are_executed_again(first_study: ModuleType, shown: Any) -> None:
    assert first_study.asked(shown, "```\n>>> 6 * 7\nan old answer\n```\n") == "```\n>>> 6 * 7\n42\n```"


def test_a_line_that_the_command_no_longer_prints_is_an_error(first_study: ModuleType, shown: Any) -> None:
    del shown.printed[0]
    with pytest.raises(ValueError, match="no line that begins with 'Search: '"):
        first_study.plan(shown, "")


def test_the_command_that_is_run_is_the_one_that_the_page_shows(first_study: ModuleType) -> None:
    (command,) = first_study.COMMAND.findall((DOCS / "first-study.md").read_text())
    assert command.startswith("study.run --dataset digits")
