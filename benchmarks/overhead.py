"""What the suite costs beside the training itself: of a finished run, and before one begins.

    python -m benchmarks.overhead runs/NAME

Of the run's search: 1 - (seconds of training and validation) / (slots x wall time). Then the median seconds of
`import study` and of `python -m study.run --help` over --repeats processes. `python -m benchmarks.scaling` measures the
turnaround between trials.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

import results

STEP_S = 0.1
COMMANDS = {"import study": ["-c", "import study"], "study.run --help": ["-m", "study.run", "--help"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="What the suite costs beside the training itself.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    run = results.load_run(arguments.run)
    seconds, slots = run.study["seconds"], run.study["slots"]
    for part, took in seconds.items():
        print(f"{part.replace('_', ' '):<10} {took:7.1f} s")
    trained = float(run.epochs["seconds"].sum())
    print(f"all        {sum(seconds.values()):7.1f} s")
    print(
        f"search: {trained:.0f} s of training on {slots} slots in {seconds['search']:.0f} s: "
        f"{1 - trained / (slots * seconds['search']):.1%} is overhead or an idle slot"
    )
    idle = _idle_at_the_end(run)
    without = 1 - (trained + idle) / (slots * seconds["search"])
    print(f"        {without:.1%} without the end, when fewer trainings were left than slots")
    for name, command in COMMANDS.items():
        took_each = []
        for _ in range(arguments.repeats):
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            took_each.append(time.perf_counter() - began)
        print(f"{name}: {median(took_each):.2f} s ({min(took_each):.2f} to {max(took_each):.2f})")


def _idle_at_the_end(run: results.Run) -> float:
    """Slot-seconds without a training after the last moment at which every slot had one."""
    ends = run.epochs["time"].to_numpy()
    begins = ends - run.epochs["seconds"].to_numpy()
    moments = np.arange(begins.min(), ends.max(), STEP_S)
    busy = ((begins <= moments[:, None]) & (moments[:, None] < ends)).sum(1)
    full = np.flatnonzero(busy >= run.study["slots"])
    after = busy[full[-1] + 1 :] if len(full) else busy
    return float((run.study["slots"] - after).sum() * STEP_S)


if __name__ == "__main__":
    main()
