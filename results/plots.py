"""A run in pictures: each function takes a Run and gives a plotly figure, for a notebook, an export or the report.

    from results import load_run, plots
    plots.learning_curves(load_run("runs/my-study")).show()

All colours come from LIGHT; `on_dark` gives the same figure in the colours of DARK. Accuracy, a fraction in the
tables, is a percentage here.
"""

import copy
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import analysis
from results.tables import Run
from results.summary import word

TITLE_HEIGHT = 60  # pixels of every figure's top margin that its title and note take
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class NothingToPlot(ValueError):
    """The run lacks what a figure shows. The message says what, in a sentence for the reader."""


@dataclass(frozen=True)
class Palette:
    """One colour for each role, as "#rrggbb", no two alike; the report's style sheet uses the same ones."""

    surface: str  # behind everything
    ink: str  # titles and labels that carry the message
    muted: str  # axis labels, notes
    grid: str
    context: str  # trials that are there for comparison
    crowd: str  # trials that were stopped early, the many
    winner: str
    baseline: str
    diverged: str


# Blue against orange survives every common colour blindness. Text roles keep 4.5:1 on their surface (WCAG 2.2, AA).
LIGHT = Palette(
    surface="#ffffff",
    ink="#1c2430",
    muted="#5c6675",
    grid="#e8ebf0",
    context="#8d99ab",
    crowd="#c9d1dc",
    winner="#1f5fd0",
    baseline="#b85c00",
    diverged="#c4314b",
)
DARK = Palette(
    surface="#12161d",
    ink="#e7ebf1",
    muted="#9aa5b5",
    grid="#262d38",
    context="#6d7a8d",
    crowd="#3d4756",
    winner="#79a8ff",
    baseline="#f0a24f",
    diverged="#ff7d8f",
)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_STATUSES = {"running": "still running", "stopped": "stopped early", "completed": "completed"}
_STATUS_COLOURS = {"running": LIGHT.context, "stopped": LIGHT.crowd, "completed": LIGHT.context}
_ROLES = {
    "winner": ("winner", LIGHT.winner),
    "baseline": ("baseline", LIGHT.baseline),
    "recipe_under_test": ("recipe under test", LIGHT.winner),
}


def on_dark(figure: go.Figure) -> go.Figure:
    """The figure in the colours of DARK, on its surface."""
    return go.Figure(_exchanged(figure.to_dict(), dark_colours()))


def dark_colours() -> dict[str, str]:
    """What each colour of LIGHT becomes on a dark surface."""
    return dict(zip(asdict(LIGHT).values(), asdict(DARK).values(), strict=True))


