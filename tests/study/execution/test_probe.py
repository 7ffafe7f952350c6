"""What an estimate is made from: a few timed steps."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.data import Split
from study.data.dataset import CIFAR10
from study.execution import probe
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup
from study.recipe import BASELINE, Recipe
from study.storage.store import Store


@pytest.fixture
def setup(synthetic: Split, tmp_path: Path) -> WorkerSetup:
    return WorkerSetup(
        train=Split(synthetic.images[:300], synthetic.labels[:300]),
        validation=None,
        spec=CIFAR10,
        store=Store(str(tmp_path)),
        checkpoint_epochs=(),
        keep_weights=False,
        threads=1,
        gpu=False,
    )


def test_a_recipe_with_a_wider_network_takes_longer_an_image(setup: WorkerSetup) -> None:
    small = probe._seconds_per_image(Recipe(channels="4-8", hidden="16"), setup)
    large = probe._seconds_per_image(Recipe(channels="64-128", hidden="512"), setup)
    assert 0 < small < large


def test_a_batch_of_all_images_is_timed_by_its_epoch(setup: WorkerSetup) -> None:
    assert probe._seconds_per_image(Recipe(batch_size=300), setup) > 0


def test_a_recipe_that_diverges_at_once_is_not_timed(setup: WorkerSetup) -> None:
    assert probe._seconds_per_image(Recipe(lr=100.0, momentum=0.999, batch_size=4), setup) == 0


def test_workers_say_when_they_were_ready(local_ray: None, setup: WorkerSetup) -> None:
    began = time.monotonic()
    timing = probe.time_recipes(setup, [BASELINE, Recipe(batch_size=128)], Slots(1.0, 0.0, 2, ""))
    assert 0 < timing.start < time.monotonic() - began
    assert len(timing.per_image) == 2
    assert all(seconds > 0 for seconds in timing.per_image)


# A Ray of its own, as workers that other tests have left would count as well.
SCRIPT = """
import os, time, ray
from study.execution import cluster

def process(seconds):
    time.sleep(seconds)
    return os.getpid()

class Actor:
    def process(self):
        return process(2)  # Ray ends spare workers that were idle for a second

if __name__ == "__main__":
    cluster.start_ray()
    task, actor = ray.remote(num_cpus=1)(process), ray.remote(num_cpus=1)(Actor)
    timed = set()
    while len(timed) < 2:  # the second worker may start late
        timed |= set(ray.get([task.remote(0.5) for _ in range(2)]))
    actors = [actor.remote() for _ in range(2)]
    trained = set(ray.get([each.process.remote() for each in actors]))
    for each in actors:
        ray.kill(each)
    again = set(ray.get([task.remote(0.5) for _ in range(2)]))
    print(bool(timed & trained), again <= timed)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_workers_that_ran_tasks_stay_while_trainings_run(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "workers.py")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["False", "True"], ended.stderr
