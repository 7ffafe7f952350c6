"""What every figure shares: the empty figure in the common style, axes for the run's metric, labels, text made safe."""

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results.formatting import on_one_line, word
from results.metric import MetricInfo
from results.palette import LIGHT, TEMPLATE, TITLE_HEIGHT
from results.run import Run

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COLOURS = {
    "winner": LIGHT.winner,
    "tuned_baseline": LIGHT.muted,
    "baseline": LIGHT.baseline,
    "recipe_under_test": LIGHT.winner,
}


DRAWN = 1_000  # trials that one picture shows at most


class NothingToPlot(ValueError):
    """The run lacks what a figure shows. The message says what, in a sentence for the reader."""


def empty_figure(
    run: Run, title: str, note: str, *, height: int, head: int = 24, right: int = 24, bottom: int = 56, left: int = 64
) -> go.Figure:
    """An empty figure in the common style, sizes in pixels; it says so where the images are synthetic."""
    said = f"Synthetic images. {note}".strip() if run.synthetic else note
    return go.Figure(
        layout={
            "template": TEMPLATE,
            "title": {"text": title, "subtitle": {"text": said}},
            "height": height,
            "margin": {"t": TITLE_HEIGHT + head, "r": right, "b": bottom, "l": left},
        }
    )


def measured_epochs(run: Run) -> pd.DataFrame:
    """The epochs in which the run's metric was measured.

    Raises:
        NothingToPlot: there is none.
    """
    epochs = run.epochs.dropna(subset=run.metric.column)
    if epochs.empty:
        raise NothingToPlot("No trial has finished an epoch.")
    return epochs


def sampled(ranked: "pd.Index[int]") -> "pd.Index[int]":
    """The trials that a picture shows, best first: all, or of many the best ones and others, evenly by rank."""
    if len(ranked) <= DRAWN:
        return ranked
    best = DRAWN // 2
    others = np.linspace(best, len(ranked) - 1, DRAWN - best).round().astype(int)
    return ranked[[*range(best), *others]]


def about_sample(trials: int) -> str:
    """What a picture of so many trials leaves out, as a sentence with a space before it; "" where it is nothing."""
    if trials <= DRAWN:
        return ""
    best = DRAWN // 2
    return f" Drawn are the best {best:,} of {trials:,} trials and {DRAWN - best:,} of the others, evenly by rank."


def predictions_of(run: Run, *roles: str) -> pd.DataFrame:
    """final/predictions.csv, with all of `roles` in it.

    Raises:
        NothingToPlot: there is no such file yet, or a role is not in it.
    """
    if run.predictions is None or not set(roles) <= set(run.predictions.columns) or run.predictions.empty:
        raise NothingToPlot("There are no predictions on the test set yet.")
    return run.predictions


def class_names(run: Run) -> list[str]:
    """The classes' names by label, one for every label in use: those that study.json has, else CIFAR-10's, else
    numbers. They are text of the run, to be escaped where they are shown."""
    named = run.study["data"].get("class_names")
    known = [on_one_line(str(name)) for name in named] if isinstance(named, list) else []
    if not known and run.study["dataset"] == "cifar10":
        known = list(CIFAR10_CLASSES)
    used = 0
    if run.predictions is not None and len(run.predictions):
        roles = [role for role in COLOURS if role in run.predictions]
        used = int(run.predictions[["label", *roles]].to_numpy().max()) + 1
    return known + [f"class {label}" for label in range(len(known), used)]


def metric_axis(figure: go.Figure, metric: MetricInfo, values: "pd.Series[float]", title: str = "") -> None:
    """Fits the y axis to `values`, as they are in the tables, but to no less than two points of a percentage."""
    low, high = metric.scale * float(values.min()), metric.scale * float(values.max())
    margin = max(0.05 * (high - low), 1 if metric.is_share else 1e-3 * max(abs(low), abs(high), 1e-6))
    suffix = "%" if metric.is_share else ""
    figure.update_yaxes(title=title, ticksuffix=suffix, range=[low - margin, high + margin])


def hover_value(metric: MetricInfo, axis: str = "y") -> str:
    """The metric's value in a plotly hover text."""
    return f"%{{{axis}:.2f}}%" if metric.is_share else f"%{{{axis}:.4f}}"


def label_ends(figure: go.Figure, ends: Sequence[tuple[float, float, str, str]], span: float) -> None:
    """Writes to the right of each line's end (x, y, text, colour); of two that lie close, one moves up and one down.

    Args:
        span: how much of y the whole figure shows.
    """
    ends = sorted(ends, key=lambda end: end[1])
    close = [above[1] - below[1] < 0.12 * span for below, above in pairwise(ends)]
    for (x, y, text, colour), near_below, near_above in zip(ends, [False, *close], [*close, False], strict=True):
        figure.add_annotation(
            x=x,
            y=y,
            text=text,
            showarrow=False,
            align="left",
            xanchor="left",
            xshift=9,
            yshift=18 * (near_below - near_above),
            font={"color": colour, "size": 12},
        )


def plain(value: Any) -> str:
    """A value as plain text for plotly, whose texts are a dialect of HTML."""
    return html.escape(on_one_line(word(value)), quote=False)
