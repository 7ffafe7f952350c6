"""What tests share: markers, data, one local Ray with more CPUs and GPUs than the machine has, and an S3 server.

The fast loop is `pytest -m "not ray and not slow"`. What a fixture needs marks the tests that use it.
"""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from study import data
from study.data import DataOptions, Split
from study.data.sources import cifar10
from study.data.sources.cifar10 import NoSourceAnswers

REPOSITORY = Path(__file__).parent.parent

# Tests that use one of these fixtures get the markers.
MARKERS = {
    "local_ray": ["ray", "slow"],
    "cluster": ["ray", "slow"],
    "cifar10_dir": ["network"],
    "bucket": ["network"],
    "browser": ["browser"],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests, and puts files that start Ray first: they take longest, and one file stays in one process."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            for marker in MARKERS.get(fixture, ()):
                item.add_marker(marker)
    with_ray = Counter(item.path for item in items if item.get_closest_marker("ray"))
    items.sort(key=lambda item: -with_ray[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests were skipped and why, whatever the verbosity: a skipped test has tested nothing."""
    reasons = Counter(str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _environment_is_put_back() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """A directory with the real CIFAR-10; skips where no source answers, but never in CI."""
    try:
        cifar10.prepare(REPOSITORY / "data", print)
    except NoSourceAnswers as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    return REPOSITORY / "data"


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    data.load("synthetic", DataOptions(path))
    return path


@pytest.fixture(scope="session")
def synthetic(synthetic_dir: Path) -> Split:
    return data.load("synthetic", DataOptions(synthetic_dir)).training


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    import logging

    import ray

    from study.execution import cluster
    from study.execution.trainable import PRETEND_GPUS

    os.environ[PRETEND_GPUS] = "1"
    with cluster.settings():
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a folder in a bucket of an S3 server that runs here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        try:
            urlopen(Request(f"http://127.0.0.1:{port}/bucket", method="PUT")).close()
            break
        except OSError:
            time.sleep(0.1)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in credentials.items():
            patched.setenv(name, value)
        yield f"s3://bucket/some/studies?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    server.terminate()
    server.wait()