def learning_curves(run: Run) -> go.Figure:
    """Validation accuracy of every trial after each epoch; rungs marked, winner and baseline standing out.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    epochs = run.epochs.dropna(subset="val_accuracy")
    if epochs.empty:
        raise NothingToPlot("No trial has finished an epoch.")
    named = _named_trials(run)
    figure = go.Figure()
    statuses = run.trials["status"].replace({"diverged": "stopped", "failed": "stopped"})
    for status, label in _STATUSES.items():
        numbers = [number for number in statuses.index[statuses == status] if number not in named]
        curves = epochs[epochs["number"].isin(numbers)]
        if len(curves):
            count = curves["number"].nunique()
            figure.add_trace(_curves(curves, f"{count} {label}", _STATUS_COLOURS[status], 1.2))
    for number, (name, colour) in named.items():
        curve = epochs[epochs["number"] == number]
        figure.add_trace(_curves(curve, name, colour, 3).update(showlegend=False))
    ends = [(float(epochs.loc[epochs["number"] == number, "val_accuracy"].iloc[-1]), number) for number in named]
    for (accuracy, number), shift in zip(
        ends, _apart([100 * end for end, _ in ends], 100 * _spread(epochs)), strict=True
    ):
        name, colour = named[number]
        last = int(epochs.loc[epochs["number"] == number, "training_iteration"].max())
        _label(figure, last, 100 * accuracy, f"<b>{name}</b><br>{accuracy:.2%}", colour, yshift=shift)
    longest = max(int(run.study["max_epochs"]), int(epochs["training_iteration"].max()))
    for place, rung in enumerate(run.study["rungs"]):
        figure.add_vline(rung, line={"color": LIGHT.grid, "width": 1.5, "dash": "dot"}, layer="below")
        figure.add_annotation(
            x=rung, y=1, yref="paper", yanchor="bottom", text=f"{rung}" if place else f"rung {rung}",
            showarrow=False,
            font={"color": LIGHT.muted, "size": 11},
        )  # fmt: skip
    figure.update_xaxes(title="epoch", range=[min(0.7, longest * 0.9), longest + 0.3], dtick=max(1, longest // 10))
    figure.update_yaxes(title="validation accuracy", ticksuffix="%")
    left_out = int(run.trials["epochs"].eq(0).sum())
    note = f"{_count(left_out, 'trial')} without a finished epoch not shown." if left_out else ""
    said = f"Each line is a trial; at a rung the weaker ones were stopped. {note}"
    return _finished(figure, run, "Learning curves", said, height=440, right=112)


def incumbent(run: Run, against: Literal["epochs", "time"] = "epochs") -> go.Figure:
    """The best validation accuracy so far, against the epochs trained or the wall time since the search began.

    Raises:
        NothingToPlot: no trial has finished an epoch.
    """
    epochs = run.epochs.dropna(subset="val_accuracy").sort_values("time", kind="stable")
    if epochs.empty:
        raise NothingToPlot("No trial has finished an epoch.")
    best = 100 * epochs["val_accuracy"].cummax()
    if against == "epochs":
        spent = pd.Series(range(1, len(epochs) + 1), epochs.index, dtype="float64")
        unit, form = "epochs trained, all trials together", "after %{x} epochs"
    else:
        spent = (epochs["time"] - run.trials["started"].min()) / 60
        unit, form = "minutes since the search began", "after %{x:.1f} minutes"
    rises = best.diff().fillna(1) > 0
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[*spent[rises], float(spent.iloc[-1])],
            y=[*best[rises], float(best.iloc[-1])],
            mode="lines",
            line={"color": LIGHT.winner, "width": 2.5, "shape": "hv"},
            hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
    )
    figure.add_trace(
        go.Scatter(
            x=spent[rises].tolist(),
            y=best[rises].tolist(),
            mode="markers",
            showlegend=False,
            customdata=epochs.loc[rises, ["number", "training_iteration"]].to_numpy().tolist(),
            marker={"color": LIGHT.winner, "size": 7},
            hovertemplate="trial %{customdata[0]}, epoch %{customdata[1]}: %{y:.2f}%<br>" + form + "<extra></extra>",
        )  # fmt: skip
    )
    last = epochs.loc[rises[rises].index[-1]]
    wording = f"<b>{best.iloc[-1]:.2f}%</b><br>trial {last['number']}"
    _label(figure, float(spent.iloc[-1]), float(best.iloc[-1]), wording, LIGHT.winner)
    figure.update_xaxes(title=unit, range=[0, 1.01 * float(spent.iloc[-1])])
    figure.update_yaxes(title="best validation accuracy so far", ticksuffix="%")
    title = "Best so far, by epochs" if against == "epochs" else "Best so far, by time"
    return _finished(
        figure, run, title, "The highest validation accuracy seen by any trial at any epoch.", height=380, right=84
    )


def parallel_coordinates(run: Run) -> go.Figure:
    """Each trial a line through its knobs' values to its validation accuracy; the best tenth coloured.

    Drawn as plain lines, not as plotly's parcoords: that one needs WebGL, cannot be printed, and hides its axes on a
    phone. `layout.meta.min_width` is the width in pixels below which the axes' labels would touch.

    Raises:
        NothingToPlot: no trial has finished an epoch, or the study varied nothing.
    """
    ranked = analysis.leaderboard(run.trials)
    knobs = [column for column in ranked.columns if column.startswith("config/") and ranked[column].notna().any()]
    if ranked.empty or not knobs:
        raise NothingToPlot("No trial has finished an epoch." if ranked.empty else "The study varied nothing.")
    axes = [
        (name.removeprefix("config/"), _axis(ranked[name], run.knobs.get(name.removeprefix("config/"))))
        for name in knobs
    ]
    accuracy = ranked["val_accuracy"]
    low, high = float(accuracy.min()), float(accuracy.max())
    axes.append(("accuracy", _Axis((accuracy - low) / ((high - low) or 1), {0.0: f"{low:.1%}", 1.0: f"{high:.1%}"})))
    leaders = max(1, math.ceil(len(ranked) / 10))
    figure = go.Figure()
    groups = [
        (ranked.index[leaders:], LIGHT.crowd, 1.0, 1.0, f"{len(ranked) - leaders} others"),
        (ranked.index[1:leaders], LIGHT.winner, 1.6, 0.4, f"the best tenth, {leaders}"),
        (ranked.index[:1], LIGHT.winner, 3.0, 1.0, f"the best, trial {ranked.index[0]}"),
    ]
    for numbers, colour, width, opacity, name in groups:
        if not len(numbers):
            continue
        x, y, text = [], [], []
        for number in numbers:
            for at, (knob, axis) in enumerate(axes):
                x.append(at)
                y.append(axis.positions[number] + (0.07 * _jitter(int(number)) if axis.options else 0))
                drawn = "" if knob == "accuracy" else f"{knob} {_plain(ranked.at[number, f'config/{knob}'])}, "
                text.append(f"trial {number}: {drawn}{accuracy[number]:.2%}")
            x, y, text = [*x, None], [*y, None], [*text, ""]
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                text=text,
                name=name,
                hoverinfo="text",
                mode="lines",
                line={"color": colour, "width": width},
                opacity=opacity,
            )  # fmt: skip
        )
    for at, (knob, axis) in enumerate(axes):
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, line={"color": LIGHT.crowd, "width": 1})
        figure.add_annotation(
            x=at, y=1, yref="paper", text=f"<b>{_plain(knob)}</b>", showarrow=False, yanchor="bottom", textangle=-30, xanchor="left",
            font={"size": 12, "color": LIGHT.ink}, xshift=-6, yshift=4,
        )  # fmt: skip
        for position, label in axis.ticks.items():
            figure.add_annotation(
                x=at, y=position, text=_plain(label), showarrow=False, xanchor="right", xshift=-3,
                font={"size": 10.5, "color": LIGHT.muted}, bgcolor=LIGHT.surface, borderpad=1,
            )  # fmt: skip
    lowest = min(min(axis.ticks) for _, axis in axes)
    figure.update_xaxes(visible=False, range=[-0.75, len(axes) - 0.9])
    figure.update_yaxes(visible=False, range=[lowest - 0.04, 1.05])
    figure.update_layout(legend_y=-0.04)
    figure.update_layout(meta={"min_width": 68 * len(axes)})
    said = "From each knob's value to the validation accuracy at the trial's last epoch, on the right."
    return _finished(figure, run, "Parallel coordinates", said, height=460, head=84, right=76, left=16)


def importance(run: Run) -> go.Figure:
    """How much of the differences between trials each knob explains, by two measures.

    Raises:
        NothingToPlot: fewer trials than the measures need.
    """
    measured = analysis.importance(run)
    figure = go.Figure()
    rows = measured.sort_values("fanova")
    for measure, name, symbol in (("fanova", "fANOVA", "circle"), ("ped_anova", "PED-ANOVA", "circle-open")):
        figure.add_trace(
            go.Scatter(
                x=(100 * rows[measure]).tolist(),
                y=[_plain(knob) for knob in rows.index],
                mode="markers",
                name=name,
                marker={
                    "color": LIGHT.winner,
                    "size": 11,
                    "symbol": symbol,
                    "line": {"width": 2, "color": LIGHT.winner},
                },
                hovertemplate="%{y}: %{x:.1f}%<extra>" + name + "</extra>",
            )  # fmt: skip
        )
    for knob, row in rows.iterrows():
        figure.add_shape(
            type="line", x0=0, x1=100 * row.max(), y0=_plain(knob), y1=_plain(knob), layer="below",
            line={"color": LIGHT.grid, "width": 2},
        )  # fmt: skip
    figure.update_xaxes(title="share of the explained differences", ticksuffix="%", rangemode="tozero")
    figure.update_yaxes(showgrid=False, tickfont={"color": LIGHT.ink, "size": 13})
    return _finished(figure, run, "Importance of each knob", "", height=170 + 26 * len(rows))


def effect(run: Run, knob: str) -> go.Figure:
    """One knob's values against validation accuracy: each trial a dot, each bin's mean a line.

    Raises:
        NothingToPlot: no finished trial has drawn the knob.
    """
    column = f"config/{knob}"
    ranked = analysis.leaderboard(run.trials)
    if column not in ranked or ranked[column].isna().all():
        raise NothingToPlot(f"No finished trial has drawn {knob}.")
    drawn = ranked.dropna(subset=column)
    axis = _axis(drawn[column], run.knobs.get(knob))
    figure = go.Figure()
    colours = [LIGHT.context] * len(drawn)
    symbols = ["circle" if status == "completed" else "circle-open" for status in drawn["status"]]
    sizes = [7] * len(drawn)
    if drawn.index[0] == ranked.index[0]:
        colours[0], sizes[0] = LIGHT.winner, 11
    figure.add_trace(
        go.Scatter(
            # The best trial lies on top of the others, so it is drawn last.
            x=(axis.positions + (0.09 * drawn.index.map(_jitter) if axis.options else 0)).tolist()[::-1],
            y=(100 * drawn["val_accuracy"]).tolist()[::-1],
            mode="markers",
            marker={
                "color": colours[::-1],
                "size": sizes[::-1],
                "symbol": symbols[::-1],
                "opacity": 1,
                "line": {"width": 1.2, "color": colours[::-1]},
            },
            text=[f"trial {number}<br>{_plain(knob)} {_plain(value)}" for number, value in drawn[column].items()][::-1],
            hovertemplate="%{text}: %{y:.2f}%<extra></extra>",
            showlegend=False,
        )  # fmt: skip
    )
    figure.update_xaxes(
        range=[-0.12, 1.12], tickvals=list(axis.ticks), ticktext=[_plain(tick) for tick in axis.ticks.values()]
    )
    accuracy = 100 * ranked["val_accuracy"]
    margin = 0.06 * float(accuracy.max() - accuracy.min())
    figure.update_yaxes(ticksuffix="%", range=[accuracy.min() - margin, accuracy.max() + margin], nticks=5)
    return _finished(figure, run, _plain(knob), "", height=200 + TITLE_HEIGHT, head=8, right=12, left=44, bottom=34)


def accuracies(run: Run) -> go.Figure:
    """Test accuracy of each side: every seed a dot, with one seed its 95% interval; the published number beside them.

    Raises:
        NothingToPlot: the final trainings have not been evaluated.
    """
    final = _final(run)
    figure = go.Figure()
    sides = [role for role in _ROLES if role in final]
    for row, role in enumerate(reversed(sides), 1):
        name, colour = _ROLES[role]
        found = [100 * float(each["accuracy"]) for each in final[role]["seeds"]]
        low, high = (100 * float(end) for end in final[role]["interval"])
        mean = float(np.mean(found))
        if len(found) == 1:
            ends = {"array": [high - mean], "arrayminus": [mean - low], "thickness": 2, "width": 7, "color": colour}
        else:
            ends = None
            low, high = min(found), max(found)
            figure.add_shape(
                type="line", x0=mean, x1=mean, y0=row - 0.22, y1=row + 0.22, line={"color": colour, "width": 3}
            )
        figure.add_trace(
            go.Scatter(
                x=found,
                y=[row] * len(found),
                mode="markers",
                name=name,
                error_x=ends,
                marker={"color": colour, "size": 11 if len(found) == 1 else 9},
                text=[f"{name}, seed {each['seed']}: {each['accuracy']:.2%}" for each in final[role]["seeds"]],
                hoverinfo="text",
                showlegend=False,
            )  # fmt: skip
        )
        wording = f"<b>{name}</b>  {mean:.2f}%" + (f", mean of {len(found)} seeds" if len(found) > 1 else "")
        figure.add_annotation(
            x=(low + high) / 2, y=row, yshift=20, text=wording, showarrow=False, font={"color": colour, "size": 13},
            bgcolor=LIGHT.surface, borderpad=1,
        )  # fmt: skip
    published = 100 * float(final["published_accuracy"])
    figure.add_vline(published, line={"color": LIGHT.muted, "width": 1, "dash": "dot"}, layer="below")
    figure.add_annotation(
        x=published, y=0, yref="paper", yanchor="bottom", text=f"published {published:.2f}%", showarrow=False,
        xanchor="left", xshift=4, font={"color": LIGHT.muted, "size": 11},
    )  # fmt: skip
    figure.update_xaxes(title="test accuracy", ticksuffix="%", showgrid=True)
    figure.update_yaxes(visible=False, range=[0.2, len(sides) + 0.7])
    n = int(final[sides[0]]["n"])
    bars = (
        "Bars are 95% intervals over" if len(final[sides[0]]["seeds"]) == 1 else "A dot is a seed, a bar their mean, on"
    )
    said = f"After {final['final_epochs']} epochs on all training images. {bars} {n:,} test images."
    return _finished(figure, run, "Test accuracy", said, height=150 + 70 * len(sides), left=16, right=16)


def confusion_matrix(run: Run, role: str = "winner") -> go.Figure:
    """Of each true class, the share of test images that `role` put in each class.

    Raises:
        NothingToPlot: there are no predictions of `role`.
    """
    predictions = _predictions(run, role)
    names = list(class_names(run).values())
    counts = pd.crosstab(predictions["label"], predictions[role]).reindex(
        index=range(10), columns=range(10), fill_value=0
    )
    share = 100 * counts.div(counts.sum(1), axis=0).fillna(0).to_numpy()
    right = np.eye(10, dtype=bool)
    figure = go.Figure()
    for cells, colour, name in ((right, LIGHT.winner, "right"), (~right, LIGHT.diverged, "wrong")):
        shown = np.where(cells, share, np.nan)
        written = np.where(cells & (share >= 0.5), np.char.mod("%.0f", share), "")
        figure.add_trace(
            go.Heatmap(
                z=shown,
                x=names,
                y=names,
                name=name,
                zmin=0,
                zmax=max(float(np.nanmax(shown)), 1.0),
                showscale=False,
                xgap=1,
                ygap=1,
                hoverongaps=False,
                text=written,
                colorscale=[[0, LIGHT.surface], [1, colour]],
                texttemplate="%{text}",
                textfont={"size": 12},
                hovertemplate="%{y}, taken for %{x}: %{z:.1f}%<extra></extra>",
            )  # fmt: skip
        )
    figure.update_xaxes(
        title="predicted class", side="top", tickangle=-45, showline=False, ticks="", constrain="domain"
    )
    figure.update_yaxes(title="true class", autorange="reversed", showgrid=False, ticks="", constrain="domain")
    said = f"Of the test images of each row's class, the percentage that the {role.replace('_', ' ')} put in each column's."
    return _finished(figure, run, "Confusion matrix", said, height=520)


def per_class(run: Run) -> go.Figure:
    """Test accuracy of the winner and the baseline in each class, the largest gain at the top.

    Raises:
        NothingToPlot: there are no predictions of both.
    """
    predictions = _predictions(run, "winner", "baseline")
    names = class_names(run)
    correct = pd.DataFrame({role: predictions[role] == predictions["label"] for role in ("winner", "baseline")})
    rates = 100 * correct.groupby(predictions["label"]).mean()
    rates = rates.loc[(rates["winner"] - rates["baseline"]).sort_values().index]
    figure = go.Figure()
    for label, row in rates.iterrows():
        figure.add_shape(
            type="line", x0=row["baseline"], x1=row["winner"], y0=names[label], y1=names[label], layer="below",
            line={"color": LIGHT.crowd, "width": 3},
        )  # fmt: skip
    for role, colour in (("baseline", LIGHT.baseline), ("winner", LIGHT.winner)):
        figure.add_trace(
            go.Scatter(
                x=rates[role].tolist(),
                y=[names[label] for label in rates.index],
                mode="markers",
                name=role,
                marker={"color": colour, "size": 11},
                hovertemplate="%{y}: %{x:.1f}%<extra>" + role + "</extra>",
                showlegend=False,
            )  # fmt: skip
        )
        top = rates.iloc[-1]
        figure.add_annotation(
            x=top[role], y=names[top.name], yshift=14, text=f"<b>{role}</b>", showarrow=False, yanchor="bottom",
            xanchor="left" if top[role] >= top["winner"] and top[role] >= top["baseline"] else "right",
            xshift=-8 if top[role] == top[["winner", "baseline"]].max() else 8, font={"color": colour, "size": 12},
        )  # fmt: skip
    for label, row in rates.iterrows():
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=8, y=names[label], text=f"{row['winner'] - row['baseline']:+.1f}",
            showarrow=False, font={"color": LIGHT.muted, "size": 12},
        )  # fmt: skip
    figure.update_xaxes(title="test accuracy", ticksuffix="%", showgrid=True)
    figure.update_yaxes(showgrid=False, tickfont={"color": LIGHT.ink, "size": 13})
    said = "From baseline to winner; the gain in points on the right, the largest at the top."
    return _finished(figure, run, "Accuracy by class", said, height=520, head=40, right=60)


def final_losses(run: Run) -> go.Figure:
    """Training loss of each final training after each epoch; a baseline run's published losses marked.

    Raises:
        NothingToPlot: no final training has finished an epoch.
    """
    epochs = run.final_epochs
    if epochs.empty:
        raise NothingToPlot("No final training has finished an epoch.")
    figure = go.Figure()
    ends = []
    for role, of_role in epochs.groupby("role", sort=False):
        name, colour = _ROLES[str(role)]
        for seed, curve in of_role.groupby("seed"):
            figure.add_trace(
                go.Scatter(
                    x=curve["training_iteration"].tolist(),
                    y=curve["train_loss"].tolist(),
                    mode="lines",
                    name=name,
                    line={"color": colour, "width": 2.2},
                    opacity=1 if of_role["seed"].nunique() == 1 else 0.7,
                    hovertemplate=f"{name}, seed {seed}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
                    showlegend=False,
                )  # fmt: skip
            )
        last = of_role[of_role["training_iteration"] == of_role["training_iteration"].max()]
        ends.append((int(last["training_iteration"].iloc[0]), float(last["train_loss"].mean()), name, colour))
    shifts = _apart([loss for _, loss, _, _ in ends], float(epochs["train_loss"].max() - epochs["train_loss"].min()))
    for (epoch, loss, name, colour), shift in zip(ends, shifts, strict=True):
        _label(
            figure, epoch, loss, f"<b>{name.replace(' under ', '<br>under ')}</b><br>{loss:.3f}", colour, yshift=shift
        )
    published = {int(epoch): loss for epoch, loss in (run.final or {}).get("published_train_loss", {}).items()}
    if published and run.study["kind"] == "baseline":
        figure.add_trace(
            go.Scatter(
                x=list(published),
                y=list(published.values()),
                mode="markers+text",
                showlegend=False,
                text=[f"published {loss:.3f}" for loss in published.values()],
                textposition="top right",
                textfont={"color": LIGHT.baseline, "size": 12},
                hoverinfo="text",
                marker={
                    "color": LIGHT.surface,
                    "size": 11,
                    "symbol": "diamond",
                    "line": {"color": LIGHT.baseline, "width": 2.5},
                },
            )  # fmt: skip
        )
    figure.update_xaxes(title="epoch", range=[0, 1.01 * int(epochs["training_iteration"].max())])
    figure.update_yaxes(title="training loss (nats)")
    seeds = epochs["seed"].nunique()
    said = f"Mean over each epoch, on all training images, {_count(seeds, 'seed')}."
    if epochs["role"].nunique() > 1:
        said += " Recipes with other label smoothing, dropout or augmentation have other losses for the same skill."
    return _finished(figure, run, "Final trainings", said, height=360, right=112)


def class_names(run: Run) -> dict[int, str]:
    """The classes' names by label; the synthetic ones have none but their numbers."""
    return {label: f"class {label}" if run.synthetic else name for label, name in enumerate(CLASSES)}


