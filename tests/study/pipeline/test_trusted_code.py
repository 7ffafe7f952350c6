"""No command executes a file that only a foreign run or recipe names."""

import json
from pathlib import Path

import pytest
from made_run import write_study

from study.config import ReproduceConfig, StudyConfig, validate
from study.errors import UserCodeError
from study.pipeline.resume_settings import merge_resume_arguments
from study.pipeline.trusted_code import UserCode, check_recipe_code, is_same_code, recorded_networks, verified
from study.recipe import BASELINE
from study.training.references import resolve

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


def test_a_network_keeps_its_name_in_the_run_wherever_its_file_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("def Net(): ...\n")
    run = tmp_path / "one"
    run.mkdir()
    config = validate(StudyConfig, {"model": "net.py:Net"})
    UserCode.of(config).record(run)
    (tmp_path / "net.py").unlink()
    loaded, notices = verified(config, run, {})
    assert loaded.model == "net.py:Net"
    assert "the copy in the run is used" in notices[0]
    assert resolve("net.py:Net", "network").__name__ == "Net"
    [sources] = UserCode.of(loaded).for_workers()["sources"]
    assert sources.reference == "net.py:Net"
    assert sources.files == {"net.py": b"def Net(): ...\n"}


@pytest.mark.parametrize(
    ("setting", "was", "now", "same"),
    [
        ("model", "net.py:Net", "/elsewhere/net.py:Net", True),
        ("model", "net.py:Net", "/elsewhere/net.py:Other", False),
        ("model", "net.py:Net", "torchvision:resnet18", False),
        ("space", "mine.py:space", "../mine.py:space", True),
        ("recipe", "a.py:x", "b.py:x", False),
    ],
)
def test_a_file_that_is_named_by_another_path_may_be_the_same_code(
    setting: str, was: str, now: str, same: bool
) -> None:
    assert is_same_code(setting, was, now) is same


def test_without_a_record_of_code_the_file_that_is_named_now_is_loaded_and_not_the_runs_own(tmp_path: Path) -> None:
    run = tmp_path / "theirs"
    run.mkdir()
    write_study(run, {}, arguments={"space": "evil.py:space"})
    given = {"space": "mine/evil.py:space"}
    merged = merge_resume_arguments(StudyConfig, run, given, str)
    assert verified(merged, run, given)[0].space == "mine/evil.py:space"
