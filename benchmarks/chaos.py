"""Kill a study at random moments, resume it each time, and compare with one that nobody disturbed.

    python -m benchmarks.chaos --kills 20

Both are real studies by command line, one trial at a time on one thread, on the stand-in images; SIGKILL hits the
driver, and Ray dies with it. The two trials tables must be equal, times aside, and so must the final accuracies.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

import results

START_UP_S = 10.0  # of a sitting: imports, Ray, Optuna's history


@dataclass(frozen=True)
class Outcome:
    """What became of a disturbed study.

    Attributes:
        kills: how often it was killed while it ran.
        record_sizes: bytes of its record at each kill.
        same: whether its trials table and its final accuracies are those of the undisturbed study.
        seconds: of the undisturbed study, and of all sittings of the disturbed one together.
    """

    kills: int
    record_sizes: list[int]
    same: bool
    seconds: tuple[float, float]


def without_times(trials: pd.DataFrame) -> pd.DataFrame:
    """A trials table less the columns that no two runs share."""
    return trials.drop(columns=["time_total_s", "started", "ended"])


def chaos(folder: Path, kills: int, samples: int, seed: int = 0) -> Outcome:
    """Runs the two studies in `folder`/calm and `folder`/killed.

    A sitting is killed at a moment drawn evenly from its start-up to the time in which it does two parts of the study
    in `kills`, so that so many find something to kill; one that ends before is not counted as killed.

    Raises:
        subprocess.CalledProcessError: a sitting that was not killed failed.
    """
    moments = random.Random(seed)
    study = [sys.executable, "-m", "study.run", "--quiet"]
    command = [*study, "--dataset", "synthetic", "--data-dir", str(folder / "data"), "--runs-dir", str(folder)]
    command += ["--space", "sgd", "--samples", str(samples), "--max-epochs", "3", "--final-epochs", "2"]
    command += ["--max-concurrent", "1", "--gpus-per-trial", "0"]
    began = time.perf_counter()
    subprocess.run([*command, "--name", "calm"], check=True, env=one_thread(), capture_output=True)
    calm = time.perf_counter() - began
    run_dir, sizes, spent = folder / "killed", [], 0.0
    while True:
        resume = (run_dir / "study.json").exists()
        begin = [*study, "--resume", str(run_dir)] if resume else [*command, "--name", "killed"]
        began = time.perf_counter()
        process = subprocess.Popen(
            begin, env=one_thread(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        # The first study may have been slower than this one: not later than in 0.6 of its time.
        wait = moments.uniform(4, min(0.6 * calm, START_UP_S + 2 * calm / kills)) if len(sizes) < kills else None
        try:
            _, words = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            record = run_dir / "epochs.jsonl"
            sizes.append(record.stat().st_size if record.exists() else 0)
            if not (run_dir / "study.json").exists() and run_dir.exists():
                (run_dir / ".lock").unlink(missing_ok=True)
                run_dir.rmdir()
            spent += time.perf_counter() - began
            continue
        spent += time.perf_counter() - began
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, begin, stderr=words)
        if len(sizes) >= kills or _finished(run_dir):
            break
    one, other = results.load_run(folder / "calm"), results.load_run(run_dir)
    same = without_times(one.trials).equals(without_times(other.trials)) and one.final is not None
    same = same and other.final is not None and one.final["winner"]["seeds"] == other.final["winner"]["seeds"]
    return Outcome(len(sizes), sizes, same, (calm, spent))


def _finished(run_dir: Path) -> bool:
    return bool(results.load_run(run_dir).study["status"] == "finished")


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a study at random moments and resume it each time.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100, help="trials of each study")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = chaos(Path(folder), arguments.kills, arguments.samples, arguments.seed)
    Console().print(outcome)
    sys.exit(not outcome.same)


if __name__ == "__main__":
    main()
