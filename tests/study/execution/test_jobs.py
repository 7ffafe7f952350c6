"""A study driven from outside a cluster, through Ray's Jobs API, as docs/clusters.md says."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from results.fetch import fetch

pytestmark = [pytest.mark.ray, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
# The token alike on all machines, and time for a stopped study to end cleanly, as the document asks for.
ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_JOB_STOP_WAIT_TIME_S": "30",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
}
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def job_server() -> Iterator[str]:
    """The address of the job server of a Ray head that was started by hand."""
    port, folder = free_port(), tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    ports = {name: free_port() for name in ("port", "dashboard-agent-listen-port", "ray-client-server-port")}
    head = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--num-cpus=2", "--num-gpus=0", f"--temp-dir={folder}"]
        + [f"--{name}={number}" for name, number in ports.items()]
        + ["--include-dashboard=true", f"--dashboard-port={port}"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 240
    try:
        while ray_job(address, "list").returncode != 0:
            assert head.poll() is None
            assert time.monotonic() < deadline, ray_job(address, "list").stderr
        yield address
    finally:
        head.terminate()  # stops what it has started as well
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def ray_job(address: str, action: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RAY, "job", action, "--address", address, *more],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def entrypoint(synthetic_dir: Path, folder: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "study.run", "--address", "auto", "--dataset", "synthetic", "--name", "one"]
    places = [
        "--data-dir",
        str(synthetic_dir),
        "--runs-dir",
        str(folder / "runs"),
        "--storage-path",
        str(folder / "store"),
    ]
    return ["--working-dir", ".", "--", *command, *places, "--space", "sgd", "--max-epochs", "2", *more]


def test_a_submitted_study_logs_its_verdict_ends_with_0_and_is_fetched(
    job_server: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    small = ["--samples", "2", "--final-epochs", "1", "--quiet"]
    done = ray_job(job_server, "submit", *entrypoint(synthetic_dir, tmp_path, *small))
    assert done.returncode == 0, done.stdout + done.stderr
    run = results.load_run(fetch(str(tmp_path / "store" / "one"), tmp_path / "here"))
    assert run.final is not None
    assert run.final["sentence"] in done.stdout
    assert run.study["status"] == "finished"


def test_a_wrong_setting_ends_a_job_with_its_line_and_a_failure(
    job_server: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    refused = ray_job(job_server, "submit", *entrypoint(synthetic_dir, tmp_path, "--samples", "0"))
    assert refused.returncode != 0
    assert "--samples" in refused.stdout + refused.stderr
    assert not (tmp_path / "store").exists()


def test_a_stopped_job_leaves_a_study_that_can_be_resumed(job_server: str, synthetic_dir: Path, tmp_path: Path) -> None:
    endless = entrypoint(synthetic_dir, tmp_path, "--samples", "500")
    assert ray_job(job_server, "submit", "--no-wait", "--submission-id", "endless", *endless).returncode == 0
    log, deadline = tmp_path / "runs" / "one" / "epochs.jsonl", time.monotonic() + 400
    while not (log.exists() and '"epoch"' in log.read_text()):
        assert time.monotonic() < deadline, ray_job(job_server, "logs", "endless").stdout
        time.sleep(0.2)
    assert ray_job(job_server, "stop", "endless").returncode == 0
    assert "was stopped" in ray_job(job_server, "status", "endless").stdout
    said = ray_job(job_server, "logs", "endless").stdout
    assert "stopped by SIGTERM" in said
    assert f"--resume {tmp_path / 'runs' / 'one'}" in said
    assert results.load_run(tmp_path / "store" / "one").study["status"] == "stopped"
