"""Wall time of a whole study, and how busy it keeps the machine from its first trial to the verdict:

    python -m benchmarks.whole_job
    python -m benchmarks.whole_job --dataset digits --samples 8 --max-epochs 10 --final-epochs 30

Further arguments are those of study.run. Busy is what all processes of the machine took of its CPUs, so nothing else
may run beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

STEP_S = 0.5


class BusyClock:
    """CPU seconds of all processes of this machine, noted every STEP_S, inside `with`."""

    def __enter__(self) -> "BusyClock":
        self.notes: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._note)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    def _note(self) -> None:
        while True:
            times = psutil.cpu_times()
            busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
            self.notes.append((time.time(), busy))
            if self._ended.wait(STEP_S):
                return

    def share(self, began: float, ended: float) -> float:
        """Of the machine's CPUs, between two times in seconds since 1970."""
        inside = [note for note in self.notes if began <= note[0] <= ended]
        (first, before), (last, after) = inside[0], inside[-1]
        return (after - before) / (last - first) / (psutil.cpu_count() or 1)


def busy_by_phase(run_dir: Path, clock: BusyClock) -> dict[str, dict[str, float]]:
    """Phase -> its wall seconds, by its own events, and the busy share in them; "first trial to verdict" for all."""
    found, every = {}, []
    for name, log in (("search", run_dir / "epochs.jsonl"), ("final", run_dir / "final" / "epochs.jsonl")):
        times = [json.loads(line)["time"] for line in log.read_text().splitlines()]
        every += [min(times), max(times)]
        found[name] = {"seconds": max(times) - min(times), "busy": clock.share(min(times), max(times))}
    verdict = (run_dir / "final" / "metrics.json").stat().st_mtime
    found["first trial to verdict"] = {"seconds": verdict - min(every), "busy": clock.share(min(every), verdict)}
    return found


def measure(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = ["--runs-dir", folder, "--name", "timed", "--progress", "none"]
        began = time.perf_counter()
        with BusyClock() as clock:
            subprocess.run([sys.executable, "-m", "study.run", *arguments, *place], check=True)
        wall = time.perf_counter() - began
        run_dir = Path(folder) / "timed"
        for name, each in busy_by_phase(run_dir, clock).items():
            print(f"{name}: {each['seconds']:.0f} s, CPUs {each['busy']:.0%} busy")
        print(f"the command: {wall:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _, arguments = parser.parse_known_args()
    measure(arguments or ["--samples", "20"])


if __name__ == "__main__":
    main()
