"""What came out: a run directory as pandas tables, and the questions they answer.

    run = results.load("runs/my-study")
    results.leaderboard(run)

Importing it loads neither torch nor ray; Optuna, SciPy and plotly come with what needs them. Pictures are in
`results.plots`, the page in `results.report`.
"""

from importlib import import_module
from typing import Any

from results.analysis import (
    best,
    common_epoch,
    comparable,
    confusion,
    effects,
    epochs_saved,
    importance,
    incumbent,
    leaderboard,
    per_class,
    rank_correlation,
)
from results.budget_curve import budget_curve
from results.comparison import compare
from results.doctor import Finding, diagnose
from results.evidence import (
    attribution,
    audited,
    budget,
    control,
    evidence,
    finalists,
    rung_correlation,
    sentences,
)
from results.further_search import FurtherSearch, further_search
from results.metric import MetricInfo
from results.next_space import next_space
from results.published import against_publication
from results.replicates import Replicates, replicates
from results.run import Run, RunError
from results.run_directory import find_run, find_runs, load, load_run, load_runs, write_tables
from results.seed_deviation import grow_seed_deviations

__all__ = [
    "Finding",
    "FurtherSearch",
    "MetricInfo",
    "Replicates",
    "Run",
    "RunError",
    "against_publication",
    "attribution",
    "audited",
    "best",
    "budget",
    "budget_curve",
    "common_epoch",
    "comparable",
    "compare",
    "confusion",
    "control",
    "diagnose",
    "effects",
    "epochs_saved",
    "evidence",
    "finalists",
    "find_run",
    "find_runs",
    "further_search",
    "grow_seed_deviations",
    "importance",
    "incumbent",
    "leaderboard",
    "load",
    "load_run",
    "load_runs",
    "next_space",
    "per_class",
    "rank_correlation",
    "replicates",
    "rung_correlation",
    "sentences",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    """`results.plots` and `results.report` are imported when they are used."""
    if name not in ("plots", "report"):
        raise AttributeError(f"module 'results' has no attribute {name!r}")
    return import_module(f"results.{name}")
