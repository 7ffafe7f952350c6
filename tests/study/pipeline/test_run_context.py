"""What the phases of a study share."""

from types import SimpleNamespace
from typing import Any

import pytest

from study.execution.resources import Slots
from study.pipeline.run_context import RunContext


@pytest.mark.parametrize(
    ("address", "slots", "trainings", "expected"),
    [
        ("local", Slots(1, 0, 2, ""), 2, 2),
        ("local", Slots(1, 0, 2, ""), 3, 1),
        ("local", Slots(2, 0, 4, ""), 2, 8),
        ("local", Slots(1, 0, 1, ""), 1, 1),
        ("local", Slots(0.5, 0, 4, ""), 2, 2),
        ("local", Slots(0.5, 0.25, 4, ""), 2, 1),
        ("auto", Slots(1, 0, 64, ""), 2, 1),
        ("10.0.0.1:6379", Slots(2, 0, 64, ""), 2, 2),
    ],
)
def test_few_trainings_use_all_cpus_of_the_study_but_on_a_cluster_or_gpu_those_of_their_slot(
    address: str, slots: Slots, trainings: int, expected: int
) -> None:
    context: Any = SimpleNamespace(config=SimpleNamespace(address=address), slots=slots)
    assert RunContext.threads_of(context, trainings) == expected
