"""The final trainings in pictures: test accuracy, losses, classes, and what a network's confidence is worth."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import analysis
from results.formatting import count
from results.palette import LIGHT
from results.plots.figure import (
    COLOURS,
    NothingToPlot,
    class_names,
    empty_figure,
    label_ends,
    plain,
    predictions_of,
)
from results.run import Run


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
    note = f"After {count(run.final['final_epochs'], 'epoch')} on all training images. {dots} {n:,} test images."
    figure = empty_figure(run, "Test accuracy", note, height=150 + 70 * len(sides), left=16, right=16)
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
    if run.final.get("published_accuracy") is not None:
        _mark_published(figure, 100 * float(run.final["published_accuracy"]))
    figure.update_xaxes(title="test accuracy", ticksuffix="%", showgrid=True)
    figure.update_yaxes(visible=False, range=[0.2, len(sides) + 0.7])
    return figure


def _mark_published(figure: go.Figure, published: float) -> None:
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


def final_losses(run: Run) -> go.Figure:
    """Training loss of each final training after each epoch; in a baseline run the published losses are marked.

    Raises:
        NothingToPlot: no final training has finished an epoch.
    """
    epochs = run.final_epochs
    if epochs.empty:
        raise NothingToPlot("No final training has finished an epoch.")
    note = f"Mean over each epoch, on all training images, {count(epochs['seed'].nunique(), 'seed')}."
    if epochs["role"].nunique() > 1:
        note += " Label smoothing, dropout and augmentation raise it, so compare each side with itself only."
    figure = empty_figure(run, "Final trainings", note, height=360, right=112)
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
    label_ends(figure, ends, float(epochs["train_loss"].max() - epochs["train_loss"].min()))
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


def confusion_matrix(run: Run, role: str = "winner") -> go.Figure:
    """Of each true class, the percentage of its test images that `role` put in each class.

    Raises:
        NothingToPlot: there are no predictions of `role`.
    """
    predictions = predictions_of(run, role)
    names = [plain(name) for name in class_names(run)]
    counts = analysis.confusion(predictions, role).reindex(range(len(names)), fill_value=0)
    counts = counts.reindex(columns=range(len(names)), fill_value=0)
    share = 100 * counts.div(counts.sum(axis=1), axis=0).fillna(0).to_numpy()
    written = np.where(share.round() > 0, np.char.mod("%.0f", share), "")
    note = f"Of each row's test images, the percentage that the {role.replace('_', ' ')} put in each column's class."
    height = 260 + 26 * max(len(names), 10) if len(names) <= 30 else 900
    figure = empty_figure(run, "Confusion matrix", note, height=height, head=100, left=100)
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
            texttemplate="%{text}" if len(names) <= 30 else None,
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
    predictions = predictions_of(run, "winner", "baseline")
    correct = pd.DataFrame({role: predictions[role] == predictions["label"] for role in ("baseline", "winner")})
    rates = 100 * correct.groupby(predictions["label"]).mean()
    rates.index = pd.Index([plain(name) for name in class_names(run)])[rates.index]
    gains = (rates["winner"] - rates["baseline"]).sort_values()
    rates = rates.loc[gains.index]
    note = "From baseline to winner; the gain in points on the right, the largest at the top."
    figure = empty_figure(run, "Accuracy by class", note, height=200 + 32 * len(rates), head=40, right=60)
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


BINS = 15  # of equal width, as in Guo et al. 2017


def reliability(predictions: pd.DataFrame, role: str) -> pd.DataFrame:
    """How often the predictions of one confidence are right (a reliability diagram, Guo et al. 2017).

    Args:
        predictions: final/predictions.csv.
        role: whose: winner, baseline, tuned_baseline or recipe_under_test.

    Returns:
        RangeIndex, one row per bin of confidence that has images, ascending. Columns `confidence` (mean probability of
        the class predicted), `accuracy` (fraction that is right), `images` (int64). `attrs["error"]` is the expected
        calibration error: the mean of |accuracy - confidence| over the images.
    """
    confidence = predictions[f"{role}_confidence"].clip(0, 1)
    right = (predictions[role] == predictions["label"]).astype("float64")
    bins = np.minimum((confidence * BINS).astype("int64"), BINS - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right, "images": 1}).groupby(bins)
    found = table.agg({"confidence": "mean", "accuracy": "mean", "images": "sum"}).reset_index(drop=True)
    gaps = (found["accuracy"] - found["confidence"]).abs()
    found.attrs["error"] = float((gaps * found["images"]).sum() / found["images"].sum())
    return found


def calibration(run: Run) -> go.Figure:
    """Of the test images to which a network gave one confidence, how many it got right; on the diagonal they agree.

    Raises:
        NothingToPlot: there are no predictions with their confidence.
    """
    predictions = predictions_of(run)
    roles = [role for role in COLOURS if role in predictions and f"{role}_confidence" in predictions]
    if not roles:
        raise NothingToPlot("There are no predictions with their confidence yet.")
    note = (
        "Below the diagonal a network is too sure of itself. A dot is a bin of 1/15 of confidence, its size the number "
        "of test images; first seed."
    )
    figure = empty_figure(run, "Calibration", note, height=420, left=56)
    line = {"color": LIGHT.muted, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, y0=0, x1=100, y1=100, line=line, layer="below")
    for role in reversed(roles):
        table = reliability(predictions, role)
        name = f"{role.replace('_', ' ')}, expected calibration error {100 * table.attrs['error']:.1f} points"
        share = table["images"] / table["images"].sum()
        figure.add_scatter(
            x=(100 * table["confidence"]).tolist(),
            y=(100 * table["accuracy"]).tolist(),
            name=name,
            mode="lines+markers",
            line={"color": COLOURS[role], "width": 1.5},
            marker={"color": COLOURS[role], "size": (5 + 22 * share**0.5).tolist(), "opacity": 0.8},
            customdata=table["images"].tolist(),
            hovertemplate="confidence %{x:.1f}%: %{y:.1f}% right, %{customdata:,} images<extra></extra>",
        )
    figure.update_xaxes(title="confidence (probability of the predicted class)", ticksuffix="%", range=[0, 103])
    figure.update_yaxes(title="predictions that are right", ticksuffix="%", range=[0, 103])
    return figure.update_layout(showlegend=True)
