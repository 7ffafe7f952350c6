import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_run import MadeTrial, made_run

from study.config import StudyConfig
from study.errors import UserCodeError
from study.pipeline.replay_trial import _trained_on, _why, replay


def test_a_network_that_somebody_elses_event_log_names_is_not_executed(tmp_path: Path) -> None:
    network = tmp_path / "net.py"
    network.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    theirs = made_run(tmp_path / "theirs", [MadeTrial({"model": f"{network}:Net"}, [0.5])], {}, dataset="digits")
    with pytest.raises(UserCodeError, match=r"net\.py:Net without a signature of yours"):
        replay(theirs.path, 0, tmp_path / "data", print)
    assert not (tmp_path / "executed").exists()


ON_T4 = "cuda (Tesla T4, bfloat16)"


def test_the_device_of_a_replay_is_that_of_the_trials_last_epoch(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [MadeTrial({}, [0.4, 0.5]), MadeTrial({}, [0.5])], {})
    log = run.path / "epochs.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["event"] == "epoch":
            line["device"] = ON_T4 if (line["number"], line["training_iteration"]) == (0, 2) else "cpu"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert _trained_on(run, 0, StudyConfig()) == ON_T4
    assert _trained_on(run, 1, StudyConfig()) == "cpu"
    assert f"it was trained on {ON_T4}" in _why(run, ON_T4)
    assert "GPU" not in _why(run, "cpu")


def test_a_run_that_did_not_record_the_device_used_the_gpu_that_it_had(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [MadeTrial({}, [0.4])], {})
    assert _trained_on(run, 0, StudyConfig()) == "cpu"
    hardware = {**run.study["hardware"], "gpus": ["Tesla T4"]}
    with_gpu = replace(run, study={**run.study, "hardware": hardware})
    assert _trained_on(with_gpu, 0, StudyConfig()) == "cuda"
    assert _trained_on(with_gpu, 0, StudyConfig(gpus_per_trial=0)) == "cpu"
