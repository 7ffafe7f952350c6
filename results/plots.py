"""A run in pictures: each function takes a Run and gives a plotly figure, for a notebook, an export or the report.

    from results import load_run, plots
    plots.learning_curves(load_run("runs/my-study")).show()

Figures are drawn in light colours; `palette.on_dark` gives the same one for a dark page. Accuracy, a fraction in the
tables, is a percentage here.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import analysis
from results.palette import LIGHT, TEMPLATE, TITLE_HEIGHT
from results.run import Run
from results.words import word

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COLOURS = {
    "winner": LIGHT.winner,
    "tuned_baseline": LIGHT.muted,
    "baseline": LIGHT.baseline,
    "recipe_under_test": LIGHT.winner,
}


class NothingToPlot(ValueError):
    """The run lacks what a figure shows. The message says what, in a sentence for the reader."""


def learning_curves(run: Run) -> go.Figure:
    """Validation accuracy of every trial after each epoch; rungs marked, winner and baseline standing out.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    epochs = _measured(run)
    named = _named_trials(run)
    figure = _figure(run, "Learning curves", _about_curves(run), height=440, right=112)
    others = run.trials.loc[~run.trials.index.isin(list(named)), "status"]
    for label, colour, statuses in (
        ("stopped early", LIGHT.crowd, ["stopped", "diverged", "failed"]),
        ("still running", LIGHT.context, ["running"]),
        ("completed", LIGHT.context, ["completed"]),
    ):
        curves = epochs[epochs["number"].isin(others.index[others.isin(statuses)])]
        if len(curves):
            _draw_curves(figure, curves, f"{curves['number'].nunique()} {label}", colour, 1.2)
    ends = []
    for number, (name, colour) in named.items():
        curve = epochs[epochs["number"] == number]
        _draw_curves(figure, curve, name, colour, 3)
        figure.data[-1].showlegend = False
        last = curve.iloc[-1]
        text = f"<b>{name}</b><br>{last['val_accuracy']:.2%}"
        ends.append((float(last["training_iteration"]), 100 * float(last["val_accuracy"]), text, colour))
    _label_ends(figure, ends, 100 * float(epochs["val_accuracy"].max() - epochs["val_accuracy"].min()))
    for place, rung in enumerate(run.study["rungs"]):
        figure.add_vline(rung, line={"color": LIGHT.grid, "width": 1.5, "dash": "dot"}, layer="below")
        figure.add_annotation(
            x=rung,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=str(rung) if place else f"rung {rung}",  # on a phone the word has room once
            showarrow=False,
            font={"color": LIGHT.muted, "size": 11},
        )
    longest = max(int(run.study["max_epochs"]), int(epochs["training_iteration"].max()))
    figure.update_xaxes(title="epoch", range=[min(0.7, 0.9 * longest), longest + 0.3], dtick=max(1, longest // 10))
    _percentages(figure, epochs["val_accuracy"], "validation accuracy")
    return figure.update_layout(showlegend=True)


def incumbent(run: Run, against: Literal["epochs", "time"] = "epochs") -> go.Figure:
    """The best validation accuracy so far, against the epochs trained or the wall time since the search began.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    epochs = _measured(run).sort_values("time", kind="stable", ignore_index=True)
    best = 100 * epochs["val_accuracy"].cummax()
    if against == "epochs":
        spent = pd.Series(epochs.index + 1.0)
        title, unit, form = "Best so far, by epochs", "epochs trained, all trials together", "after %{x} epochs"
    else:
        spent = (epochs["time"] - run.trials["started"].min()) / 60
        title, unit, form = "Best so far, by time", "minutes since the search began", "after %{x:.1f} minutes"
    rises = best.diff().fillna(1) > 0
    end, highest = float(spent.iloc[-1]), float(best.iloc[-1])
    note = "The highest validation accuracy seen of any trial at any epoch."
    figure = _figure(run, title, note, height=380, right=84)
    figure.add_scatter(
        x=[*spent[rises], end],
        y=[*best[rises], highest],
        mode="lines",
        line={"color": LIGHT.winner, "width": 2.5, "shape": "hv"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=spent[rises].tolist(),
        y=best[rises].tolist(),
        mode="markers",
        marker={"color": LIGHT.winner, "size": 7},
        customdata=epochs.loc[rises, ["number", "training_iteration"]].to_numpy().tolist(),
        hovertemplate="trial %{customdata[0]}, epoch %{customdata[1]}: %{y:.2f}%<br>" + form + "<extra></extra>",
    )
    number = epochs["number"][rises[rises].index[-1]]
    _label_ends(figure, [(end, highest, f"<b>{highest:.2f}%</b><br>trial {number}", LIGHT.winner)], 0.0)
    figure.update_xaxes(title=unit, range=[0, 1.01 * end])
    _percentages(figure, best / 100, "best validation accuracy so far")
    return figure


def parallel_coordinates(run: Run) -> go.Figure:
    """Each trial a line through its hyperparameters' values to its validation accuracy; the best tenth coloured.

    Drawn with plain lines, not as plotly's parcoords: that needs WebGL, does not print, and hides its axes on a phone.
    `layout.meta.min_width` is the width in pixels below which the axes' labels would touch.

    Raises:
        NothingToPlot: no trial has finished an epoch, or the study varied nothing.
    """
    ranked = _ranked(run)
    axes = {
        hyperparameter: _axis(ranked[f"config/{hyperparameter}"], run.hyperparameters.get(hyperparameter))
        for hyperparameter in _drawn_hyperparameters(ranked)
    }
    if not axes:
        raise NothingToPlot("The study varied nothing.")
    accuracy = ranked["val_accuracy"]
    low, high = float(accuracy.min()), float(accuracy.max())
    axes["accuracy"] = _Axis((accuracy - low) / ((high - low) or 1), {0.0: f"{low:.1%}", 1.0: f"{high:.1%}"})
    note = "From each hyperparameter's value to the validation accuracy at the trial's last epoch, on the right."
    figure = _figure(run, "Parallel coordinates", note, height=460, head=84, right=76, left=16)
    leaders = math.ceil(len(ranked) / 10)
    for numbers, width, colour, opacity, name in (
        (ranked.index[leaders:], 1.0, LIGHT.crowd, 1.0, f"{len(ranked) - leaders} others"),
        (ranked.index[1:leaders], 1.6, LIGHT.winner, 0.4, f"{leaders - 1} more of the best tenth"),
        (ranked.index[:1], 3.0, LIGHT.winner, 1.0, f"the best, trial {ranked.index[0]}"),
    ):
        if len(numbers):
            x, y, text = _polylines(ranked, axes, numbers)
            line = {"color": colour, "width": width}
            figure.add_scatter(
                x=x, y=y, text=text, name=name, hoverinfo="text", mode="lines", line=line, opacity=opacity
            )
    for at, (hyperparameter, axis) in enumerate(axes.items()):
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, line={"color": LIGHT.crowd, "width": 1})
        figure.add_annotation(
            x=at,
            y=1,
            yref="paper",
            text=f"<b>{_plain(hyperparameter)}</b>",
            showarrow=False,
            textangle=-30,
            xanchor="left",
            yanchor="bottom",
            xshift=-6,
            yshift=4,
            font={"size": 12, "color": LIGHT.ink},
        )
        for position, tick in axis.ticks.items():
            figure.add_annotation(
                x=at,
                y=position,
                text=_plain(tick),
                showarrow=False,
                xanchor="right",
                xshift=-3,
                font={"size": 10.5, "color": LIGHT.muted},
                bgcolor=LIGHT.surface,
                borderpad=1,
            )
    lowest = min(min(axis.ticks) for axis in axes.values())
    figure.update_xaxes(visible=False, range=[-0.75, len(axes) - 0.9])
    figure.update_yaxes(visible=False, range=[lowest - 0.04, 1.05])
    return figure.update_layout(showlegend=True, legend_y=-0.04, meta={"min_width": 68 * len(axes)})


def importance(run: Run) -> go.Figure:
    """How much of the differences between trials each hyperparameter explains, by two measures.

    Raises:
        NothingToPlot: there are fewer trials than the measures need.
    """
    compared = analysis.comparable(run)
    try:
        measured = analysis.importance(compared)
    except ValueError as reason:
        raise NothingToPlot(f"Importance: {reason}.") from reason
    rows, trials = measured.sort_values("fanova"), measured.attrs["trials"]
    length, asked = compared.study["max_epochs"], run.study["max_epochs"]
    when = "that were not stopped early" if length == asked else f"that had {length} of {asked} epochs, at that moment"
    note = f"Over the {_count(trials, 'trial')} {when}, by two measures."
    if measured.attrs["warning"]:
        note += f" Too few for {_count(len(rows), 'hyperparameter')}: mostly noise."
    figure = _figure(run, "Importance of each hyperparameter", note, height=200 + 26 * len(rows))
    names = [_plain(hyperparameter) for hyperparameter in rows.index]
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
    """One hyperparameter's values against validation accuracy: each trial a dot, filled where it was not stopped early.

    Raises:
        NothingToPlot: no finished trial has drawn the hyperparameter.
    """
    ranked = _ranked(run)
    if hyperparameter not in _drawn_hyperparameters(ranked):
        raise NothingToPlot(f"No finished trial has drawn {hyperparameter}.")
    # The best trial lies on top of the others, so it is drawn last.
    drawn = ranked.dropna(subset=f"config/{hyperparameter}").iloc[::-1]
    axis = _axis(drawn[f"config/{hyperparameter}"], run.hyperparameters.get(hyperparameter))
    is_best = drawn.index == ranked.index[0]
    colours = np.where(is_best, LIGHT.winner, LIGHT.context).tolist()
    figure = _figure(run, _plain(hyperparameter), "", height=200 + TITLE_HEIGHT, head=8, right=12, left=44, bottom=34)
    figure.add_scatter(
        x=[_placed(axis, int(number)) for number in drawn.index],
        y=(100 * drawn["val_accuracy"]).tolist(),
        mode="markers",
        marker={
            "color": colours,
            "size": np.where(is_best, 11, 7).tolist(),
            "symbol": np.where(drawn["status"] == "completed", "circle", "circle-open").tolist(),
            "opacity": 1,
            "line": {"width": 1.2, "color": colours},
        },
        text=[
            f"trial {number}<br>{_plain(hyperparameter)} {_plain(value)}"
            for number, value in drawn[f"config/{hyperparameter}"].items()
        ],
        hovertemplate="%{text}: %{y:.2f}%<extra></extra>",
    )
    ticks = [_plain(tick) for tick in axis.ticks.values()]
    figure.update_xaxes(range=[-0.12, 1.12], tickvals=list(axis.ticks), ticktext=ticks)
    _percentages(figure, ranked["val_accuracy"])
    return figure.update_yaxes(nticks=5)


def accuracies(run: Run) -> go.Figure:
    """Test accuracy of each side: every seed a dot, or one with its 95% interval; the published number beside them.

    Raises:
        NothingToPlot: the final trainings have not been evaluated.
    """
    if run.final is None:
        raise NothingToPlot("The final trainings have not been evaluated yet.")
    sides = {role: run.final[role] for role in COLOURS if role in run.final}
    several = max(len(side["seeds"]) for side in sides.values()) > 1
    n = next(iter(sides.values()))["n"]
    dots = "A dot is a seed, a bar their mean, on" if several else "Bars are 95% intervals over"
    note = f"After {run.final['final_epochs']} epochs on all training images. {dots} {n:,} test images."
    figure = _figure(run, "Test accuracy", note, height=150 + 70 * len(sides), left=16, right=16)
    for row, (role, side) in enumerate(reversed(sides.items()), 1):
        name, colour = role.replace("_", " "), COLOURS[role]
        accuracies = [float(each["accuracy"]) for each in side["seeds"]]
        found = [100 * accuracy for accuracy in accuracies]
        of_all = sum(accuracies) / len(accuracies)
        mean = 100 * of_all
        low, high = (min(found), max(found)) if several else (100 * float(end) for end in side["interval"])
        bar = {"array": [high - mean], "arrayminus": [mean - low], "thickness": 2, "width": 7, "color": colour}
        figure.add_scatter(
            x=found,
            y=[row] * len(found),
            mode="markers",
            marker={"color": colour, "size": 9 if several else 11},
            error_x=None if several else bar,
            text=[f"{name}, seed {each['seed']}: {each['accuracy']:.2%}" for each in side["seeds"]],
            hoverinfo="text",
        )
        if several:
            line = {"color": colour, "width": 3}
            figure.add_shape(type="line", x0=mean, x1=mean, y0=row - 0.22, y1=row + 0.22, line=line)
        figure.add_annotation(
            x=(low + high) / 2,
            y=row,
            yshift=24 if several else 20,
            text=f"<b>{name}</b>  {of_all:.2%}" + (f", mean of {len(found)} seeds" if several else ""),
            showarrow=False,
            font={"color": colour, "size": 13},
            bgcolor=LIGHT.surface,
            borderpad=1,
        )
    published = 100 * float(run.final["published_accuracy"])
    figure.add_vline(published, line={"color": LIGHT.muted, "width": 1, "dash": "dot"}, layer="below")
    figure.add_annotation(
        x=published,
        y=0,
        yref="paper",
        text=f"published {published:.2f}%",
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        xshift=4,
        font={"color": LIGHT.muted, "size": 11},
    )
    figure.update_xaxes(title="test accuracy", ticksuffix="%", showgrid=True)
    figure.update_yaxes(visible=False, range=[0.2, len(sides) + 0.7])
    return figure


def confusion_matrix(run: Run, role: str = "winner") -> go.Figure:
    """Of each true class, the percentage of its test images that `role` put in each class.

    Raises:
        NothingToPlot: there are no predictions of `role`.
    """
    predictions = _predictions(run, role)
    names = class_names(run)
    counts = pd.crosstab(predictions["label"], predictions[role])
    counts = counts.reindex(index=range(len(names)), columns=range(len(names)), fill_value=0)
    share = 100 * counts.div(counts.sum(axis=1), axis=0).fillna(0).to_numpy()
    written = np.where(share.round() > 0, np.char.mod("%.0f", share), "")
    note = f"Of each row's test images, the percentage that the {role.replace('_', ' ')} put in each column's class."
    figure = _figure(run, "Confusion matrix", note, height=520, head=100, left=100)
    diagonal = np.eye(len(names), dtype=bool)
    for cells, colour in ((diagonal, LIGHT.winner), (~diagonal, LIGHT.wrong)):
        figure.add_heatmap(
            z=np.where(cells, share, np.nan),
            x=names,
            y=names,
            zmin=0,
            zmax=max(float(share[cells].max()), 1.0),
            colorscale=[[0, LIGHT.surface], [1, colour]],
            showscale=False,
            xgap=1,
            ygap=1,
            text=np.where(cells, written, ""),
            texttemplate="%{text}",
            textfont={"size": 12},
            hoverongaps=False,
            hovertemplate="%{y}, taken for %{x}: %{z:.1f}%<extra></extra>",
        )
    figure.update_xaxes(title="predicted class", side="top", tickangle=-45, showline=False, ticks="")
    figure.update_yaxes(title="true class", autorange="reversed", showgrid=False, ticks="", automargin=False)
    return figure


def per_class(run: Run) -> go.Figure:
    """Test accuracy of the winner and the baseline in each class, the largest gain at the top.

    Raises:
        NothingToPlot: there are no predictions of both.
    """
    predictions = _predictions(run, "winner", "baseline")
    correct = pd.DataFrame({role: predictions[role] == predictions["label"] for role in ("baseline", "winner")})
    rates = 100 * correct.groupby(predictions["label"]).mean()
    rates.index = pd.Index(class_names(run))[rates.index]
    gains = (rates["winner"] - rates["baseline"]).sort_values()
    rates = rates.loc[gains.index]
    note = "From baseline to winner; the gain in points on the right, the largest at the top."
    figure = _figure(run, "Accuracy by class", note, height=520, head=40, right=60)
    for name, baseline, winner in rates.itertuples():
        line = {"color": LIGHT.crowd, "width": 3}
        figure.add_shape(type="line", x0=baseline, x1=winner, y0=name, y1=name, layer="below", line=line)
        figure.add_annotation(
            x=1,
            xref="paper",
            y=name,
            text=f"{winner - baseline:+.1f}",
            showarrow=False,
            xanchor="left",
            xshift=8,
            font={"color": LIGHT.muted, "size": 12},
        )
    top = rates.iloc[-1]
    for role in rates.columns:
        figure.add_scatter(
            x=rates[role].tolist(),
            y=rates.index.tolist(),
            mode="markers",
            marker={"color": COLOURS[role], "size": 11},
            hovertemplate="%{y}: %{x:.1f}%<extra>" + role + "</extra>",
        )
        figure.add_annotation(
            x=top[role],
            y=rates.index[-1],
            text=f"<b>{role}</b>",
            showarrow=False,
            # The two words stand back to back, so that they do not meet over a small gain.
            xanchor="left" if (role == "winner") == (gains.iloc[-1] >= 0) else "right",
            yanchor="bottom",
            yshift=8,
            font={"color": COLOURS[role], "size": 12},
        )
    figure.update_xaxes(title="test accuracy", ticksuffix="%", showgrid=True)
    figure.update_yaxes(showgrid=False, tickfont={"color": LIGHT.ink, "size": 13})
    return figure


def final_losses(run: Run) -> go.Figure:
    """Training loss of each final training after each epoch; in a baseline run the published losses are marked.

    Raises:
        NothingToPlot: no final training has finished an epoch.
    """
    epochs = run.final_epochs
    if epochs.empty:
        raise NothingToPlot("No final training has finished an epoch.")
    note = f"Mean over each epoch, on all training images, {_count(epochs['seed'].nunique(), 'seed')}."
    if epochs["role"].nunique() > 1:
        note += " Label smoothing, dropout and augmentation raise it, so compare each side with itself only."
    figure = _figure(run, "Final trainings", note, height=360, right=112)
    ends = []
    for role, of_role in epochs.groupby("role", sort=False):
        name, colour = str(role).replace("_", " "), COLOURS[str(role)]
        for seed, curve in of_role.groupby("seed"):
            figure.add_scatter(
                x=curve["training_iteration"].tolist(),
                y=curve["train_loss"].tolist(),
                mode="lines",
                line={"color": colour, "width": 2.2},
                opacity=1 if of_role["seed"].nunique() == 1 else 0.6,
                hovertemplate=f"{name}, seed {seed}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        last = of_role[of_role["training_iteration"] == of_role["training_iteration"].max()]
        loss = float(last["train_loss"].mean())
        text = f"<b>{name.replace(' under ', '<br>under ')}</b><br>{loss:.3f}"
        ends.append((float(last["training_iteration"].iloc[0]), loss, text, colour))
    _label_ends(figure, ends, float(epochs["train_loss"].max() - epochs["train_loss"].min()))
    published = (run.final or {}).get("published_train_loss", {}) if run.study["kind"] == "baseline" else {}
    if published:
        figure.add_scatter(
            x=[int(epoch) for epoch in published],
            y=list(published.values()),
            mode="markers+text",
            marker={
                "color": LIGHT.surface,
                "size": 11,
                "symbol": "diamond",
                "line": {"color": LIGHT.baseline, "width": 2.5},
            },
            text=[f"published {loss:.3f}" for loss in published.values()],
            textposition=[*["top right"] * (len(published) - 1), "bottom left"],
            textfont={"color": LIGHT.baseline, "size": 12},
            hoverinfo="text",
            cliponaxis=False,
        )
    figure.update_xaxes(title="epoch", range=[0, 1.02 * int(epochs["training_iteration"].max())])
    figure.update_yaxes(title="training loss (nats)")
    return figure


def class_names(run: Run) -> list[str]:
    """The classes' names by label; the synthetic ones have only their numbers."""
    return [f"class {label}" if run.synthetic else name for label, name in enumerate(CLASSES)]


def _figure(
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


def _measured(run: Run) -> pd.DataFrame:
    epochs = run.epochs.dropna(subset="val_accuracy")
    if epochs.empty:
        raise NothingToPlot("No trial has finished an epoch.")
    return epochs


def _ranked(run: Run) -> pd.DataFrame:
    ranked = analysis.leaderboard(run)
    if ranked.empty:
        raise NothingToPlot("No trial can be ranked.")
    return ranked


def _predictions(run: Run, *roles: str) -> pd.DataFrame:
    if run.predictions is None or not set(roles) <= set(run.predictions.columns):
        raise NothingToPlot("There are no predictions on the test set yet.")
    return run.predictions


def _drawn_hyperparameters(trials: pd.DataFrame) -> list[str]:
    columns = trials.filter(regex="^config/").dropna(axis=1, how="all").columns
    return [name.removeprefix("config/") for name in columns]


def _named_trials(run: Run) -> dict[int, tuple[str, str]]:
    """Name and colour of the trials that stand out, of those with a finished epoch: the baseline's and the winner's."""
    named = {}
    for number in map(int, run.trials.index):
        if all(value == run.base.get(field) for field, value in run.config(number).items()):
            named[number] = ("baseline" if run.base == run.baseline else "start", LIGHT.baseline)
    ranked = analysis.leaderboard(run)
    if len(ranked):
        named[int(ranked.index[0])] = (f"trial {ranked.index[0]}", LIGHT.winner)
    return {number: name for number, name in named.items() if run.trials["epochs"][number] > 0}


def _about_curves(run: Run) -> str:
    unseen = int(run.trials["epochs"].eq(0).sum())
    note = "Each line is a trial; at a rung the weaker ones were stopped."
    return f"{note} {_count(unseen, 'trial')} without a finished epoch not shown." if unseen else note


def _draw_curves(figure: go.Figure, epochs: pd.DataFrame, name: str, colour: str, width: float) -> None:
    """Many trials' curves as one trace, with gaps between them and a dot at the end of each."""
    x: list[float | None] = []
    y: list[float | None] = []
    sizes: list[float] = []
    numbers: list[Any] = []
    for number, curve in epochs.groupby("number"):
        x += [*curve["training_iteration"].tolist(), None]
        y += [*(100 * curve["val_accuracy"]).round(3).tolist(), None]
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
        hovertemplate="trial %{customdata}<br>epoch %{x}: %{y:.2f}%<extra></extra>",
    )


def _percentages(figure: go.Figure, fractions: "pd.Series[float]", title: str = "") -> None:
    """Fits the y axis to `fractions`, and to no less than two points, so that its ticks stay readable."""
    low, high = 100 * float(fractions.min()), 100 * float(fractions.max())
    margin = max(0.05 * (high - low), 1)
    figure.update_yaxes(title=title, ticksuffix="%", range=[low - margin, high + margin])


def _label_ends(figure: go.Figure, ends: Sequence[tuple[float, float, str, str]], span: float) -> None:
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


_NOT_DRAWN = -0.13


@dataclass(frozen=True)
class _Axis:
    """Where trials lie on an axis that runs from 0 to 1, by their numbers, and what is written along it."""

    positions: "pd.Series[float]"
    ticks: dict[float, str]
    options: bool = False


def _axis(values: "pd.Series[Any]", hyperparameter: Mapping[str, Any] | None) -> _Axis:
    """A hyperparameter's axis: options evenly spaced; numbers over the hyperparameter's range, on its own scale."""
    attributes = dict(hyperparameter["attributes"]) if hyperparameter else {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    options = "choices" in attributes or not numeric
    positions: pd.Series[float]
    if options:
        choices = list(attributes.get("choices", sorted(values.dropna().unique(), key=str)))
        places = {choice: index / max(len(choices) - 1, 1) for index, choice in enumerate(choices)}
        positions = values.map(places).astype("float64")
        ticks = {place: word(choice) for choice, place in places.items()}
    else:
        numbers = values.astype("float64")
        low, high = float(attributes.get("low", numbers.min())), float(attributes.get("high", numbers.max()))
        ticks = {0.0: word(low), 1.0: word(high)}
        if attributes.get("log"):
            numbers, low, high = numbers.map(math.log, na_action="ignore"), math.log(low), math.log(high)
        positions = (numbers - low) / ((high - low) or 1.0)
    if values.isna().any():
        positions, ticks = positions.fillna(_NOT_DRAWN), {**ticks, _NOT_DRAWN: "not drawn"}
    return _Axis(positions, ticks, options)


def _placed(axis: _Axis, number: int) -> float:
    """The trial's place on the axis; among options moved a little, so that equal ones do not hide each other.

    Multiples of the golden ratio, modulo one, fill an interval evenly however many there are.
    """
    aside = 0.08 * (number * (5**0.5 - 1) / 2 % 1 - 0.5) if axis.options else 0.0
    return float(axis.positions[number]) + aside


def _polylines(
    ranked: pd.DataFrame, axes: Mapping[str, _Axis], numbers: "pd.Index[Any]"
) -> tuple[list[int | None], list[float | None], list[str]]:
    """Each trial's way through all axes, with a gap after it: x, y and what a pointer is told."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for number in map(int, numbers):
        accuracy = f"{ranked['val_accuracy'][number]:.2%}"
        for at, (hyperparameter, axis) in enumerate(axes.items()):
            value = (
                ""
                if hyperparameter == "accuracy"
                else f"{_plain(hyperparameter)} {_plain(ranked[f'config/{hyperparameter}'][number])}, "
            )
            x.append(at)
            y.append(round(_placed(axis, number), 4))
            text.append(f"trial {number}: {value}{accuracy}")
        x.append(None)
        y.append(None)
        text.append("")
    return x, y, text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(value: Any) -> str:
    """A value as plain text for plotly, whose texts are a dialect of HTML."""
    return html.escape(word(value), quote=False)
