"""docs/defended.md's figures can be made again from a run by one command."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import reported_run

import results

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def defended() -> ModuleType:
    spec = spec_from_file_location("defended", DOCS / "defended.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_block_of_the_page_can_be_made_and_the_text_around_stays(defended: ModuleType, tmp_path: Path) -> None:
    page = (DOCS / "defended.md").read_text()
    names = [found[1] for found in defended.BLOCK.findall(page)]
    assert {"provenance", "shown", "seeds", "audit", "budget"} <= set(names)
    run = reported_run.search(tmp_path / "one")
    made = defended.remade(page, run)
    assert defended.BLOCK.sub("", made) == defended.BLOCK.sub("", page)
    assert defended.remade(made, run) == made


def test_the_blocks_have_the_figures_of_the_run(defended: ModuleType, tmp_path: Path) -> None:
    run = reported_run.search(tmp_path / "one")
    reported_run.search(run.path / "replicates" / "1")
    run = results.load_run(run.path)
    assert run.final is not None
    costs = results.budget(run)
    assert f"| all | {costs['trainings'].sum():,} | {costs['epochs'].sum():,} |" in defended.budget(run)
    accuracy = run.final["winner"]["seeds"][0]["accuracy"]
    assert f"| winner | {accuracy:.2%} |" in defended.seeds(run)
    assert run.final["sentence"] in defended.shown(run).replace("\n", " ")
    assert re.search(r"\| replicate 1 \| \d\d\.\d\d% \|", defended.replicates(run))
    assert f"seed {run.study['seed']}" in defended.provenance(run)


def test_a_block_that_nobody_can_make_is_an_error(defended: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        defended.remade("<!-- made: nonsense -->\n<!-- end -->", reported_run.search(tmp_path / "one"))
