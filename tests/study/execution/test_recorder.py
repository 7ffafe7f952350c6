"""The reason that the table gives for a training that failed."""

from pathlib import Path

import pytest

from results.events import TrialEnded, TrialStarted
from study.execution.recorder import cause_in, delete_left_over_checkpoints
from study.storage.event_log import EventLog
from study.storage.store import Store

ADVICE = (
    "Memory on the node (IP: 10.0.0.1, ID: 054ce47c) where the task (actor ID: 82448ec8, name=ImplicitFunc.__init__, "
    "pid=28384, memory used=9.31GB) was running was 30.4GB / 32.0GB (0.95), which exceeds the memory usage threshold "
    "of 0.95. Ray killed this worker (ID: fa957d2c) because it was the most recently scheduled task; to see more "
    "information about memory usage on this node, use `ray logs raylet.out -ip 10.0.0.1`. Refer to the documentation "
    "on how to address the out of memory issue. Consider provisioning more memory on this node."
)
KILLED = "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no reason given"),
        ("Traceback (most recent call last):\n  File ...\nValueError: too wide\n\n", "ValueError: too wide"),
        (f"Traceback (most recent call last):\n  ray.get(ref)\n{KILLED}.\n{ADVICE}\n", KILLED),
        (f"{KILLED}. {ADVICE}", KILLED),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        (
            'raise torch.OutOfMemoryError("...")\ntorch.OutOfMemoryError: CUDA out of memory.\nCompile with `X`\n',
            "torch.OutOfMemoryError: CUDA out of memory.",
        ),
        ("RuntimeError: CUDA error: out of memory\nFor debugging pass Y", "RuntimeError: CUDA error: out of memory"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_the_cause_is_one_short_line(text: str, cause: str) -> None:
    assert cause_in(text) == cause


def test_checkpoints_of_trainings_that_have_ended_are_deleted_and_no_others(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for name in ("0.pt", "1.pt", "7.pt", "1.hang"):
        store.write(f"checkpoints/{name}", b"state")
    with EventLog(tmp_path / "epochs.jsonl") as log:
        for number in range(2):
            log.append(TrialStarted(number=number, labels={}, config={}, seed=0))
        log.append(TrialEnded(number=0, labels={}, status="completed", reason=None))
        delete_left_over_checkpoints(store, log)
    assert store.names() == ["checkpoints/1.hang", "checkpoints/1.pt", "checkpoints/7.pt"]
