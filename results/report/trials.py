"""The table of all trials, cell by cell, and pictures of test images."""

import base64
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results import analysis, plots
from results.formatting import word
from results.report.summary import role
from results.run import Run

# Columns of the trials table that a printed page has no room for; trials.csv has them.
_ASIDE = ("best_epoch", "train_loss", "val_loss", "time_total_s", "stop_reason", "seed")
_ROWS = 1_000  # of the table on the page; the best ones
_LARGEST_PICTURE = 2**20  # bytes of one mistake's PNG that go into the page


def trials_table(run: Run) -> dict[str, Any] | None:
    """The trials table cell by cell, best first and then those that cannot be ranked; None without a trial.

    A page of many thousand rows is slow in every browser: of more than 1,000 trials it has the best 1,000 and says so.
    """
    if run.trials.empty:
        return None
    ranked = analysis.leaderboard(run).index
    order = [*ranked, *run.trials.index.difference(ranked)][:_ROWS]
    table = run.trials.loc[order, _columns(run)].reset_index().rename(columns={"number": "trial"})
    kinds = ["best" if position == 0 else "" for position in range(min(len(ranked), len(order)))]
    kinds += ["unranked"] * (len(order) - len(kinds))
    best_first = "descending" if run.metric.maximize else "ascending"
    return {
        "columns": [
            {
                "name": _heading(name),
                "number": pd.api.types.is_numeric_dtype(table[name]),
                "best_first": best_first if str(name).startswith(("val_", "best_val_")) else "ascending",
                "aside": name in _ASIDE,
                "sorted": best_first if name == run.metric.column else None,
            }
            for name in table.columns
        ],
        "rows": [
            {"kind": kind, "cells": [_cell(run, name, value) for name, value in zip(table.columns, row, strict=True)]}
            for kind, row in zip(kinds, table.itertuples(index=False, name=None), strict=True)
        ],
        "example": _filter_example(run),
        "left_out": len(run.trials) - len(order),
    }


def _columns(run: Run) -> list[str]:
    """The columns that are shown, the metric that selects first; other metrics stand aside."""
    metric = run.metric.column
    names = [str(name) for name in run.trials]
    drawn = [name for name in names if name.startswith(("config/", "params/"))]
    others = [name for name in names if name.startswith("val_") and name not in (metric, "val_loss")]
    return ["status", metric, "epochs", *drawn, *others, f"best_{metric}", *_ASIDE]


def _heading(name: Hashable) -> str:
    return str(name).removeprefix("config/")


def _cell(run: Run, column: Hashable, value: Any) -> dict[str, Any]:
    """What a cell shows, and the exact value that it sorts and filters by."""
    aside = column in _ASIDE
    if pd.isna(value):
        return {"text": "", "value": "", "number": False, "aside": aside}
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    name = str(column)
    if name in (run.metric.column, f"best_{run.metric.column}"):
        text = run.metric.text(value)
    elif name == "val_accuracy":
        text = f"{value:.2%}"
    elif name == "time_total_s":
        text = f"{value:.1f}"
    elif name.startswith(("train_", "val_")):
        text = f"{value:.3f}"
    else:
        text = word(value)
    return {"text": text, "value": str(value), "number": number, "aside": aside}


def _filter_example(run: Run) -> str:
    lows = {name: about["attributes"].get("low") for name, about in run.hyperparameters.items()}
    numeric = [f"completed {name}>{word(2 * low)}" for name, low in lows.items() if low is not None]
    return numeric[0] if numeric else "completed"


def mistakes(run: Run) -> list[dict[str, str]]:
    """The pictures in final/mistakes/ with what their predictions say, surest first."""
    table = _pictured(run, "mistakes")
    confidence = f"{role(run)}_confidence"
    return _shown(run, table if table.empty else table.sort_values(confidence, ascending=False))


def label_errors(run: Run) -> list[dict[str, str]]:
    """The pictures in final/label-errors/, candidates for a wrong label, the most doubtful first."""
    table = _pictured(run, "label-errors")
    candidates = (run.final or {}).get("candidate_label_errors", [])
    return _shown(run, table.reindex([image for image in candidates if image in table.index]))


def _pictured(run: Run, folder: str) -> pd.DataFrame:
    """Of the test images that have a picture in a folder of final/: predictions.csv by image, and its `picture`."""
    side = role(run)
    if run.predictions is None or not {side, f"{side}_confidence"} <= set(run.predictions.columns):
        return pd.DataFrame()
    found = (run.path / "final" / folder).glob("*.png")
    pictures = {int(path.stem): path for path in found if path.stem.isdecimal() and _is_small_file(path)}
    table = run.predictions.set_index("image")
    table = table[table.index.isin(list(pictures))]
    return table.assign(picture=[str(pictures[image]) for image in table.index])


def _shown(run: Run, table: pd.DataFrame) -> list[dict[str, str]]:
    if table.empty:
        return []
    side, names = role(run), plots.class_names(run)
    return [
        {
            "image": str(image),
            "uri": f"data:image/png;base64,{base64.b64encode(Path(picture).read_bytes()).decode()}",
            "label": names[label],
            "taken_for": names[taken_for],
            "confidence": f"{confidence:.1%}",
        }
        for image, label, taken_for, confidence, picture in table[
            ["label", side, f"{side}_confidence", "picture"]
        ].itertuples(name=None)
    ]


def _is_small_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST_PICTURE
