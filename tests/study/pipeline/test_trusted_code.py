"""No command executes a file that only a foreign run or recipe names."""

import json
from pathlib import Path

import pytest

from study.config import ReproduceConfig, StudyConfig, validate
from study.errors import UserCodeError
from study.pipeline.trusted_code import check_recipe_code, recorded_networks, verified
from study.recipe import BASELINE

EVIL = "evil.py:Net"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose settings name no code, and whose second trial does."""
    (tmp_path / "study.json").write_text(json.dumps({"base": BASELINE.as_dict()}))
    events = [{"event": "trial", "number": n, "config": {"model": m}, "seed": 0} for n, m in enumerate(["cnn", EVIL])]
    (tmp_path / "epochs.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return tmp_path


def test_networks_are_found_wherever_a_recipe_is_recorded(run: Path) -> None:
    (run / "control").mkdir()
    (run / "control" / "best.json").write_text(json.dumps({"recipe": {"model": "other.py:Net"}}))
    assert recorded_networks(run) == {EVIL, "other.py:Net"}


def test_a_run_whose_event_log_names_a_file_is_not_resumed_without_trust(run: Path) -> None:
    with pytest.raises(UserCodeError, match=r"evil\.py:Net .*--trust-code"):
        verified(validate(StudyConfig, {}), run, {})


@pytest.mark.parametrize("given", [{"trust_code": True}, {"model": EVIL}])
def test_it_is_resumed_with_trust_or_where_the_file_is_named_again(run: Path, given: dict[str, object]) -> None:
    config = validate(StudyConfig, given)
    assert verified(config, run, given)[0].space == config.space


@pytest.mark.parametrize("kind", [StudyConfig, ReproduceConfig])
def test_a_recipe_from_a_file_executes_no_file_without_trust(kind: type[StudyConfig]) -> None:
    recipe = BASELINE.with_fields({"model": EVIL})
    with pytest.raises(UserCodeError, match=r"would execute evil\.py:Net"):
        check_recipe_code("best.json", recipe, validate(kind, {}))
    assert check_recipe_code("best.json", recipe, validate(kind, {"trust_code": True})) == recipe


def test_networks_of_a_library_are_no_files() -> None:
    recipe = BASELINE.with_fields({"model": "torchvision:resnet18"})
    assert check_recipe_code("best.json", recipe, validate(StudyConfig, {})) == recipe
