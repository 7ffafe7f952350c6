"""A study is a list of phases; adding one is a class with `name`, `enabled` and `run`."""

from pathlib import Path
from typing import Any

import pytest

import study
from study.config import StudyConfig
from study.errors import StudyFailed
from study.pipeline import phases
from study.pipeline.run_context import StudyContext


class Fails:
    """A phase that cannot succeed."""

    name = "mine"

    def enabled(self, config: StudyConfig) -> bool:
        return config.audit == 3

    def run(self, context: StudyContext) -> None:
        raise StudyFailed("the phase of mine failed", resumable=False)


@pytest.fixture
def settings(local_ray: None, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("study.api.STUDY_PHASES", [Fails(), *phases.STUDY_PHASES[:2]])
    place = {"data_dir": synthetic_dir, "runs_dir": tmp_path, "dataset": "synthetic"}
    return {
        **place,
        "gpus_per_trial": 0,
        "max_concurrent": 1,
        "quiet": True,
        "name": "one",
        "space": "sgd",
        "samples": 2,
        "max_epochs": 1,
    }


def test_a_phase_of_ones_own_runs_in_its_place_and_its_failure_is_one_line(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(StudyFailed, match=r"the phase of mine failed; .*; resuming alone will not help"):
        study.tune(**settings, audit=3)
    assert '"status": "failed"' in (tmp_path / "one" / "study.json").read_text()


def test_a_phase_that_is_not_enabled_does_not_run(settings: dict[str, Any]) -> None:
    run = study.tune(**settings)
    assert run.study["status"] == "finished"
    assert "mine" not in run.study["seconds"]
