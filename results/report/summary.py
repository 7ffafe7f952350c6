"""The head of the page: verdict, notices, facts, and the winner's fields beside the baseline's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results import analysis
from results.formatting import count, duration, mean_accuracy, used, word
from results.published import against_publication
from results.report.data import Table
from results.run import Run
from results.show import state

ROLES = ("winner", "tuned_baseline", "baseline", "recipe_under_test")
_NOT_COMPARED = ("seed", "epochs")  # of a Recipe: they belong to one training, not to what is compared


@dataclass(frozen=True)
class Headline:
    kind: str
    headline: str
    detail: str


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    note: str
    role: str = ""


def role(run: Run) -> str:
    """The side of the final that the run is about."""
    return "recipe_under_test" if run.study["kind"] == "baseline" else "winner"


def verdict(run: Run) -> Headline:
    final = run.final
    if final is not None and "sentence" in final:
        headline, colon, detail = str(final["sentence"]).partition(": ")
        # "No evidence that one is better: the two trained models cannot be told apart: 70% against ..."
        if colon and not any(letter.isdigit() for letter in detail.partition(": ")[0]):
            middle, _, detail = detail.partition(": ")
            headline = f"{headline}: {middle}"
        detail = detail[:1].upper() + detail[1:]
        return Headline(str(final["verdict"]).replace(" ", "-"), headline.rstrip(".") + ".", detail)
    if final is not None:
        return _measured(final)
    ranked = analysis.leaderboard(run)
    if ranked.empty:
        headline = "Not evaluated yet." if run.study["kind"] == "baseline" else "No verdict yet."
        return Headline("none", headline, _state(run))
    best = ranked.iloc[0]
    value = run.metric.text(best[run.metric.column])
    return Headline(
        "none",
        "No verdict yet.",
        f"{_state(run)} Best so far: trial {ranked.index[0]}, {value} {run.metric.words} after "
        f"{count(int(best['epochs']), 'epoch')}.",
    )


def _measured(final: Mapping[str, Any]) -> Headline:
    side = final["recipe_under_test"]
    mean, seeds = mean_accuracy(side), len(side["seeds"])
    published = final.get("published_accuracy")
    beside = "" if published is None else f", {100 * (mean - published):+.2f} points from the published {published:.2%}"
    of_seeds = "one seed" if seeds == 1 else f"the mean of {seeds} seeds"
    return Headline(
        "measured",
        f"{mean:.2%} on the test set{beside}.",
        f"After {count(final['final_epochs'], 'epoch')}, {of_seeds}, on {count(side['n'], 'test image')}.",
    )


def _state(run: Run) -> str:
    if run.status == "finished":
        ended = "The run has finished, but its final trainings have not been evaluated."
    else:
        ended = state(run).removeprefix("No verdict yet: ")
        ended = ended[:1].upper() + ended[1:]
    ranked = len(analysis.leaderboard(run)) or run.study["kind"] == "baseline"
    return ended if ranked else f"{ended} No trial can be ranked."


def notices(run: Run) -> list[str]:
    found = [f"Left out, as damaged: {line}." for line in run.dropped]
    if run.final is not None and run.status not in ("finished", "running"):
        found.insert(0, _state(run))
    return found


def facts(run: Run) -> list[Fact]:
    final = run.final or {}
    found = [_side(name, final[name]) for name in ROLES if final.get(name)]
    if "difference" in final:
        low, high = final["difference_interval"]
        note = f"points, 95% interval {100 * low:+.2f} to {100 * high:+.2f}"
        found.append(Fact("Difference", f"{100 * final['difference']:+.2f}", note))
    if len(run.trials):
        counts = run.trials["status"].value_counts()
        found.append(Fact("Trials", f"{len(run.trials)}", ", ".join(f"{n} {status}" for status, n in counts.items())))
        of_all = f"early stopping saved {analysis.epochs_saved(run):.0%} of {len(run.trials) * run.study['max_epochs']}"
        note = of_all if run.status == "finished" else "so far"
        found.append(Fact("Epochs searched", f"{run.trials['epochs'].sum()}", note))
    seconds: Mapping[str, float] = run.study["seconds"]
    if seconds:
        parts = ", ".join(f"{part.replace('_', ' ')} {duration(spent)}" for part, spent in seconds.items())
        found.append(Fact("Wall time", duration(sum(seconds.values())), parts))
    return found


def _side(name: str, side: Mapping[str, Any]) -> Fact:
    found = [float(each["accuracy"]) for each in side["seeds"]]
    low, high = side["interval"]
    note = (
        f"on the test set, 95% interval {low:.2%} to {high:.2%}"
        if len(found) == 1
        else f"on the test set, mean of {len(found)} seeds, {min(found):.2%} to {max(found):.2%}"
    )
    title = name.replace("_", " ").capitalize()
    return Fact(title, f"{mean_accuracy(side):.2%}", note, "baseline" if name == "baseline" else "winner")


def compared_recipe(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a recipe that are compared, in words."""
    return {name: word(value) for name, value in recipe.items() if name not in _NOT_COMPARED}


def difference(run: Run) -> list[dict[str, Any]]:
    """Every field of winner and baseline side by side; empty where there is no winner."""
    if run.final is not None and "winner" in run.final:
        winner, baseline = (used(run.final[role]["recipe"], run.final[role]) for role in ("winner", "baseline"))
    else:
        ranked = analysis.leaderboard(run)
        if ranked.empty:
            return []
        winner, baseline = run.recipe(int(ranked.index[0])), run.baseline
    names = dict.fromkeys([*compared_recipe(baseline), *compared_recipe(winner)])
    return [
        {
            "field": name,
            "baseline": word(baseline.get(name, "")),
            "winner": word(winner.get(name, "")),
            "differs": winner.get(name) != baseline.get(name),
        }
        for name in names
    ]


# Key of a side's costs -> what it is, and how it is written.
_COSTS = {
    "parameters": ("parameters", "{:,}"),
    "multiply_adds": ("multiply-adds of one image", "{:,}"),
    "file_bytes": ("bytes of the weights file", "{:,}"),
    "seconds_batch_1": ("seconds for 1 image", "{:.2g}"),
    "seconds_batch_64": ("seconds for 64 images", "{:.2g}"),
}


def costs(run: Run) -> list[Table]:
    """What the evaluated networks cost in use, a column each; none where that was not measured."""
    sides = {name: side for name in ROLES if (side := (run.final or {}).get(name)) and side.get("costs")}
    if not sides:
        return []
    rows = [
        [said, *("" if (value := side["costs"].get(key)) is None else form.format(value) for side in sides.values())]
        for key, (said, form) in _COSTS.items()
    ]
    first = next(iter(sides.values()))["costs"]
    where = f" (times on {first['device']}, {first['threads']} threads)" if first.get("device") else ""
    headings = ["", *(name.replace("_", " ") for name in sides)]
    return [Table(f"Costs in use{where}", headings, rows, range(1, len(headings)))]


def published(run: Run) -> list[dict[str, str]]:
    """What a baseline run was to reproduce beside what its seeds gave, as far as it trained."""
    return [
        {
            "quantity": row["quantity"],
            "published": row["format"].format(row["published"]),
            "mean": row["format"].format(row["mean"]),
            "range": f"{row['format'].format(row['lowest'])} to {row['format'].format(row['highest'])}",
            "inside": "yes" if row["inside"] else "no",
        }
        for row in against_publication(run)
    ]
