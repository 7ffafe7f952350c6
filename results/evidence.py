"""How much of a study's number is luck, and what it cost: what finalists, audit, control and the tuned baseline say.

    run = results.load("runs/my-study")
    results.finalists(run), results.audited(run), results.control(run), results.attribution(run), results.budget(run)

`evidence` is all of it as metrics.json has it, and `sentences` as a person reads it.
"""

import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from results.analysis import incumbent, leaderboard
from results.budget_curve import budget_curve
from results.formatting import count, duration
from results.further_search import further_search
from results.metric import ACCURACY
from results.replicates import of_run
from results.run import Run
from results.significance import Z95

FEWEST_FOR_A_CURVE = 4


def finalists(run: Run) -> pd.DataFrame:
    """The trials that were trained again for the final epochs, from fresh seeds, on the study's split or on folds.

    The search's score is the best of many, so a part of it is luck; the confirmed one was drawn afresh. Their
    difference, the selection optimism, holds the longer training as well where the two differ in epochs.

    Returns:
        Index `trial` (int64), the best confirmed first, ties to the earlier trial. Columns `search_score`,
        `confirmed_score` (values of the run's metric on validation images; the second a mean over trainings),
        `standard_deviation` (over trainings, NaN with one), `optimism` (by how much the search's score is the better
        one), `trainings`, `seeds`, `folds` (1 on the study's own split), `search_epochs`, `epochs` (int64).
    """
    integers = ["trainings", "seeds", "folds", "search_epochs", "epochs"]
    epochs, column = _last_finalists(run), run.metric.column
    last = epochs[epochs["training_iteration"] == epochs["training_iteration"].max()]
    trainings = last.groupby("trial")
    table = pd.DataFrame(
        {
            "confirmed_score": trainings[column].mean(),
            "standard_deviation": trainings[column].std(),
            "trainings": trainings.size(),
            "seeds": trainings["seed"].nunique(),
            "folds": trainings["fold"].nunique().clip(lower=1),
        }
    )
    table["search_score"] = run.trials[column].reindex(table.index)
    table["search_epochs"] = run.trials["epochs"].reindex(table.index, fill_value=0)
    table["epochs"] = int(last["training_iteration"].max()) if len(last) else 0
    optimism = table["search_score"] - table["confirmed_score"]
    table["optimism"] = optimism if run.metric.maximize else -optimism
    table = table[["search_score", "confirmed_score", "standard_deviation", "optimism", *integers]]
    table = table.astype(dict.fromkeys(integers, "int64")).rename_axis("trial").sort_index()
    return table.sort_values("confirmed_score", ascending=not run.metric.maximize, kind="stable")


def _last_finalists(run: Run) -> pd.DataFrame:
    """The finalists' epochs on as many folds as the study was asked for last."""
    epochs, folds = run.finalist_epochs, run.study["arguments"].get("folds", 1)
    if folds == 1:
        return epochs[epochs["fold"].isna()]
    return epochs[epochs["fold"].str.endswith(f"/{folds}", na=False)]


def audited(run: Run) -> pd.DataFrame:
    """The stopped trials that were trained to their end after the search; no choice has seen this.

    Returns:
        Index `trial` (int64). Columns `stopped_at` (epochs, int64), `val_<metric>_there`, `val_<metric>_at_end`,
        `rank_at_end` (int64, from 1, among the completed trials and itself), `would_have_won` (bool).
    """
    epochs, column = run.audit_epochs, run.metric.column
    at_end = epochs[epochs["training_iteration"] == run.study["max_epochs"]].set_index("trial")[column]
    table = pd.DataFrame({f"{column}_at_end": at_end}).sort_index()
    table.insert(0, "stopped_at", run.trials["epochs"].reindex(table.index))
    table.insert(1, f"{column}_there", run.trials[column].reindex(table.index))
    completed = run.trials.loc[run.trials["status"] == "completed", column].dropna()
    is_better, ends = run.metric.is_better, table[f"{column}_at_end"]
    table["rank_at_end"] = [1 + sum(is_better(other, end) for other in completed) for end in ends]
    table["would_have_won"] = [all(is_better(end, other) for other in completed) for end in ends]
    return table.astype({"stopped_at": "int64", "rank_at_end": "int64", "would_have_won": "bool"}).rename_axis("trial")


