"""The default study against random search with the same epochs: the incumbent over epochs.

    python -m benchmarks.search_quality

Both are replayed on the curves that `benchmarks.curves` recorded, with the same promoting ASHA (grace period 1,
reduction factor 2) on one slot, --seeds times each. The incumbent is the best validation accuracy seen so far.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.schedulers import Promotion, Tpe, load_curves, shuffled, simulate


def incumbent(samples: int, method: str, seed: int) -> list[float]:
    """The best accuracy by the end of each epoch of one study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = load_curves()
    choose = shuffled(seed, len(curves.configs)) if method == "random" else Tpe(curves, seed)
    return simulate(curves, Promotion(1, 2, samples), choose, slots=1, samples=samples).incumbent


def _joined(found: list[list[float]]) -> NDArray[np.float64]:
    """[seeds, epochs], as long as the shortest study."""
    shortest = min(map(len, found))
    return np.array([each[:shortest] for each in found])


def main() -> None:
    parser = argparse.ArgumentParser(description="TPE against random search with the same epochs.")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    found = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for method in ("random", "tpe"):
            each = partial(incumbent, arguments.samples, method)
            found[method] = _joined(list(pool.map(each, range(arguments.seeds), chunksize=5)))
    epochs = min(curve.shape[1] for curve in found.values())
    table = Table("epochs", "random: median (quartiles)", "tpe: median (quartiles)", box=None)
    for at in [*range(10, epochs, 10), epochs]:
        quartiles = {method: np.quantile(curve[:, at - 1], [0.5, 0.25, 0.75]) for method, curve in found.items()}
        table.add_row(str(at), *(f"{mid:.2%} ({low:.2%} to {high:.2%})" for mid, low, high in quartiles.values()))
    Console(width=100).print(table)
    goal = float(np.median(found["random"][:, epochs - 1]))
    reached = {method: np.flatnonzero(np.median(curve, axis=0) >= goal) for method, curve in found.items()}
    for method, when in reached.items():
        print(f"{method} has random's median at the end, {goal:.2%},", f"after {when[0] + 1}" if len(when) else "never")


if __name__ == "__main__":
    main()
