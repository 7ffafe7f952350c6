"""Faults, each injected: what becomes of the trial, of the study, and of what was written before."""

import errno
import itertools
import os
import re
import signal
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
import torch
from driver import events, wait_until
from ray import tune

import results
from benchmarks.chaos import one_thread
from results import report
from results.events import EpochFinished, TrialEnded, TrialStarted
from study import run
from study.execution import trainable
from study.execution.trainable import WorkerSetup
from study.storage.event_log import EventLog
from study.storage.files import write_json


def study(synthetic_dir: Path, runs: Path, *more: str) -> int:
    common = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(runs), "--name", "one"]
    short = ["--samples", "3", "--max-epochs", "2", "--final-epochs", "1", "--space", "sgd", "--quiet"]
    short += ["--max-concurrent", "1"]
    return run.main([*common, *short, *more])


# Data, as a worker cannot import this module.
EPOCHS = [
    {"epoch": number, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.1 * number, "seconds": 0.1}
    for number in (1, 2)
]


def of_kind(kind: str, runs: Path) -> list[dict[str, Any]]:
    return [event for event in events(runs / "one" / "epochs.jsonl") if event["event"] == kind]


def test_a_worker_that_dies_is_replaced_and_the_trial_continues_from_its_checkpoint(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, died = trainable.train, tmp_path / "died"

    def dies_once(config: dict[str, Any], *, setup: WorkerSetup) -> None:
        if config["number"] == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        train(config, setup=setup)

    monkeypatch.setattr(trainable, "train", dies_once)
    assert study(synthetic_dir, tmp_path, "--gpus-per-trial", "0") == 0
    assert set(results.load_run(tmp_path / "one").trials["status"]) <= {"completed", "stopped"}
    assert [event["number"] for event in of_kind("retry", tmp_path)] == [1]


def test_a_trial_that_hangs_is_killed_and_marked_and_the_study_continues(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(config: dict[str, Any], *, setup: WorkerSetup) -> None:
        folder = setup.store.folder
        with trainable.hang_watch(folder and folder / trainable.hang_log_of(config["number"])) as watch:
            watch(1.0)
            if config["number"] == 1:
                time.sleep(100)
            tune.report(EPOCHS[0])
            tune.report(EPOCHS[1])

    monkeypatch.setattr(trainable, "train", hangs)
    study(synthetic_dir, tmp_path, "--gpus-per-trial", "0")  # its final fails, as nothing was trained
    trials = results.load_run(tmp_path / "one").trials
    assert trials["status"][1] == "failed"
    assert trials["stop_reason"][1].startswith("hung: Timeout")
    assert "in hangs" in trials["stop_reason"][1]
    assert set(trials["status"].drop(1)) <= {"completed", "stopped"}


def test_a_watch_that_is_called_in_time_ends_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with trainable.hang_watch(tmp_path / "0.hang") as watch:
        for _ in range(3):
            watch(0.5)
            time.sleep(0.3)
    time.sleep(0.6)
    assert list(tmp_path.iterdir()) == []


def test_out_of_gpu_memory_is_tried_once_more_alone_on_its_gpu_and_then_fails(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"

    def too_large(config: dict[str, Any], *, setup: WorkerSetup) -> None:
        with seen.open("a") as file:
            share = ray.get_runtime_context().get_assigned_resources()["GPU"]
            file.write(f"{config['number']} {share} {time.time()}\n")
        if config["number"] == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        time.sleep(1)  # so that the others have not all ended before the driver knows
        tune.report(EPOCHS[0])
        tune.report(EPOCHS[1])

    monkeypatch.setattr(trainable, "train", too_large)
    study(synthetic_dir, tmp_path, "--gpus-per-trial", "0.25", "--max-concurrent", "2", "--samples", "8")
    trials = results.load_run(tmp_path / "one").trials
    assert trials["status"][1] == "failed"
    assert "OutOfMemoryError" in trials["stop_reason"][1]
    starts = [line.split() for line in seen.read_text().splitlines()]
    assert [float(share) for number, share, _ in starts if number == "1"][:2] == [0.25, 1.0]
    (retried,) = (event["time"] for event in of_kind("retry", tmp_path) if event["number"] == 1)
    again = next(float(when) for number, share, when in starts if (number, share) == ("1", "1.0"))
    meanwhile = [event for event in of_kind("trial", tmp_path) if retried < event["time"] < again]
    assert len(meanwhile) <= 1  # one may start at the moment at which the whole GPU is there


def test_a_full_disk_in_a_worker_ends_the_study_clearly_and_it_can_be_resumed(
    local_ray: None,
    synthetic_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = trainable.train

    def full(config: dict[str, Any], *, setup: WorkerSetup) -> None:
        if config["number"] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        train(config, setup=setup)

    monkeypatch.setattr(trainable, "train", full)
    assert study(synthetic_dir, tmp_path, "--gpus-per-trial", "0", "--max-concurrent", "1") == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "--resume" in said
    assert said.count("\n") == 1
    monkeypatch.setattr(trainable, "train", train)
    assert run.main(["--resume", str(tmp_path / "one"), "--quiet"]) == 0
    trials = results.load_run(tmp_path / "one").trials
    assert trials.index.tolist() == [0, 1, 2]
    assert set(trials["status"]) <= {"completed", "stopped"}


def test_a_full_disk_under_the_event_log_leaves_what_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = EpochFinished(number=0, epoch=1, metrics={"val_accuracy": 0.5}, seconds=1.0, time_total_s=1.0)
    with EventLog(tmp_path / "epochs.jsonl") as log:
        log.append(TrialStarted(number=0, config={"lr": 0.1}, seed=1))
        before = log.path.read_bytes()

        def full(file: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                log.append(epoch)
        assert log.path.read_bytes() == before
        assert log.state.trials[0].epoch == 0
        log.append(TrialEnded(number=0, status="stopped", reason="time budget"))
    with EventLog(tmp_path / "epochs.jsonl") as again:
        assert [event.kind for event in again.events] == ["trial", "end"]


def test_an_atomic_write_is_on_disk_with_its_name_before_anyone_acts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[str]()

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("its folder" if is_folder else "the file")
        assert not is_folder or (tmp_path / "best.json").exists()

    monkeypatch.setattr(os, "fsync", sync)
    write_json(tmp_path / "best.json", {})
    assert synced == ["the file", "its folder"]


def test_a_clock_that_jumps_back_changes_no_order(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backwards = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr("study.storage.event_log.time", SimpleNamespace(time=lambda: float(next(backwards))))
    assert study(synthetic_dir, tmp_path, "--gpus-per-trial", "0") == 0
    jumped = results.load_run(tmp_path / "one")
    assert jumped.trials.index.tolist() == [0, 1, 2]
    assert (jumped.trials["time_total_s"] > 0).all()
    last = jumped.epochs.groupby("number")["val_accuracy"].last()
    assert last.tolist() == jumped.trials["val_accuracy"].tolist()


@pytest.mark.ray
@pytest.mark.slow
def test_two_studies_at_once_on_one_machine_do_not_meet(synthetic_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.run", "--dataset", "synthetic", "--data-dir", str(synthetic_dir)]
    command += ["--runs-dir", str(tmp_path), "--space", "sgd", "--samples", "3", "--max-epochs", "2", "--quiet"]
    command += ["--final-epochs", "1", "--max-concurrent", "1", "--cpus-per-trial", "1"]
    both = [
        subprocess.Popen([*command, "--name", name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    one, other = (results.load_run(tmp_path / name) for name in ("a", "b"))
    columns = ["config/lr", "val_accuracy", "status"]
    assert one.trials[columns].equals(other.trials[columns])


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_nothing_in_a_foreign_run_directory_is_executed(
    local_ray: None,
    synthetic_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert study(synthetic_dir, tmp_path, "--gpus-per-trial", "0") == 0
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one"
    (kept,) = (path / "final" / "probabilities").glob("*-winner-*.npy")
    for file in (path / "final" / "model.pt", kept):
        torch.save(Evil(), file)
    report.write(results.load_run(path))
    assert run.main(["--resume", str(path), "--quiet"]) == 1
    assert f"{kept.name} is damaged" in capsys.readouterr().err
    (path / "epochs.jsonl").write_text((path / "epochs.jsonl").read_text().splitlines(keepends=True)[0])
    state = trainable.as_bytes(Evil())
    (path / "checkpoints" / "0.pt").write_bytes(sha256(state).digest() + state)  # right, as its maker can have it
    run.main(["--resume", str(path), "--quiet"])
    assert "weights_only" in results.load_run(path).trials["stop_reason"][0]
    assert not (tmp_path / "executed").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_short_chaos_ends_complete_and_correct(tmp_path: Path) -> None:
    from benchmarks.chaos import chaos

    outcome = chaos(tmp_path, kills=2, samples=8)
    assert outcome.kills > 0
    assert outcome.same


# A driver whose trainings are slow, save their state all the time, and say from which epoch they continue.
SLOW = """
import sys, time

from study import run

from study.execution import trainable

def slow(config, *, setup):
    from ray import tune
    from study.execution import trainable
    from study.training.loop import Training

    if not hasattr(Training, "load"):
        Training.load, Training.report = Training.load_state_dict, tune.report
        trainable.SECONDS_BETWEEN_CHECKPOINTS = 0.1
        tune.report = lambda report: (time.sleep(float(sys_argv[1])), Training.report(report))
        Training.load_state_dict = lambda self, state: (said(state), Training.load(self, state))
    usual_train(config, setup=setup)

def said(state):
    with open(sys_argv[2], "a") as file:
        file.write(f"{state['epoch']} {state['step']}\\n")

sys_argv = sys.argv
usual_train = trainable.train
trainable.train = slow
sys.exit(run.main(sys.argv[3:]))
"""


def slow_driver(folder: Path, seconds: float, asked: list[str]) -> "subprocess.Popen[str]":
    (folder / "driver.py").write_text(SLOW)
    return subprocess.Popen(
        [sys.executable, str(folder / "driver.py"), str(seconds), str(folder / "loaded"), *asked],
        env={**one_thread(), "PYTHONPATH": str(Path(run.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def small(synthetic_dir: Path, runs: Path, *more: str) -> list[str]:
    data = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(runs), "--name", "one"]
    return [*data, "--space", "sgd", "--gpus-per-trial", "0", "--max-concurrent", "1", "--quiet", *more]


def test_a_final_killed_in_mid_training_continues_from_there_and_opens_the_test_set_once(
    local_ray: None, synthetic_dir: Path, tmp_path: Path
) -> None:
    asked = ["--samples", "2", "--max-epochs", "2", "--final-epochs", "3"]
    assert run.main(small(synthetic_dir, tmp_path / "calm", *asked)) == 0
    process = slow_driver(tmp_path, 0.5, small(synthetic_dir, tmp_path, *asked))
    final = tmp_path / "one" / "final"
    wait_until(lambda: any(event.get("training_iteration") == 2 for event in events(final / "epochs.jsonl")), process)
    process.kill()
    process.communicate()
    assert not results.load_run(tmp_path / "one").study["test_openings"]

    (tmp_path / "loaded").unlink(missing_ok=True)
    resumed = slow_driver(tmp_path, 0.0, ["--resume", str(tmp_path / "one"), "--quiet"])
    said = resumed.communicate()
    assert resumed.returncode == 0, said
    epoch, _ = map(int, (tmp_path / "loaded").read_text().splitlines()[0].split())
    assert epoch >= 2
    calm, killed = results.load_run(tmp_path / "calm" / "one"), results.load_run(tmp_path / "one")
    assert calm.final is not None
    assert killed.final is not None
    assert killed.final["winner"]["seeds"] == calm.final["winner"]["seeds"]
    assert killed.final["baseline"]["seeds"] == calm.final["baseline"]["seeds"]
    assert sorted(opening["role"] for opening in killed.study["test_openings"]) == ["baseline", "winner"]
    epochs = [(e["number"], e["training_iteration"]) for e in events(final / "epochs.jsonl") if e["event"] == "epoch"]
    assert sorted(epochs) == [(number, epoch) for number in range(2) for epoch in (1, 2, 3)]


@pytest.mark.ray
@pytest.mark.slow
def test_where_ray_itself_is_killed_no_trial_is_blamed_and_the_study_resumes(
    synthetic_dir: Path, tmp_path: Path
) -> None:
    asked = ["--samples", "4", "--max-epochs", "4", "--final-epochs", "1"]
    process = slow_driver(tmp_path, 0.5, small(synthetic_dir, tmp_path, *asked))
    record = tmp_path / "one" / "epochs.jsonl"
    wait_until(lambda: sum(event["event"] == "epoch" for event in events(record)) >= 2, process)
    (raylet,) = [child for child in psutil.Process(process.pid).children() if child.name() == "raylet"]
    raylet.kill()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [each for each in said.splitlines() if each.startswith("study.run: ")]
    assert "Ray died on this machine" in line
    assert f"--resume {tmp_path / 'one'}" in line
    assert not [event for event in events(record) if event.get("status") == "failed" or event["event"] == "retry"]

    resumed = slow_driver(tmp_path, 0.0, ["--resume", str(tmp_path / "one"), "--quiet"])
    said = resumed.communicate()
    assert resumed.returncode == 0, said
    ended = [event["number"] for event in events(record) if event["event"] == "end"]
    assert sorted(ended) == list(range(4))
    assert set(results.load_run(tmp_path / "one").trials["status"]) <= {"completed", "stopped"}


# What a person would call it -> the name of the process.
RAY_PROCESSES = {"GCS": "gcs_server", "dashboard agent": "ray::DashboardAgent", "runtime agent": "ray::RuntimeEnvAgent"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", RAY_PROCESSES.values(), ids=RAY_PROCESSES)
def test_the_death_of_any_ray_process_is_one_line_within_seconds_and_blames_no_trial(
    synthetic_dir: Path, tmp_path: Path, name: str
) -> None:
    process = slow_driver(tmp_path, 0.5, small(synthetic_dir, tmp_path, "--samples", "50", "--max-epochs", "4"))
    record = tmp_path / "one" / "epochs.jsonl"
    wait_until(lambda: any(event["event"] == "epoch" for event in events(record)), process)
    children = psutil.Process(process.pid).children(recursive=True)
    (victim,) = [child for child in children if name in (child.name(), " ".join(child.cmdline()).strip())]
    victim.kill()
    killed = time.monotonic()
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - killed < 45  # a few seconds; Ray itself would wait for a minute
    assert process.returncode == 1
    assert "Traceback" not in said
    # Ray's own threads may write further lines until the process is gone.
    (line,) = [each for each in said.splitlines() if each.startswith("study.run: ")]
    assert re.search(r"Ray died on this machine|ended by Ray", line)
    assert f"--resume {tmp_path / 'one'}" in line
    assert not [event for event in events(record) if event.get("status") == "failed" or event["event"] == "retry"]
    assert results.load_run(tmp_path / "one").status in ("failed", "interrupted")
