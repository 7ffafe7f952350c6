"""What came out: a run directory as pandas tables, and the questions they answer.

    run = results.load("runs/my-study")
    results.leaderboard(run.trials)

Importing it loads neither torch nor ray.
"""

from results.analysis import best, epochs_saved, leaderboard
from results.tables import Run, RunError, load, load_run, load_runs, write_tables

__all__ = ["Run", "RunError", "best", "epochs_saved", "leaderboard", "load", "load_run", "load_runs", "write_tables"]
