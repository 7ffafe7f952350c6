"""How well the worth of further search is known: 80% intervals against what more trials brought.

    python -m benchmarks.search_enough --taskset DIRECTORY

From each table of `benchmarks.search_replay`, trials are drawn at random: 20, and 20 more. The intervals are from the
first ones, seen completely, or as ASHA leaves them with the ends of stopped trials only expected.
"""

import argparse
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from benchmarks.search_replay import ARMS, SAMPLES, Replay, Table, tables
from results.events import State
from results.further_search import final_values, worth_of_more


def seen_finals(table: Table, replay: Replay) -> list[float]:
    """The final values as `results.further_search` expects them of a replayed study."""
    state = State(replay.events)
    return list(final_values(state, f"val_{table.metric.name}", table.epochs).values())


def rows(name: str, table: Table, orders: int) -> pd.DataFrame:
    found = []
    for seed in range(orders):
        chosen = np.random.default_rng(seed).permutation(len(table.configs))[: 2 * SAMPLES]
        signed = table.ends[chosen]
        gain = max(0.0, float(signed.max() - signed[:SAMPLES].max()))
        finals = {"complete": np.where(np.isinf(signed[:SAMPLES]), np.nan, signed[:SAMPLES])}
        replay = Replay(table, ARMS["new scheduler alone"], 1, seed, SAMPLES, chosen[:SAMPLES])
        replay.run()
        expected = np.array(seen_finals(table, replay))
        finals["stopped early"] = expected if table.metric.mode == "max" else -expected
        for kind, values in finals.items():
            worth = worth_of_more(values, SAMPLES)
            if worth is not None:
                found.append(
                    {"table": name, "seen": kind, "holds": worth.low <= gain <= worth.high, "above": gain > worth.high,
                     "chance": worth.chance, "better": gain > 0, "expected": worth.gain, "came": gain}
                )  # fmt: skip
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration of the worth of further search.")
    parser.add_argument("--taskset", type=Path)
    parser.add_argument("--orders", type=int, default=100)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    every = pd.concat([rows(name, load(), arguments.orders) for name, load in tables(arguments.taskset).items()])
    print(every.groupby(["table", "seen"]).mean(numeric_only=True).round(4).to_string())
    print(every.groupby("seen").mean(numeric_only=True).round(4).to_string())


if __name__ == "__main__":
    main()