def _predictions(run: Run, *roles: str) -> pd.DataFrame:
    if run.predictions is None or not set(roles) <= set(run.predictions.columns):
        raise NothingToPlot("There are no predictions on the test set yet.")
    return run.predictions


def _final(run: Run) -> Mapping[str, Any]:
    if run.final is None:
        raise NothingToPlot("The final trainings have not been evaluated yet.")
    return run.final


def _named_trials(run: Run) -> dict[int, tuple[str, str]]:
    """Name and colour of the trials that stand out: the baseline's and the winner's."""
    named = {number: ("baseline", LIGHT.baseline) for number in run.trials.index if _is_baseline(run, int(number))}
    ranked = analysis.leaderboard(run.trials)
    if len(ranked):
        named[int(ranked.index[0])] = (f"trial {ranked.index[0]}", LIGHT.winner)
    shown = set(run.epochs["number"])
    return {int(number): name for number, name in named.items() if number in shown}


def _is_baseline(run: Run, number: int) -> bool:
    return all(value == run.base[name] for name, value in run.config(number).items())


def _curves(epochs: pd.DataFrame, name: str, colour: str, width: float) -> go.Scatter:
    """Many curves as one trace, with gaps between them and a dot at the end of each."""
    x: list[float | None] = []
    y: list[float | None] = []
    sizes: list[float] = []
    numbers: list[int | None] = []
    for number, curve in epochs.groupby("number"):
        x += [*curve["training_iteration"].tolist(), None]
        y += [*(100 * curve["val_accuracy"]).round(3).tolist(), None]
        sizes += [0.0] * (len(curve) - 1) + [2 * width + 2, 0.0]
        numbers += [number] * (len(curve) + 1)  # type: ignore[list-item]
    return go.Scatter(
        x=x, y=y, name=name, mode="lines+markers", customdata=numbers, connectgaps=False,
        line={"color": colour, "width": width}, marker={"color": colour, "size": sizes, "opacity": 1, "line": {"width": 0}},
        hovertemplate="trial %{customdata}<br>epoch %{x}: %{y:.2f}%<extra></extra>",
    )  # fmt: skip