def rung_correlation(run: Run) -> pd.DataFrame:
    """Do early rungs predict the end? Over whole trials and audited ones together.

    An audited trial stands for all that were stopped, so that it counts as many times as there are stopped trials to
    an audited one; without that, a correlation over survivors alone is too low.

    Returns:
        Index `rung` (epochs below max_epochs, ascending). Columns `trials` (int64), `spearman` (weighted Spearman's rho
        of the run's metric at the rung and at the end; NaN below 3 trials).
    """
    end = run.study["max_epochs"]
    whole = run.trials.index[run.trials["status"] == "completed"]
    own = run.epochs[run.epochs["number"].isin(whole)].pivot(
        index="number", columns="training_iteration", values=run.metric.column
    )
    more = run.audit_epochs.pivot(index="trial", columns="training_iteration", values=run.metric.column)
    stopped = run.trials["stop_reason"].str.startswith("rung", na=False).sum()
    table = pd.concat([own, more]).reindex(columns=range(1, end + 1)).dropna(subset=[end])
    weights = pd.Series([1.0] * len(own) + [stopped / len(more) if len(more) else 1.0] * len(more))
    weights.index = pd.Index([*own.index, *more.index])
    rows = []
    for rung in run.study["rungs"]:
        if rung < end:
            both = table[[rung, end]].dropna()
            rho = _weighted_spearman(both[rung], both[end], weights[both.index])
            rows.append({"rung": rung, "trials": len(both), "spearman": rho})
    found = pd.DataFrame(rows, columns=["rung", "trials", "spearman"])
    return found.astype({"rung": "int64", "trials": "int64", "spearman": "float64"}).set_index("rung")


def _weighted_spearman(one: "pd.Series[float]", other: "pd.Series[float]", weights: "pd.Series[float]") -> float:
    """Pearson's r of weighted mid-ranks (as R's wCorr, Bailey & Emad 2023); with equal weights it is Spearman's rho."""
    if len(one) < 3 or one.nunique() < 2 or other.nunique() < 2:
        return math.nan

    def ranks(values: "pd.Series[float]") -> "pd.Series[float]":
        of_value = weights.groupby(values).sum().sort_index()
        return values.map(of_value.cumsum() - of_value / 2)

    total = weights.sum()
    a, b = ranks(one), ranks(other)
    a, b = a - (weights * a).sum() / total, b - (weights * b).sum() / total
    return float((weights * a * b).sum() / math.sqrt((weights * a * a).sum() * (weights * b * b).sum()))


def control(run: Run) -> dict[str, Any] | None:
    """The search against random search in the same space, at the same number of epochs; None without a control.

    Returns:
        `epochs` (spent by each), `search`, `control` (the best value of the run's metric by then), `difference`
        (positive where the search is better), and `chance` (half width of the 95% interval of a difference that
        validation images alone make; None for metrics other than accuracy, which are no means over images).
    """
    if run.control is None or run.control.trials.empty or run.trials.empty:
        return None
    epochs = int(min(run.trials["epochs"].sum(), run.control.trials["epochs"].sum()))
    found = {"search": _best_within(run, epochs), "control": _best_within(run.control, epochs)}
    if any(math.isnan(value) for value in found.values()):
        return None
    n = run.study["data"]["validation"]
    variance = sum(value * (1 - value) / n for value in found.values())
    return {
        "epochs": epochs,
        **found,
        "difference": (found["search"] - found["control"]) * (1 if run.metric.maximize else -1),
        "chance": Z95 * math.sqrt(variance) if run.metric == ACCURACY else None,
    }


def _best_within(run: Run, epochs: int) -> float:
    """The best value of the run's metric that any trial had shown after `epochs` of all trials together."""
    path = incumbent(run)
    within = path[path["epochs_spent"] <= epochs]
    return float(within[run.metric.column].iloc[-1]) if len(within) else math.nan


def attribution(run: Run) -> dict[str, Any] | None:
    """How the gain on the test set splits; None without a tuned baseline that has met the test set.

    Returns:
        `tuning` (the published network's own lr and batch size, tuned, against the published ones) and `recipe` (the
        winner against that): `difference` (fraction), `difference_interval` (95%) and `verdict` each.
    """
    found: dict[str, Any] | None = (run.final or {}).get("attribution")
    return found


def budget(run: Run) -> pd.DataFrame:
    """What each part of the study cost, so that accuracies are compared at known cost.

    Returns:
        Index `part` (search, audit, control, tuned baseline, finalists, final, replicates; those that there were).
        Columns `trainings`, `epochs`, `images` (trained on, int64) and `seconds` (of training and validation, summed
        over trainings that may have run side by side).
    """
    small, large = run.study["data"]["train"], run.study["data"]["train"] + run.study["data"]["validation"]
    parts = {
        "search": (run.epochs, ["number"], small),
        "audit": (run.audit_epochs, ["trial"], small),
        "control": (None if run.control is None else run.control.epochs, ["number"], small),
        "tuned baseline": (None if run.tuned_baseline is None else run.tuned_baseline.epochs, ["number"], small),
        "finalists": (run.finalist_epochs, ["trial", "seed", "fold"], _images_of_folds(run, small, large)),
        "final": (run.final_epochs, ["role", "seed"], large),
    }
    rows = {
        part: {
            "trainings": len(epochs.drop_duplicates(key)),
            "epochs": len(epochs),
            "images": round(len(epochs) * images),
            "seconds": float(epochs["seconds"].sum()),
        }
        for part, (epochs, key, images) in parts.items()
        if epochs is not None and len(epochs)
    }
    if run.replicates:
        repeated = pd.concat([budget(each) for each in run.replicates])
        rows["replicates"] = {str(name): float(repeated[name].sum()) for name in repeated}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["trainings", "epochs", "images", "seconds"])
    dtypes = {"trainings": "int64", "epochs": "int64", "images": "int64", "seconds": "float64"}
    return table.astype(dtypes).rename_axis("part")


