"""Compares the time that a study is expected to take, as it is printed before the search, with the time that it takes.

    python -m benchmarks.estimate
    python -m benchmarks.estimate --dataset synthetic --data-dir /tmp/data

Each case is a study in a process of its own. A phase is well estimated where its time is inside the printed span, or
within 30% of the nearer end.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

TOLERANCE = 0.3
CASES = {
    "small": ["--space", "sgd", "--samples", "6", "--max-epochs", "3", "--final-epochs", "3"],
    "default space": ["--samples", "10", "--max-epochs", "5", "--final-epochs", "5"],
    "no pause": [
        "--space",
        "sgd",
        "--samples",
        "4",
        "--scheduler",
        "none",
        "--max-epochs",
        "3",
        "--final-epochs",
        "1",
    ],
}


def off_by(seconds: float, least: float, most: float) -> float:
    """How far `seconds` is outside the span, as a share of its nearer end; 0 inside."""
    if least <= seconds <= most:
        return 0.0
    return seconds / most - 1 if seconds > most else seconds / least - 1


def measure(case: list[str], runs: Path, data: list[str]) -> dict[str, tuple[float, float, float]]:
    """Phase -> seconds that it took, the least and the most that was expected."""
    command = [sys.executable, "-m", "study.run", *case, *data, "--runs-dir", str(runs), "--name", "timed"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    study = json.loads((runs / "timed" / "study.json").read_text())
    return {phase: (study["seconds"][phase], *span) for phase, span in study["estimate"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-dir", default="data")
    asked = parser.parse_args()
    data = ["--dataset", asked.dataset, "--data-dir", asked.data_dir]
    table = Table("case", "phase", "expected", "took", "outside by", "", box=None)
    for name, case in CASES.items():
        with TemporaryDirectory() as runs:
            for phase, (seconds, least, most) in measure(case, Path(runs), data).items():
                outside = off_by(seconds, least, most)
                verdict = "well" if abs(outside) <= TOLERANCE else "badly"
                table.add_row(
                    name, phase, f"{least:.0f} to {most:.0f} s", f"{seconds:.0f} s", f"{outside:+.0%}", verdict
                )
    Console().print(table)


if __name__ == "__main__":
    main()
