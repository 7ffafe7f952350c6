"""A Ray of our own: what it offers, where its files are, and which signals reach it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from driver import events, wait_until

import results
from benchmarks.chaos import one_thread
from study.errors import ClusterError
from study.execution import cluster, local_ray

REPOSITORY = Path(__file__).parents[3]


def test_affinity_bounds_the_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
    assert local_ray.cpu_count(tmp_path, tmp_path / "cgroup") == 3


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"job/step/cpu.max": "max 100000", "job/cpu.max": "250000 100000"}, "0::/job/step", 2),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"job/cpu.max": "max 100000"}, "0::/job", 8),
        (
            {"cpu/docker/1/cpu.cfs_quota_us": "300000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"},
            "5:cpuacct,cpu:/docker/1\n4:memory:/docker/1",
            3,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "5:cpu:/", 8),
        ({}, "0::/elsewhere", 8),
    ],
)
def test_the_quota_of_every_cgroup_above_bounds_the_cpus(
    files: dict[str, str], own: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "own").write_text(own + "\n")
    assert local_ray.cpu_count(tmp_path, tmp_path / "own") == expected


LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended GPU of two slices."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_mig_slice_is_a_gpu(nvidia_smi: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = ["MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"]
    assert local_ray.mig_slices() == slices
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", slices[1])
    assert local_ray.mig_slices() == slices[1:]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert local_ray.mig_slices() == []


def test_a_temporary_folder_is_taken_only_where_rays_sockets_fit_and_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(local_ray, "FOLDERS", ("/tmp",))
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert local_ray.folder_for_sockets() is None
    long = tmp_path / ("x" * 100)
    long.mkdir()
    for unfit in (str(long), "/proc/nowhere"):
        monkeypatch.setenv("TMPDIR", unfit)
        assert local_ray.folder_for_sockets() == "/tmp/ray"
    monkeypatch.setattr(local_ray, "FOLDERS", (str(long),))
    with pytest.raises(ClusterError, match=r"path of at most 3[0-9] characters.*RAY_TMPDIR"):
        local_ray.folder_for_sockets()


def test_settings_are_put_back_and_a_users_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    before = dict(os.environ)
    with cluster.settings():
        assert os.environ["RAY_worker_niceness"] == "0"  # noqa: SIM112
        assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
    assert dict(os.environ) == before


# One Ray, asked for all that matters in its processes.
PROBE = """
import json, os, signal, sys

import ray

from study.execution import cluster

def look():
    import study
    return os.path.dirname(study.__file__), os.nice(0), sys.path, os.getsid(os.getppid())

before = dict(os.environ)
nodes = cluster.start_ray()
handler = signal.getsignal(signal.SIGTERM)
package, nice, path, session = ray.get(ray.remote(look).remote())
sockets = ray._private.worker._global_node.get_session_dir_path()
cluster.stop_ray()
print(json.dumps({
    "cpus": nodes[0]["CPU"], "package": package, "nice": nice, "path": path, "sockets": sockets, "folder": os.getcwd(),
    "own_session": session != os.getsid(0), "environment_changed": dict(os.environ) != before,
    "handler_kept": handler == signal.SIG_DFL,
}))
"""


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A Ray on one CPU of this machine, from a folder with a study.py, with a TMPDIR that is too long and no HOME."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "study.py").write_text("raise SystemExit('study.py was imported')\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "probe.py").write_text(PROBE)
    long = folder / ("x" * 100)
    long.mkdir()
    done = subprocess.run(
        [sys.executable, str(folder / "bin" / "probe.py")],
        cwd=folder,
        env={
            "PYTHONPATH": str(REPOSITORY),
            "PATH": os.environ["PATH"],
            "HOME": "/proc/nowhere",
            "TMPDIR": str(long),
            "OMP_NUM_THREADS": "1",
        },
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {"stderr": done.stderr, **json.loads(done.stdout)}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="affinity and sessions are Linux's")
def test_ray_offers_what_the_process_may_use_from_where_it_can(probed: dict[str, object]) -> None:
    assert probed["stderr"] == ""
    assert probed["cpus"] == 1.0
    assert probed["nice"] == 0
    assert not probed["environment_changed"]
    assert probed["own_session"]
    assert probed["handler_kept"]
    assert str(probed["sockets"]).startswith("/tmp/ray/")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="affinity and sessions are Linux's")
def test_workers_import_our_packages_before_a_users_files_of_the_same_name(probed: dict[str, object]) -> None:
    assert probed["package"] == str(REPOSITORY / "study")
    path = probed["path"]
    assert isinstance(path, list)
    assert probed["folder"] in path  # so that a user's own modules are found as well


def study_command(synthetic_dir: Path, runs: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "study.run", "--dataset", "synthetic", "--data-dir", str(synthetic_dir)]
    return [*command, "--runs-dir", str(runs), "--name", "one", "--space", "sgd", "--quiet", *more]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_process_group_stops_a_study_cleanly(
    synthetic_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As timeout, systemd, Slurm, Kubernetes and a terminal that closes send it."""
    process = subprocess.Popen(
        study_command(synthetic_dir, tmp_path, "--samples", "500"),
        env=one_thread(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    record = tmp_path / "one" / "epochs.jsonl"
    wait_until(lambda: any(event["event"] == "epoch" for event in events(record)), process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=30)  # the grace that Kubernetes and Slurm give
    assert process.returncode == 128 + number
    assert said.count("\n") == 1
    assert number.name in said
    assert f"--resume {tmp_path / 'one'}" in said
    assert results.load_run(tmp_path / "one").study["status"] == "stopped"


def test_where_ray_does_not_start_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because GCS is overloaded.")

    monkeypatch.setattr(local_ray.ray, "init", init)
    with pytest.raises(ClusterError) as error:
        local_ray.start()
    assert str(error.value).startswith(
        "Ray cannot start on this machine: The current node timed out during startup. This"
    )
