"""What came out: a run directory as pandas tables, and the questions they answer.

    run = results.load("runs/my-study")
    results.leaderboard(run.trials)

Importing it loads neither torch nor ray; Optuna, SciPy and plotly come with what needs them. Pictures are in
`results.plots`, the page in `results.report`.
"""

from results.analysis import (
    best,
    comparable,
    compare,
    confusion,
    effects,
    epochs_saved,
    importance,
    incumbent,
    leaderboard,
    per_class,
    rank_correlation,
)
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
from results.next_space import next_space
from results.tables import Run, RunError, load, load_run, load_runs, write_tables

__all__ = [
    "Finding",
    "Run",
    "RunError",
    "attribution",
    "audited",
    "best",
    "budget",
    "comparable",
    "compare",
    "confusion",
    "control",
    "diagnose",
    "effects",
    "epochs_saved",
    "evidence",
    "finalists",
    "importance",
    "incumbent",
    "leaderboard",
    "load",
    "load_run",
    "load_runs",
    "next_space",
    "per_class",
    "rank_correlation",
    "rung_correlation",
    "sentences",
    "write_tables",
]
