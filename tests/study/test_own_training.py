"""The three trainers of the documentation in a study: search, promotion, verdict, resume and replay."""

from pathlib import Path
from typing import Any

import pytest

import results
import study

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
# What each can vary, and whether its winner can be loaded again.
TRAINERS = {
    "sgd_classifier.py:SGD": (("lr",), False),
    "pytorch_loop.py:Loop": (("lr", "model.hidden"), True),
    "lightning_module.py:LightningTrainer": (("lr",), False),
}


def space(trial: Any) -> dict[str, Any]:
    return {"lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True)}


def space_with_an_option(trial: Any) -> dict[str, Any]:
    return {**space(trial), "model.hidden": trial.suggest_int("model.hidden", 8, 64)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_trainer_of_ones_own_is_searched_promoted_compared_resumed_and_replayed(
    trainer: str, local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    varied, is_loaded = TRAINERS[trainer]
    common = {"data_dir": tmp_path / "data", "runs_dir": tmp_path / "runs"}
    run = study.tune(
        space_with_an_option if "model.hidden" in varied else space,
        trainer=f"{EXAMPLES / trainer}",
        dataset="digits",
        samples=4,
        max_epochs=2,
        scheduler="top-k",
        final_epochs=1,
        name="own",
        gpus_per_trial=0,
        max_concurrent=1,
        quiet=True,
        **common,
    )
    assert {f"config/{name}" for name in varied} <= set(run.trials)
    assert "parameters" not in run.trials
    kinds = [type(event).__name__ for event in results.run_directory.read_events(run)]
    assert {"TrialPaused", "TrialPromoted"} <= set(kinds)
    assert set(run.trials["status"]) == {"completed", "stopped"}
    assert run.final is not None
    assert run.verdict in ("better", "worse", "no evidence")
    completed = int(run.trials.index[run.trials["status"] == "completed"][0])
    assert study.replay(run, completed, data_dir=tmp_path / "data").same

    again = space_with_an_option if "model.hidden" in varied else space
    larger = study.resume(run.path, space=again, samples=5, data_dir=tmp_path / "data")
    assert len(larger.trials) == 5
    assert larger.status == "finished"
    card = (run.path / "final" / "README.md").read_text()
    assert ("cannot be loaded" in card) is not is_loaded
    if is_loaded:
        assert study.load_winner(run).predict_proba(_images()).shape == (2, 10)
    else:
        with pytest.raises(study.StudyError, match="cannot save its state, so its winner was not kept"):
            study.load_winner(run)


def _images() -> Any:
    import numpy as np

    return np.zeros((2, 8, 8, 1), np.uint8)