@dataclass(frozen=True)
class _Axis:
    """Where trials lie on an axis that runs from 0 to 1, and what is written along it."""

    positions: "pd.Series[float]"
    ticks: dict[float, str]
    options: bool = False


_NOT_DRAWN = -0.13


def _axis(values: "pd.Series[Any]", knob: Mapping[str, Any] | None) -> _Axis:
    """A knob's axis: options evenly spaced, numbers from the knob's lower end to its upper, logarithmic where it is."""
    attributes = dict(knob["attributes"]) if knob else {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if "choices" in attributes or not numeric:
        options = list(attributes.get("choices", sorted(values.dropna().unique(), key=str)))
        at = {option: index / max(len(options) - 1, 1) for index, option in enumerate(options)}
        positions, ticks = values.map(at).astype("float64"), {place: word(option) for option, place in at.items()}
        discrete = True
    else:
        discrete = False
        numbers = values.astype("float64")
        low, high = float(attributes.get("low", numbers.min())), float(attributes.get("high", numbers.max()))
        ends, places = np.array([low, high]), numbers
        if attributes.get("log"):
            ends, places = np.log(ends), np.log(numbers)
        positions = (places - ends[0]) / ((ends[1] - ends[0]) or 1.0)
        ticks = {0.0: word(low), 1.0: word(high)}
    if values.isna().any():
        positions, ticks = positions.fillna(_NOT_DRAWN), {**ticks, _NOT_DRAWN: "not drawn"}
    return _Axis(positions, ticks, discrete)


def _jitter(number: int) -> float:
    """A fixed place in [-0.5, 0.5) for each trial, so that those with the same option do not hide each other.

    Multiples of the golden ratio, modulo one, fill the interval evenly however many there are.
    """
    return number * (5**0.5 - 1) / 2 % 1 - 0.5


def _spread(epochs: pd.DataFrame) -> float:
    return float(epochs["val_accuracy"].max() - epochs["val_accuracy"].min())


def _apart(values: Sequence[float], span: float) -> list[float]:
    """Pixels by which to shift the labels at `values` so that two that lie close do not cover each other."""
    if len(values) != 2 or abs(values[0] - values[1]) > 0.12 * span:
        return [0.0] * len(values)
    return [18.0, -18.0] if values[0] > values[1] else [-18.0, 18.0]


def _label(figure: go.Figure, x: float, y: float, text: str, colour: str, yshift: float = 0.0) -> None:
    """Words at the right of a line's end, in its colour."""
    figure.add_annotation(
        x=x, y=y, text=text, showarrow=False, xanchor="left", align="left", xshift=9, yshift=yshift,
        font={"color": colour, "size": 12},
    )  # fmt: skip


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(value: Any) -> str:
    """A value for plotly, whose texts are a dialect of HTML."""
    return html.escape(word(value), quote=False)


def _finished(
    figure: go.Figure,
    run: Run,
    title: str,
    subtitle: str,
    *,
    height: int,
    head: int = 24,
    right: int = 24,
    left: int = 64,
    bottom: int = 56,
) -> go.Figure:
    """The figure in the common style, saying so where the images are synthetic."""
    said = f"{'Synthetic images. ' if run.synthetic else ''}{subtitle}".strip()
    axis = {
        "gridcolor": LIGHT.grid,
        "linecolor": LIGHT.grid,
        "zeroline": False,
        "tickfont": {"color": LIGHT.muted, "size": 12},
        "title": {"font": {"color": LIGHT.muted, "size": 12}, "standoff": 8},
        "automargin": True,
        "fixedrange": False,
    }
    template = go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": LIGHT.ink},
            "paper_bgcolor": LIGHT.surface,
            "plot_bgcolor": LIGHT.surface,
            "xaxis": {**axis, "showgrid": False, "ticks": "outside", "tickcolor": LIGHT.grid, "showline": True},
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": LIGHT.surface,
                "bordercolor": LIGHT.crowd,
                "font": {"family": FONT, "color": LIGHT.ink, "size": 12},
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": -0.2,
                "yanchor": "top",
                "font": {"color": LIGHT.muted, "size": 12},
                "itemwidth": 30,
            },
        }
    )
    return figure.update_layout(
        template=template,
        title={
            "text": title,
            "x": 0,
            "xref": "paper",
            "font": {"size": 17, "color": LIGHT.ink},
            "subtitle": {"text": said, "font": {"size": 12.5, "color": LIGHT.muted}},
        },
        height=height,
        margin={"l": left, "r": right, "t": TITLE_HEIGHT + head, "b": bottom},
        hovermode="closest",
    )


def _exchanged(part: Any, colours: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _exchanged(value, colours) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_exchanged(value, colours) for value in part]
    return colours.get(part, part) if isinstance(part, str) else copy.copy(part)
