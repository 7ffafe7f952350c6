"""The search in pictures: every trial's curve, the best value so far, and what a trial's value cost."""

from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from results import analysis
from results.formatting import count, recipe_in_words
from results.palette import LIGHT
from results.plots.figure import (
    NothingToPlot,
    about_sample,
    empty_figure,
    hover_value,
    label_ends,
    measured_epochs,
    metric_axis,
    plain,
    sampled,
)
from results.run import Run


def learning_curves(run: Run) -> go.Figure:
    """The run's metric of every trial after each epoch; rungs marked, winner and baseline standing out.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    epochs, metric = measured_epochs(run), run.metric
    named = _named_trials(run)
    measured = pd.Index(epochs["number"].unique())
    figure = empty_figure(
        run, "Learning curves", _about_curves(run) + about_sample(len(measured)), height=440, right=112
    )
    others = run.trials.loc[run.trials.index.isin(measured) & ~run.trials.index.isin(list(named)), "status"]
    ranked = analysis.leaderboard(run).index.intersection(measured, sort=False)
    drawn = sampled(ranked.append(measured.difference(ranked)))
    for label, colour, statuses in (
        ("stopped early", LIGHT.crowd, ["stopped", "diverged", "failed"]),
        ("not finished", LIGHT.context, ["running", "paused", "interrupted"]),
        ("completed", LIGHT.context, ["completed"]),
    ):
        numbers = others.index[others.isin(statuses)]
        curves = epochs[epochs["number"].isin(numbers.intersection(drawn))]
        if len(curves):
            _draw_curves(run, figure, curves, (f"{len(numbers)} {label}", colour, 1.2))
    ends = []
    for number, (name, colour) in named.items():
        curve = epochs[epochs["number"] == number]
        if curve.empty:
            continue
        _draw_curves(run, figure, curve, (name, colour, 3))
        figure.data[-1].showlegend = False
        last = curve.iloc[-1]
        text = f"<b>{name}</b><br>{metric.text(last[metric.column])}"
        ends.append((float(last["training_iteration"]), metric.scale * float(last[metric.column]), text, colour))
    values = epochs[metric.column]
    label_ends(figure, ends, metric.scale * float(values.max() - values.min()))
    for rung in run.study["rungs"]:
        figure.add_vline(rung, line={"color": LIGHT.grid, "width": 1.5, "dash": "dot"}, layer="below")
    longest = max(int(run.study["max_epochs"]), int(epochs["training_iteration"].max()))
    figure.update_xaxes(title="epoch", range=[min(0.7, 0.9 * longest), longest + 0.3], dtick=max(1, longest // 10))
    metric_axis(figure, metric, values, metric.words)
    return figure.update_layout(showlegend=True)


def _about_curves(run: Run) -> str:
    unseen = int(run.trials["epochs"].eq(0).sum())
    rungs = ", ".join(map(str, run.study["rungs"]))
    note = "Each line is a trial."
    if rungs:
        note += f" Dotted lines are rungs, after epoch {rungs}: only the better trials continue there."
    return f"{note} {count(unseen, 'trial')} without a finished epoch not shown." if unseen else note


def _named_trials(run: Run) -> dict[int, tuple[str, str]]:
    """Name and colour of the trials that stand out, of those with a finished epoch: the baseline's and the winner's."""
    base = "baseline" if run.base == run.baseline else "start"
    named = {int(number): (base, LIGHT.baseline) for number in run.trials.index[_is_base(run)]}
    ranked = analysis.leaderboard(run)
    if len(ranked):
        named[int(ranked.index[0])] = (f"trial {ranked.index[0]}", LIGHT.winner)
    return {number: name for number, name in named.items() if run.trials["epochs"][number] > 0}


def _is_base(run: Run) -> NDArray[np.bool_]:
    """Of each trial, whether every field that the space set has the value of the base recipe."""
    is_base = np.ones(len(run.trials), bool)
    for name, column in run.trials.filter(regex="^config/").items():
        value = run.base.get(str(name).removeprefix("config/"))
        same = column == value if value is not None else pd.Series(False, column.index)
        is_base &= (column.isna() | same.fillna(False)).to_numpy(bool)
    return is_base


def _draw_curves(run: Run, figure: go.Figure, epochs: pd.DataFrame, style: tuple[str, str, float]) -> None:
    """Many trials' curves as one trace, with gaps between them and a dot at the end of each.

    Args:
        style: name, colour and width of the lines.
    """
    name, colour, width = style
    x: list[float | None] = []
    y: list[float | None] = []
    sizes: list[float] = []
    numbers: list[Any] = []
    for number, curve in epochs.groupby("number"):
        x += [*curve["training_iteration"].tolist(), None]
        y += [*(run.metric.scale * curve[run.metric.column]).round(5).tolist(), None]
        sizes += [*[0] * (len(curve) - 1), 2 * width + 2, 0]
        numbers += [number] * (len(curve) + 1)
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": width},
        marker={"color": colour, "size": sizes, "opacity": 1, "line": {"width": 0}},
        customdata=numbers,
        hovertemplate=f"trial %{{customdata}}<br>epoch %{{x}}: {hover_value(run.metric)}<extra></extra>",
    )


def incumbent(run: Run, against: Literal["epochs", "time"] = "epochs") -> go.Figure:
    """The best value so far, against the epochs trained or the wall time since the search began.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    measured_epochs(run)
    metric, path = run.metric, analysis.incumbent(run)
    best = metric.scale * path[metric.column]
    if against == "epochs":
        spent = path["epochs_spent"].astype("float64")
        title, unit, form = "Best so far, by epochs", "epochs trained, all trials together", "after %{x} epochs"
    else:
        spent = path["seconds"] / 60
        title, unit, form = "Best so far, by time", "minutes since the search began", "after %{x:.1f} minutes"
    rises, value = best.ne(best.shift()), hover_value(metric)
    end, last = float(spent.iloc[-1]), float(best.iloc[-1])
    better = "highest" if metric.maximize else "lowest"
    note = f"The {better} {metric.words} of any trial at any epoch."
    figure = empty_figure(run, title, note, height=380, right=84)
    figure.add_scatter(
        x=[*spent[rises], end],
        y=[*best[rises], last],
        mode="lines",
        line={"color": LIGHT.winner, "width": 2.5, "shape": "hv"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=spent[rises].tolist(),
        y=best[rises].tolist(),
        mode="markers",
        marker={"color": LIGHT.winner, "size": 7},
        customdata=path.loc[rises, ["number", "training_iteration"]].to_numpy().tolist(),
        hovertemplate=f"trial %{{customdata[0]}}, epoch %{{customdata[1]}}: {value}<br>{form}<extra></extra>",
    )
    text = f"<b>{metric.text(path[metric.column].iloc[-1])}</b><br>trial {path['number'].iloc[-1]}"
    label_ends(figure, [(end, last, text, LIGHT.winner)], 0.0)
    figure.update_xaxes(title=unit, range=[0, 1.01 * end])
    metric_axis(figure, metric, path[metric.column], f"best {metric.words} so far")
    return figure


# What a trial may cost: column of the trials table -> (axis title, how it is written).
COSTS = {
    "seconds_per_epoch": ("seconds for an epoch", "{:.3g} s an epoch"),
    "parameters": ("parameters of the network", "{:,.0f} parameters"),
    "multiply_adds": ("multiply-adds for an image", "{:,.0f} multiply-adds"),
    "file_bytes": ("bytes of the weights file", "{:,.0f} bytes"),
}


def accuracy_against_cost(run: Run, cost: str = "seconds_per_epoch") -> go.Figure:
    """The run's metric at the epoch that most trials reached against what a trial costs; the Pareto front marked.

    A trial is on the front if no other is both better and cheaper. Times are those of the machine and of what ran
    beside; the other costs are there only where the run recorded them.

    Args:
        cost: one of `COSTS`.

    Raises:
        NothingToPlot: no trial can be ranked, or the run has not recorded that cost.
        KeyError: `cost` is not in `COSTS`.
    """
    title, form = COSTS[cost]
    epoch = analysis.common_epoch(run)
    table = analysis.leaderboard(run.at_epoch(epoch))
    table = table[table["epochs"] == epoch]
    if table.empty:
        raise NothingToPlot("No trial can be ranked.")
    table = table.assign(seconds_per_epoch=run.trials["time_total_s"] / run.trials["epochs"].clip(lower=1))
    if cost not in table or table[cost].isna().all():
        raise NothingToPlot(f"The run has not recorded the {title}.")
    table = table.dropna(subset=cost)
    if cost != "seconds_per_epoch" and table[cost].nunique() == 1 < len(table):
        raise NothingToPlot(f"All these trials cost the same: {form.format(table[cost].iloc[0])}.")
    metric = run.metric
    note = (
        f"{count(len(table), 'trial')} after {count(epoch, 'epoch')}. On the line are those that no other trial beats "
        f"in both.{about_sample(len(table))}"
    )
    figure = empty_figure(run, "Accuracy against cost" if metric.is_share else "Value against cost", note, height=400)
    front = pareto_front(table[cost], table[metric.column], maximize=metric.maximize)
    for numbers, colour, size, mode in (
        (sampled(table.index).difference(front), LIGHT.context, 7, "markers"),
        (front, LIGHT.winner, 10, "lines+markers"),
    ):
        rows = table.loc[numbers]
        figure.add_scatter(
            x=rows[cost].tolist(),
            y=(metric.scale * rows[metric.column]).tolist(),
            mode=mode,
            line={"color": colour, "width": 2, "shape": "hv"},
            marker={"color": colour, "size": size},
            text=[f"trial {number}: {plain(recipe_in_words(run.config(int(number)))[:120])}" for number in numbers],
            customdata=[form.format(value) for value in rows[cost]],
            hovertemplate=f"%{{text}}<br>{hover_value(metric)}, %{{customdata}}<extra></extra>",
        )
    figure.update_xaxes(title=title, showgrid=True, rangemode="tozero")
    metric_axis(figure, metric, table[metric.column], f"{metric.words} after {count(epoch, 'epoch')}")
    return figure


def pareto_front(costs: "pd.Series[float]", values: "pd.Series[float]", *, maximize: bool) -> "pd.Index[Any]":
    """The labels of those that no other is better than at the same or less cost, the cheapest first."""
    order = pd.DataFrame({"cost": costs, "value": values if maximize else -values})
    order = order.sort_values(["cost", "value"], ascending=[True, False], kind="stable")
    before = order["value"].cummax().shift()
    return order.index[before.isna() | (order["value"] > before)]
