"""The reason that the table gives for a training that failed."""

import pytest

from study.execution.recorder import cause_in

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
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_the_cause_is_one_short_line(text: str, cause: str) -> None:
    assert cause_in(text) == cause
