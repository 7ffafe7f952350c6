"""More than one machine: a real Ray of three nodes on this one, and a real S3 server.

The driver is a process of its own, as a user starts it.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from driver import events, wait_until
from ray.cluster_utils import Cluster

import results
from benchmarks.chaos import one_thread, without_times
from study import run
from study.errors import ClusterError, StoreError
from study.execution.cluster import check_answers
from study.storage.store import Folder, Store

# A driver whose trainings are slow, save their state all the time, and say where they run, what they continue from, and
# where in memory their images are.
DRIVER = """
import json, os, sys, time

import ray

from study import run

from study.execution import trainable

def watched(config, *, setup):
    from ray import tune
    from study.execution import trainable
    from study.training.loop import Training

    def note(**said):
        folder = setup.store.folder
        (folder / "notes").mkdir(exist_ok=True)
        with (folder / "notes" / f"{os.getpid()}.jsonl").open("a") as file:
            node = ray.get_runtime_context().get_node_id()
            file.write(json.dumps({"number": config["number"], "node": node, **said}) + "\\n")

    if not hasattr(Training, "load"):
        Training.load, Training.report = Training.load_state_dict, tune.report
        trainable.SECONDS_BETWEEN_CHECKPOINTS = 0.1
        tune.report = lambda report: (time.sleep(0.5), Training.report(report))
    Training.load_state_dict = lambda self, state: (note(said="loaded"), Training.load(self, state))
    address = setup.train.images.ctypes.data
    for line in open("/proc/self/maps"):
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= address < high:
            offset, inode = int(line.split()[2], 16) + address - low, line.split()[4]
    note(said="begun", images=[inode, offset], writeable=setup.train.images.flags.writeable)
    usual_train(config, setup=setup)

usual_train = trainable.train
trainable.train = watched
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with one CPU, and a node with two."""
    both = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    both.add_node(num_cpus=2)
    both.wait_for_nodes()
    yield both
    both.shutdown()


@pytest.fixture
def third(cluster: Cluster) -> Iterator[Any]:
    """One more node, with one CPU, for one test."""
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node, allow_graceful=False)


def command(synthetic_dir: Path, runs: Path, *more: str) -> list[str]:
    common = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(runs), "--name", "one"]
    # ASHA with a grace period as long as a trial pauses none.
    short = ["--space", "sgd", "--final-epochs", "1", "--quiet", "--cpus-per-trial", "1", "--scheduler", "asha"]
    return [*common, *short, *more]


def test_a_node_that_dies_costs_no_trial_and_the_images_reach_each_node_once(
    cluster: Cluster, third: Any, synthetic_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    asked = command(synthetic_dir, tmp_path / "runs", "--samples", "8", "--max-epochs", "6", "--grace-period", "6")
    asked += ["--address", cluster.address, "--storage-path", str(tmp_path / "shared")]
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), *asked],
        env={**one_thread(), "PYTHONPATH": str(Path(run.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    record = tmp_path / "runs" / "one" / "epochs.jsonl"

    def notes(said: str) -> list[dict[str, Any]]:
        found = [note for file in (tmp_path / "shared" / "one" / "notes").glob("*.jsonl") for note in events(file)]
        return [note for note in found if note["said"] == said]

    def in_mid_training() -> list[int]:
        there = [note["number"] for note in notes("begun") if note["node"] == third.node_id]
        ended = [event["number"] for event in events(record) if event["event"] == "end"]
        begun = [event["number"] for event in events(record) if event["event"] == "epoch"]
        saved = [number for number in there if (tmp_path / "shared" / "one" / "checkpoints" / f"{number}.pt").exists()]
        return [number for number in saved if number in begun and number not in ended]

    (lost,) = wait_until(in_mid_training, driver)
    cluster.remove_node(third, allow_graceful=False)
    said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said

    finished = results.load_run(tmp_path / "runs" / "one")
    assert finished.trials.index.tolist() == list(range(8))
    assert finished.trials["status"].tolist() == ["completed"] * 8
    assert [event["number"] for event in events(record) if event["event"] == "retry"] == [lost]
    assert sorted(event["number"] for event in events(record) if event["event"] == "end") == list(range(8))
    epochs = [(event["number"], event["training_iteration"]) for event in events(record) if event["event"] == "epoch"]
    assert sorted(epochs) == [(number, epoch) for number in range(8) for epoch in range(1, 7)]
    assert [note["node"] != third.node_id for note in notes("loaded") if note["number"] == lost] == [True]

    places: dict[str, set[tuple[int, int]]] = {}
    for note in notes("begun"):
        places.setdefault(note["node"], set()).add(tuple(note["images"]))
        assert not note["writeable"]
    assert len(places) == 3
    assert [len(there) for there in places.values()] == [1, 1, 1]
    workers = {file.stem for file in (tmp_path / "shared" / "one" / "notes").glob("*.jsonl")}
    assert len(workers) >= 4  # so that two of them share the images of the node with two CPUs


def driver(asked: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**one_thread(), **environment}
    return subprocess.run([sys.executable, "-m", "study.run", *asked], env=env, capture_output=True, text=True)


def test_a_cluster_without_a_shared_store_is_refused(cluster: Cluster, synthetic_dir: Path, tmp_path: Path) -> None:
    refused = driver(command(synthetic_dir, tmp_path / "runs", "--address", "auto"), RAY_ADDRESS=cluster.address)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "a cluster of 2 nodes" in refused.stderr
    assert "--storage-path" in refused.stderr
    assert list((tmp_path / "runs").iterdir()) == []


NEAR_SIGHTED = """
import sys
import ray
from study.execution import cluster
from study.storage.store import Store