def _images_of_folds(run: Run, split: int, every: int) -> float:
    """Images that an epoch of a finalist trains on, on average: of K folds all but one, or the study's own split."""
    counts = run.finalist_epochs["fold"].str.extract(r"/(\d+)$")[0].dropna().astype("float64")
    folded = float((every * (counts - 1) / counts).sum())
    epochs = len(run.finalist_epochs)
    return (folded + split * (epochs - len(counts))) / epochs if epochs else split


def evidence(run: Run) -> dict[str, Any]:
    """All of this, JSON-ready, as metrics.json has it: only the keys for which the study did the work."""
    found: dict[str, Any] = {"budget": budget(run).reset_index().to_dict("records")}
    confirmed = finalists(run)
    if len(confirmed):
        found["finalists"] = _records(confirmed)
    audit = audited(run)
    if len(audit):
        found["audit"] = {"trials": _records(audit), "rungs": _records(rung_correlation(run))}
    beside = control(run)
    if beside is not None:
        found["control"] = beside
    searches = {"search": run} if run.control is None else {"search": run, "control": run.control}
    found["budget_curve"] = {name: _records(budget_curve(each)) for name, each in searches.items()}
    worth = further_search(run)
    if worth is not None:
        found["further_search"] = asdict(worth)
    repeated = of_run(run)
    if repeated is not None:
        parts = {name: _records(getattr(repeated, name)) for name in ("scores", "spread", "choices", "ranges")}
        found["replicates"] = parts
    found["sentences"] = sentences(run)
    return found


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON-ready rows: missing values are null."""
    plain = table.reset_index().astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(plain.notna(), None).to_dict("records")
    ]


def sentences(run: Run) -> list[str]:
    """What there is to say, one or two sentences for each kind of evidence."""
    said: list[str] = [*_on_lost_seeds(run), *(run.final or {}).get("notes", []), _on_missing_seeds(run)]
    said += [_on_finalists(run), _on_audit(run), _on_control(run), _on_attribution(run), _on_replicates(run)]
    said += [_on_calibration(run), _on_further_search(run), _on_budget_curve(run), _on_budget(run)]
    return [sentence for sentence in said if sentence]


def _on_lost_seeds(run: Run) -> list[str]:
    """The seeds that the comparison is without, as a training from them was not completed."""
    return [
        f"Without seed {lost['seed']}: the {lost['role'].replace('_', ' ')} {lost['status']} ({lost['reason']})."
        for lost in (run.final or {}).get("diverged", [])
    ]


def _on_missing_seeds(run: Run) -> str:
    """The command that adds the seeds which would settle the question, and nothing else."""
    needed = ((run.final or {}).get("seeds_needed") or {}).get("seeds")
    had = len((run.final or {}).get("winner", {}).get("seeds", []))
    if needed is None or needed <= had:
        return ""
    # A search that was cut short by time would go on with its trials.
    samples = f" --samples {len(run.trials)}" if len(run.trials) < run.study["samples"] else ""
    command = f"{run.resume_command} --final-seeds {needed}{samples}"
    return f"Missing seeds: the {needed - had} more of each side, and nothing else, are trained by `{command}`."


def _on_replicates(run: Run) -> str:
    repeated = of_run(run)
    return "" if repeated is None else repeated.sentence()


def _on_further_search(run: Run) -> str:
    worth = further_search(run)
    return "" if worth is None else f"Further search: {worth.in_words(run.metric)}."


def _on_finalists(run: Run) -> str:
    table = finalists(run)
    if table.empty:
        return ""
    first = table.iloc[0]
    seeds = "one fresh seed" if first["seeds"] == 1 else f"{first['seeds']:.0f} fresh seeds"
    folds = "" if first["folds"] == 1 else f", on each of {first['folds']:.0f} folds of the training images"
    ranked = leaderboard(run).index
    kept = "also the search's best" if table.index[0] == ranked[0] else f"not trial {ranked[0]}, the search's best"
    scores = ", ".join(
        f"trial {number} {run.metric.text(row['search_score'])} and {run.metric.text(row['confirmed_score'])} "
        f"({run.metric.difference(row['optimism'], sign=True)})"
        for number, row in table.iterrows()
    )
    # With other epochs, and so another schedule, the two scores differ by more than the luck of the search.
    why = (
        f" The confirmed ones had {first['epochs']:.0f} epochs, the search's {first['search_epochs']:.0f}, so this "
        "difference is no measure of the search's luck alone."
        if first["epochs"] != first["search_epochs"]
        else ""
    )
    return (
        f"Finalists: of the {len(table)} best, trained again from {seeds}{folds}, trial {table.index[0]} is the best, "
        f"{kept}. {run.metric.words.capitalize()} in the search and confirmed (selection optimism): {scores}.{why}"
    )


def _on_audit(run: Run) -> str:
    table = audited(run)
    if table.empty:
        return ""
    won = table.index[table["would_have_won"]].tolist()
    stopped = int(run.trials["stop_reason"].str.startswith("rung", na=False).sum())
    who = f"trial{'s' if len(won) > 1 else ''} {', '.join(map(str, won))}" if won else "none of them"
    rho = rung_correlation(run).dropna()
    rungs = ", ".join(
        f"{row['spearman']:.2f} after epoch {rung} ({row['trials']:.0f} trials)" for rung, row in rho.iterrows()
    )
    correlation = f" Rank correlation with the end, epoch {run.study['max_epochs']}: {rungs}." if rungs else ""
    return (
        f"Early stopping: {len(table)} of {stopped} stopped trials, drawn at random, were trained to the end; {who} "
        f"would have beaten the search's best.{correlation}"
    )


def _on_control(run: Run) -> str:
    found = control(run)
    if found is None:
        return ""
    metric = run.metric
    text = (
        f"Control: after {found['epochs']:,} epochs each, the search had found a {metric.words} of "
        f"{metric.text(found['search'])} and random search {metric.text(found['control'])}. "
    )
    if found["chance"] is not None:
        keep = "was better than" if found["difference"] > 0 else "was worse than"
        if abs(found["difference"]) <= found["chance"]:
            keep = "cannot be told from"
        text += (
            f"In this run the search {keep} random search: {metric.difference(found['difference'], sign=True)}, where "
            f"the choice of {run.study['data']['validation']:,} validation images alone explains up to "
            f"±{100 * found['chance']:.2f} (95%). "
        )
    return f"{text}One run of each: another --seed may give another result."


def _on_attribution(run: Run) -> str:
    found = attribution(run)
    if found is None:
        return ""
    steps = {
        name: f"{100 * step['difference']:+.2f} points (95% interval {100 * step['difference_interval'][0]:+.2f} to "
        f"{100 * step['difference_interval'][1]:+.2f}; {step['verdict']})"
        for name, step in found.items()
    }
    total = sum(step["difference"] for step in found.values())
    seeds = len((run.final or {})["winner"]["seeds"])
    return (
        f"Attribution: of the winner's {100 * total:+.2f} points on the test set, over {seeds} "
        f"seed{'' if seeds == 1 else 's'} each, tuning the published network's own learning rate and batch size gives "
        f"{steps['tuning']}; what the better recipe adds to that is {steps['recipe']}."
    )


def _on_calibration(run: Run) -> str:
    sides = {role: (run.final or {}).get(role, {}).get("calibration") for role in ("winner", "baseline")}
    said = [
        f"the {role}'s probabilities are off by {100 * found['expected_calibration_error']:.1f} points "
        f"(log loss {found['log_loss']:.3f})"
        for role, found in sides.items()
        if found
    ]
    return f"Calibration: {', '.join(said)}." if said else ""


def _on_budget_curve(run: Run) -> str:
    curves = {"search": budget_curve(run)}
    if run.control is not None:
        curves["control"] = budget_curve(run.control)
    said = [
        f"with half of the {name}'s {len(table)} trials the expected best is "
        f"{run.metric.text(table['expected_best'].iloc[len(table) // 2 - 1])}, with all of them "
        f"{run.metric.text(table['expected_best'].iloc[-1])}"
        for name, table in curves.items()
        if len(table) >= FEWEST_FOR_A_CURVE
    ]
    return f"Budget curve ({run.metric.words}): {'; '.join(said)}." if said else ""


def _large(number: float) -> str:
    """Such as "53,000" or "6.1 million"."""
    return f"{number / 1e6:,.1f} million" if number >= 1e6 else f"{number:,.0f}"


def _on_budget(run: Run) -> str:
    table = budget(run)
    if table.empty:
        return ""
    parts = ", ".join(f"{part} {row['epochs']:,.0f}" for part, row in table.iterrows())
    return (
        f"Cost: {count(int(table['epochs'].sum()), 'epoch')} over {_large(float(table['images'].sum()))} images, "
        f"{duration(float(table['seconds'].sum()))} summed over trainings ({parts} epochs)."
    )
