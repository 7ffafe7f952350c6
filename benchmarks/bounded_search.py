"""What it costs that samplers see the best 50 and the latest 250 trials only, on a made problem.

    python -m benchmarks.bounded_search
    python -m benchmarks.bounded_search --sampler prior --trials 900 --seeds 10

The space is `cnn-wide`, the value a smooth function of all hyperparameters with noise; of three trials one is complete
and two are stopped at epoch 3 of 9. Each seed is searched twice, with the bound and without, and the best values of the
complete trials are compared. Up to 300 trials the two must be the same.
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna

from results.events import EpochFinished, TrialEnded
from search_spaces import load
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.search_storage import BEST, LATEST, SearchStorage

EPOCHS, RUNG = 9, 3


def worth(params: Mapping[str, Any]) -> float:
    """The value without noise: each hyperparameter has an optimum, each choice its own worth."""
    lost = 0.0
    for name, value in params.items():
        if isinstance(value, str | bool):
            lost += 0.15 * _made(f"{name}{value}")
        else:
            lost += (np.log10(abs(value) + 1e-6) / 4 - _made(name) + 0.5) ** 2
    return 0.9 - lost / 10


def _made(text: str) -> float:
    """A number in [0, 1) that depends on the text only."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6


@contextmanager
def unbounded(storage: SearchStorage) -> Iterator[None]:
    """In the place of SearchStorage.bounded: a sampler sees every trial."""
    yield


def search(sampler: str, seed: int, trials: int) -> list[float]:
    """The best value of a complete trial after each trial."""
    study = OptunaStudy(SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, EPOCHS, seed, sampler=sampler))
    best, found = -np.inf, []
    for number in range(trials):
        suggestion = study.ask()
        assert suggestion is not None
        study.apply(suggestion.started())
        noise = np.random.default_rng([seed, number])
        value = worth(suggestion.draw.params) + 0.002 * noise.normal()
        is_complete = number % 3 == 0
        for epoch in (1, RUNG, EPOCHS) if is_complete else (1, RUNG):
            metrics = {"val_accuracy": value - (0.01 * noise.random() if epoch < EPOCHS else 0.0)}
            study.apply(EpochFinished(number=number, epoch=epoch, metrics=metrics, seconds=1.0, time_total_s=epoch))
        study.apply(TrialEnded(number=number, status="completed" if is_complete else "stopped", reason=None))
        best = max(best, value) if is_complete else best
        found.append(float(best))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs that samplers see a part of the trials.")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=12)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    gains = []
    for seed in range(arguments.seeds):
        with_bound = search(arguments.sampler, seed, arguments.trials)
        with patch.object(SearchStorage, "bounded", unbounded):
            without = search(arguments.sampler, seed, arguments.trials)
        assert with_bound[: BEST + LATEST] == without[: BEST + LATEST]
        gains.append(100 * (with_bound[-1] - without[-1]))
        print(f"seed {seed}: {with_bound[-1]:.4f} with the bound, {without[-1]:.4f} without", flush=True)
    error = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
    print(f"the bound gains {np.mean(gains):+.2f} points (standard error {error:.2f}, {len(gains)} seeds)")


if __name__ == "__main__":
    main()