class NearSighted(Store):
    def read(self, name):
        here = ray.get_runtime_context().get_node_id() == head
        return super().read(name) if here else None

cluster.start_ray(sys.argv[1])
head = ray.get_runtime_context().get_node_id()
cluster.check_shared(Store(sys.argv[2]))
try:
    cluster.check_shared(NearSighted(sys.argv[2]))
except cluster.ClusterError as error:
    print(error)
"""


def test_a_folder_that_another_node_does_not_see_is_refused_and_one_that_all_see_is_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "near_sighted.py").write_text(NEAR_SIGHTED)
    said = subprocess.run(
        [sys.executable, str(tmp_path / "near_sighted.py"), cluster.address, str(tmp_path / "shared")],
        env={**one_thread(), "PYTHONPATH": str(Path(run.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.count("\n") == 1
    assert f"--storage-path: {tmp_path / 'shared'} is not the same place on node" in said
    assert said.count("node 1") + said.count("node 2") == 1
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray answers there (Connection refused)"),
        ("nonsense", "no Ray answers there"),
        ("ray://127.0.0.1:10001", "ray job submit"),
    ],
)
def test_an_address_that_is_no_cluster_is_refused_at_once(
    synthetic_dir: Path, tmp_path: Path, address: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main(command(synthetic_dir, tmp_path, "--address", address, "--storage-path", str(tmp_path / "shared")))
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert address in said
    assert words in said
    assert list(tmp_path.iterdir()) == []


def test_auto_says_that_ray_address_points_at_something_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"--address auto \(RAY_ADDRESS is 127.0.0.1:1\): no Ray answers there"):
        check_answers("auto")
    check_answers("local")


def test_a_cluster_that_lets_this_process_run_nothing_is_refused(
    cluster: Cluster, synthetic_dir: Path, tmp_path: Path
) -> None:
    asked = command(synthetic_dir, tmp_path, "--address", cluster.address, "--storage-path", str(tmp_path / "shared"))
    refused = driver(asked, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode == 2
    assert f"--address {cluster.address}: " in refused.stderr.splitlines()[-1]
    assert "RAY_AUTH_MODE" in refused.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_storage_path_of_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main(["--storage-path", "ftp://host/folder"])
    assert exit_.value.code == 2
    assert "allowed: a folder, or an s3:// or gs:// URL" in capsys.readouterr().err


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "folder" else request.getfixturevalue("bucket")).below("store")


def test_a_store_gives_back_complete_files_by_name_and_none_where_there_is_none(store: Store) -> None:
    assert store.read("a/1.pt") is None
    store.write("a/1.pt", b"old")
    store.write("a/1.pt", memoryview(b"new"))
    store.below("b").write("2.pt", b"")
    assert store.read("a/1.pt") == b"new"
    assert store.read("b/2.pt") == b""
    assert store.names() == ["a/1.pt", "b/2.pt"]
    assert store.above()[0].below("store") == store
    store.delete("a/1.pt")
    store.delete("a/1.pt")
    assert store.names() == ["b/2.pt"]


def test_a_store_that_refuses_says_so_in_one_line(bucket: str) -> None:
    with pytest.raises(StoreError, match=r"^s3://other/x: .*bucket does not exist") as error:
        Store(bucket.replace("bucket/some/studies", "other/x")).write("1.pt", b"")
    assert "\n" not in str(error.value)


def test_a_copy_has_the_records_and_no_more_than_has_changed(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("study.json", "checkpoints/1.pt", "3.pt", ".lock", "model.pt", "optuna.db-journal"):
        (tmp_path / name).write_text("first")
    folder = Folder(tmp_path, Store(bucket).below("copy"))
    folder.copy()
    assert folder.store.names() == ["model.pt", "study.json"]
    folder.store.delete("model.pt")
    (tmp_path / "study.json").write_text("and then")
    folder.copy()
    assert folder.store.names() == ["study.json"]
    assert folder.store.read("study.json") == b"and then"
    assert folder.behind is None


def test_a_study_whose_driver_and_disk_are_lost_continues_from_s3_and_has_the_same_tables(
    local_ray: None, bucket: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    small = ["--samples", "5", "--max-epochs", "4", "--max-concurrent", "1", "--gpus-per-trial", "0"]
    assert run.main(command(synthetic_dir, tmp_path / "calm", *small)) == 0
    runs, there = tmp_path / "runs", Store(bucket).below("one")
    killed = subprocess.Popen(
        [sys.executable, "-m", "study.run", *command(synthetic_dir, runs, *small), "--storage-path", bucket],
        env=one_thread(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def copied_ends() -> int:
        return sum(json.loads(line)["event"] == "end" for line in (there.read("epochs.jsonl") or b"").splitlines())

    wait_until(copied_ends, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    shutil.rmtree(runs)

    elsewhere = tmp_path / "elsewhere"
    resumed = driver(["--resume", there.location, "--runs-dir", str(elsewhere), "--quiet"])
    assert resumed.returncode == 0, resumed.stderr
    calm, whole = results.load_run(tmp_path / "calm" / "one"), results.load_run(elsewhere / "one")
    pd.testing.assert_frame_equal(without_times(whole.trials), without_times(calm.trials))
    assert calm.final is not None
    assert whole.final is not None
    assert whole.final["winner"]["seeds"] == calm.final["winner"]["seeds"]
    for name in ("study.json", "epochs.jsonl", "final/epochs.jsonl", "final/model.pt", "report.html", "trials.csv"):
        assert there.read(name) == (elsewhere / "one" / name).read_bytes(), name
    assert not any(name.startswith("checkpoints/") for name in there.names())

    again = driver(["--resume", there.location, "--runs-dir", str(elsewhere), "--quiet"])
    assert again.returncode == 2
    assert "exists here and is newer than its copy" in again.stderr
    nowhere = driver(["--resume", there.above()[0].below("two").location, "--runs-dir", str(elsewhere), "--quiet"])
    assert nowhere.returncode == 2
    assert "holds no run" in nowhere.stderr
    other = driver([*command(synthetic_dir, tmp_path / "third", *small), "--storage-path", bucket])
    assert other.returncode == 2
    assert "has a run one already" in other.stderr
    assert list((tmp_path / "third").iterdir()) == []
