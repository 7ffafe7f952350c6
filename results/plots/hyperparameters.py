"""Hyperparameters in pictures: what each of them explains, and where its good values lie.

Trials that were stopped early are measured after fewer epochs than the others. So these figures compare trials at one
epoch: the longest that most of them reached, or the last where enough trials are completed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import analysis
from results.formatting import count, word
from results.palette import LIGHT
from results.plots.figure import NothingToPlot, about_sample, empty_figure, hover_value, metric_axis, plain, sampled
from results.run import Run


def importance(run: Run) -> go.Figure:
    """How much of the differences between trials each hyperparameter explains, by two measures.

    Raises:
        NothingToPlot: there are fewer trials than the measures need, or they do not differ.
    """
    compared = analysis.comparable(run)
    try:
        measured = analysis.importance(compared)
    except ValueError as reason:
        raise NothingToPlot(f"Importance: {reason}.") from reason
    rows, trials = measured.sort_values("fanova"), measured.attrs["trials"]
    note = f"Over the {_at_one_epoch(run, compared, trials)}, by two measures."
    if measured.attrs["of"] > trials:
        note += f" These are {trials:,} of {measured.attrs['of']:,}, evenly by number."
    if measured.attrs["warning"]:
        note += f" Too few for {count(len(rows), 'hyperparameter')}: mostly noise."
    figure = empty_figure(run, "Importance of each hyperparameter", note, height=200 + 26 * len(rows))
    names = [plain(name) for name in rows.index]
    for name, furthest in zip(names, rows.max(axis=1), strict=True):
        line = {"color": LIGHT.grid, "width": 2}
        figure.add_shape(type="line", x0=0, x1=100 * furthest, y0=name, y1=name, layer="below", line=line)
    for measure, title, symbol in (("fanova", "fANOVA", "circle"), ("ped_anova", "PED-ANOVA", "circle-open")):
        figure.add_scatter(
            x=(100 * rows[measure]).tolist(),
            y=names,
            name=title,
            mode="markers",
            marker={"color": LIGHT.winner, "size": 11, "symbol": symbol, "line": {"width": 2, "color": LIGHT.winner}},
            hovertemplate="%{y}: %{x:.1f}%<extra>" + title + "</extra>",
        )
    # A little room before 0, where half of the dots would be cut off.
    widest = 100 * float(rows.to_numpy().max())
    figure.update_xaxes(
        title="share of the explained differences", ticksuffix="%", range=[-0.03 * widest, 1.05 * widest]
    )
    figure.update_yaxes(showgrid=False, tickfont={"color": LIGHT.ink, "size": 13})
    return figure.update_layout(showlegend=True)


def effect(run: Run, hyperparameter: str) -> go.Figure:
    """One hyperparameter's values against the run's metric, all trials after the same number of epochs.

    Raises:
        NothingToPlot: no trial that can be compared has drawn it.
    """
    compared, table = _compared(run)
    if hyperparameter not in _drawn(compared, table):
        raise NothingToPlot(f"No trial that can be compared has drawn {hyperparameter}.")
    metric, values = run.metric, compared.drawn(hyperparameter)
    # The best trial lies on top of the others, so it is drawn last.
    with_value = table.index[values.reindex(table.index).notna()]
    numbers = sampled(with_value)[::-1]
    axis = _axis(values[numbers], run.hyperparameters.get(hyperparameter))
    is_best = numbers == table.index[0]
    colours = np.where(is_best, LIGHT.winner, LIGHT.context).tolist()
    note = f"{_at_one_epoch(run, compared, len(with_value))}; the best is blue.{about_sample(len(with_value))}"
    figure = empty_figure(run, f"Effect of {plain(hyperparameter)}", note, height=310, head=8, right=24, left=56)
    figure.add_scatter(
        x=[_placed(axis, int(number)) for number in numbers],
        y=(metric.scale * table.loc[numbers, metric.column]).tolist(),
        mode="markers",
        marker={
            "color": colours,
            "size": np.where(is_best, 11, 7).tolist(),
            "opacity": np.where(is_best, 1.0, 0.75).tolist(),
            "line": {"width": 1.2, "color": LIGHT.surface},
        },
        text=[f"trial {number}<br>{plain(hyperparameter)} {plain(values[number])}" for number in numbers],
        hovertemplate=f"%{{text}}: {hover_value(metric)}<extra></extra>",
    )
    ticks = {place: plain(tick) for place, tick in _fitting(axis.ticks).items()}
    title = plain(hyperparameter) + (" (logarithmic)" if axis.log else "")
    lowest = min([0.0, *axis.ticks])
    # On a line of its own: beside the lowest value there is no room in a narrow picture.
    labels = [f"<br>{tick}" if place == _ELSEWHERE else tick for place, tick in ticks.items()]
    figure.update_xaxes(title=title, range=[lowest - 0.12, 1.12], tickvals=list(ticks), ticktext=labels)
    figure.update_xaxes(ticklabeloverflow="allow")
    metric_axis(figure, metric, table[metric.column], metric.words)
    return figure.update_yaxes(nticks=5)


def parallel_coordinates(run: Run) -> go.Figure:
    """Each trial a line down through its values, one row a hyperparameter, to the run's metric at the bottom.

    Rows instead of plotly's upright axes: their labels do not collide on a phone or on paper, whatever their number.

    Raises:
        NothingToPlot: no trial can be compared, or the study varied nothing.
    """
    compared, table = _compared(run)
    metric = run.metric
    names = _drawn(compared, table)
    if not names:
        raise NothingToPlot("The study varied nothing.")
    axes = {name: _axis(compared.drawn(name)[table.index], run.hyperparameters.get(name)) for name in names}
    axes[metric.column] = _metric_row(run, table)
    note = f"{_at_one_epoch(run, compared, len(table))}: each a line from its values down to the {metric.words}."
    note += about_sample(len(table))
    table = table.loc[sampled(table.index)]
    height, gap = 120 + 54 * len(axes), 1
    figure = empty_figure(run, "Parallel coordinates", note, height=height, head=8, right=28, left=16, bottom=24)
    rows = {name: (len(axes) - 1 - at) * gap for at, name in enumerate(axes)}
    leaders = math.ceil(len(table) / 10)
    for numbers, width, colour, opacity, label in (
        (table.index[leaders:], 1.0, LIGHT.crowd, 1.0, count(len(table) - leaders, "other")),
        (table.index[1:leaders], 1.6, LIGHT.winner, 0.4, f"{leaders - 1} more of the best tenth"),
        (table.index[:1], 3.0, LIGHT.winner, 1.0, f"the best, trial {table.index[0]}"),
    ):
        if len(numbers):
            x, y, text = _polylines(compared, table, (axes, rows), numbers)
            line = {"color": colour, "width": width}
            figure.add_scatter(
                x=x, y=y, text=text, name=label, hoverinfo="text", mode="lines", line=line, opacity=opacity
            )
    for name, axis in axes.items():
        _draw_row(figure, metric.words if name == metric.column else name, axis, rows[name])
    figure.update_xaxes(visible=False, range=[min([0.0, *(min(axis.ticks) for axis in axes.values())]) - 0.04, 1.04])
    figure.update_yaxes(visible=False, range=[-0.45, len(axes) - 0.35])
    return figure.update_layout(showlegend=True, legend_y=0)


def _draw_row(figure: go.Figure, name: str, axis: "_Axis", y: float) -> None:
    figure.add_shape(type="line", x0=0, x1=1, y0=y, y1=y, line={"color": LIGHT.crowd, "width": 1.5})
    label = f"<b>{plain(name)}</b>" + (" (logarithmic)" if axis.log else "")
    common = {"showarrow": False, "bgcolor": LIGHT.surface, "borderpad": 1}
    figure.add_annotation(
        x=0,
        y=y,
        text=label,
        xanchor="left",
        yanchor="bottom",
        yshift=3,
        font={"size": 12, "color": LIGHT.ink},
        **common,
    )
    for place, tick in _fitting(axis.ticks).items():
        anchor = "left" if place == 0 else "right" if place == 1 else "center"
        figure.add_annotation(
            x=place,
            y=y,
            text=plain(tick),
            xanchor=anchor,
            yanchor="top",
            yshift=-2,
            font={"size": 10.5, "color": LIGHT.muted},
            **common,
        )


def _compared(run: Run) -> tuple[Run, pd.DataFrame]:
    """The run at the epoch at which its trials are compared, and its leaderboard of those that reached it."""
    compared = analysis.comparable(run)
    ranked = analysis.leaderboard(compared)
    table = ranked[ranked["status"] == "completed"]
    if table.empty:
        raise NothingToPlot("No trial can be ranked.")
    return compared, table


def _at_one_epoch(run: Run, compared: Run, trials: int) -> str:
    length, of_all = compared.study["max_epochs"], run.study["max_epochs"]
    if length == of_all:
        return f"{count(trials, 'completed trial')}, after {count(length, 'epoch')}"
    return f"{count(trials, 'trial')} after {count(length, 'epoch')} of {of_all}, which most reached"


def _drawn(run: Run, table: pd.DataFrame) -> list[str]:
    """The hyperparameters that at least one of the trials in `table` drew.

    A field that the space gives the same value in all trials is none, although trial 0 may have another.
    """
    prefix = "params/" if any(str(name).startswith("params/") for name in table) else "config/"
    columns = table.filter(regex=f"^{prefix}").dropna(axis=1, how="all")
    names = {str(name): str(name).removeprefix(prefix) for name in columns}
    varied = columns[columns.index != 0].nunique() > 1
    return [name for column, name in names.items() if name in run.hyperparameters or varied[column]]


_ELSEWHERE = -0.13  # the place of trials that did not draw a value inside the range


@dataclass(frozen=True)
class _Axis:
    """Where trials lie on an axis that runs from 0 to 1, by their numbers, and what is written along it."""

    positions: "pd.Series[float]"
    ticks: dict[float, str]
    options: bool = False
    log: bool = False


def _axis(values: "pd.Series[Any]", about: Mapping[str, Any] | None) -> _Axis:
    """A hyperparameter's axis: options evenly spaced; numbers over the range, on its own scale.

    What lies outside the range, as the baseline may, has no place on it and stands beside it.
    """
    ends = dict(about["attributes"]) if about else {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    options = "choices" in ends or not numeric
    positions: pd.Series[float]
    if options:
        choices = list(ends.get("choices", [])) or sorted(values.dropna().unique(), key=analysis.in_order)
        choices = sorted(choices, key=analysis.in_order)
        places = {_key(choice): index / max(len(choices) - 1, 1) for index, choice in enumerate(choices)}
        positions = values.map(lambda value: places.get(_key(value), math.nan), na_action="ignore").astype("float64")
        ticks = {places[_key(choice)]: word(choice) for choice in choices}
        log = False
    else:
        low, high = float(ends.get("low", values.min())), float(ends.get("high", values.max()))
        log = bool(ends.get("log")) and low > 0
        numbers = values.astype("float64").where(lambda number: number.between(low, high))
        ticks = {0.0: word(low), 1.0: word(high)} if high > low else {0.0: word(low)}
        if log:
            numbers, low, high = numbers.map(math.log, na_action="ignore"), math.log(low), math.log(high)
        positions = (numbers - low) / ((high - low) or 1.0)
    missing = positions.isna()
    if missing.any():
        label = "not drawn" if values[missing].isna().all() else "outside" if values.notna().all() else "neither"
        positions, ticks = positions.fillna(_ELSEWHERE), {**ticks, _ELSEWHERE: label}
    return _Axis(positions, ticks, options, log)


def _key(value: Any) -> str:
    """Equal for equal choices; True is not 1 here."""
    return f"bool {value}" if isinstance(value, bool | np.bool_) else word(value)


def _metric_row(run: Run, table: pd.DataFrame) -> _Axis:
    values = table[run.metric.column]
    low, high = float(values.min()), float(values.max())
    positions = (values - low) / ((high - low) or 1.0)
    ticks = {0.0: run.metric.text(low), 1.0: run.metric.text(high)} if high > low else {0.0: run.metric.text(low)}
    return _Axis(positions, ticks)


def _fitting(ticks: Mapping[float, str]) -> dict[float, str]:
    """The ticks that have room on a narrow screen: all, or the first and the last."""
    inside = [place for place in ticks if place >= 0]
    if sum(len(tick) + 2 for tick in ticks.values()) <= 44 or len(inside) <= 2:
        return dict(ticks)
    return {place: tick for place, tick in ticks.items() if place < 0 or place in (min(inside), max(inside))}


def _placed(axis: _Axis, number: int) -> float:
    """The trial's place on the axis; among options moved a little, so that equal ones do not hide each other.

    Multiples of the golden ratio, modulo one, fill an interval evenly however many there are.
    """
    place = float(axis.positions[number])
    crowded = axis.options or place == _ELSEWHERE
    aside = 0.08 * (number * (5**0.5 - 1) / 2 % 1 - 0.5) if crowded else 0.0
    return place + aside


def _polylines(
    run: Run,
    table: pd.DataFrame,
    layout: tuple[Mapping[str, _Axis], Mapping[str, float]],
    numbers: "pd.Index[Any]",
) -> tuple[list[float | None], list[float | None], list[str]]:
    """Each trial's way through all rows, with a gap after it: x, y and what a pointer is told.

    Args:
        layout: each row's axis, and its y.
    """
    axes, rows = layout
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for number in map(int, numbers):
        reached = run.metric.text(table[run.metric.column][number])
        for name, axis in axes.items():
            is_value = name == run.metric.column
            value = "" if is_value else f"{plain(name)} {plain(run.drawn(name)[number])}, "
            x.append(round(_placed(axis, number), 4))
            y.append(rows[name])
            text.append(f"trial {number}: {value}{reached}")
        x.append(None)
        y.append(None)
        text.append("")
    return x, y, text
