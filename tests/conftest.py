"""What tests share: the real data, the stand-in, and one local Ray with more CPUs and GPUs than the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import data
from study.data import DataOptions, Split, cifar10
from study.data.cifar10 import NoSourceAnswers

REPOSITORY = Path(__file__).parent.parent


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

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
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
