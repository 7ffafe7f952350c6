"""A run as one HTML page that needs nothing else: it opens offline, on a phone, in light and dark, and prints.

    from results import load_run, report
    report.write(load_run("runs/my-study"))

The page's skeleton is report.html.jinja, its looks are report.css, what moves is report.js. plotly's JavaScript is in
it once. Nothing that a run directory holds can become markup: the template escapes, and the page's own policy lets no
other script run and no request leave.
"""

import base64
import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results import analysis, palette, plots
from results.doctor import diagnose
from results.evidence import sentences
from results.next_space import next_space
from results.ranges import moves
from results.run import Run
from results.words import word

_HERE = Path(__file__).parent
# Columns of the trials table that a printed page has no room for; trials.csv has them.
_ASIDE = ("best_val_accuracy", "best_epoch", "train_loss", "val_loss", "time_total_s", "stop_reason", "seed")
_NOT_COMPARED = ("seed", "epochs")  # of a Recipe: they belong to one training, not to what is compared


def write(run: Run) -> Path:
    """Writes report.html into the run directory, whole or not at all.

    Whatever the run lacks, because it is unfinished or damaged, is said in its place.

    Returns:
        The path of the page.

    Raises:
        OSError: it cannot be written.
    """
    path = run.path / "report.html"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(render(run), encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def render(run: Run) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = {"plotly_js": get_plotlyjs(), "own_js": (_HERE / "report.js").read_text()}
    mistakes = _mistakes(run)
    return environment.get_template("report.html.jinja").render(
        run=run,
        baseline_run=_baseline_run(run),
        created=str(run.study["created"])[:10],
        verdict=_verdict(run),
        notices=_notices(run),
        facts=_facts(run),
        difference=_difference(run),
        published=_published(run),
        recipe=_compared(run.base),
        sections=_sections(run),
        mistakes=mistakes,
        role_name=_role(run).replace("_", " "),
        evidence=sentences(run),
        findings=diagnose(run),
        coded=_coded,
        proposal=_proposal(run),
        trials=_trials(run),
        command=_command(run),
        provenance=_provenance(run),
        openings=run.study["test_openings"],
        light=asdict(palette.LIGHT),
        dark=asdict(palette.DARK),
        dark_colours=palette.dark_colours(),
        css=Markup((_HERE / "report.css").read_text()),
        script_hashes=" ".join(map(_script_hash, scripts.values())),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def _script_hash(script: str) -> str:
    """What a Content-Security-Policy calls this one script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class _Verdict:
    kind: str
    headline: str
    detail: str


@dataclass(frozen=True)
class _Fact:
    name: str
    value: str
    note: str
    role: str = ""


@dataclass(frozen=True)
class _Picture:
    """A figure whose title and note stand above it in HTML, where they wrap."""

    name: str
    title: str
    said: str
    json: Markup
    height: int
    min_width: int
    wide: bool


@dataclass
class _Section:
    """A part of the page. What it cannot show it says in `missing`, in sentences."""

    id: str
    title: str
    missing: list[str] = field(default_factory=list)
    pictures: list[_Picture] = field(default_factory=list)
    small_pictures: list[_Picture] = field(default_factory=list)

    def draw(self, name: str, figure: Callable[[], go.Figure], *, wide: bool = False, small: bool = False) -> None:
        try:
            picture = _picture(name, figure(), wide)
        except plots.NothingToPlot as reason:
            if str(reason) not in self.missing:
                self.missing.append(str(reason))
        else:
            (self.small_pictures if small else self.pictures).append(picture)


def _baseline_run(run: Run) -> bool:
    """Whether the run trained one recipe over several seeds, without a search."""
    return bool(run.study["kind"] == "baseline")


def _role(run: Run) -> str:
    return "recipe_under_test" if _baseline_run(run) else "winner"


def _verdict(run: Run) -> _Verdict:
    final = run.final
    if final is not None and "sentence" in final:
        headline, colon, detail = str(final["sentence"]).partition(": ")
        # "No evidence that one is better: the two trained models cannot be told apart: 70% against ..."
        if colon and not any(letter.isdigit() for letter in detail.partition(": ")[0]):
            middle, _, detail = detail.partition(": ")
            headline = f"{headline}: {middle}"
        detail = detail[:1].upper() + detail[1:]
        return _Verdict(str(final["verdict"]).replace(" ", "-"), headline + ".", detail)
    if final is not None:
        found = [float(each["accuracy"]) for each in final["recipe_under_test"]["seeds"]]
        mean, published = float(np.mean(found)), float(final["published_accuracy"])
        seeds = "one seed" if len(found) == 1 else f"the mean of {len(found)} seeds"
        return _Verdict(
            "measured",
            f"{mean:.2%} on the test set, {100 * (mean - published):+.2f} points from the published {published:.2%}.",
            f"After {final['final_epochs']} epochs, {seeds}, on {final['recipe_under_test']['n']:,} test images.",
        )
    ranked = analysis.leaderboard(run)
    if ranked.empty:
        headline = "Not evaluated yet." if _baseline_run(run) else "No verdict yet."
        return _Verdict("none", headline, _state(run))
    best = ranked.iloc[0]
    return _Verdict(
        "none",
        "No verdict yet.",
        f"{_state(run)} Best so far: trial {ranked.index[0]}, {best['val_accuracy']:.2%} validation accuracy "
        f"after {_epochs(best['epochs'])}.",
    )


def _state(run: Run) -> str:
    status, reason = run.study["status"], run.study["reason"]
    ended = {
        "running": "The run is still going, or was cut off without a word.",
        "finished": "The run has finished, but its final trainings have not been evaluated.",
    }.get(status, f"The run was {status}{f' by {reason}' if status == 'stopped' else f': {reason}'}.")
    unranked = "" if len(analysis.leaderboard(run)) or _baseline_run(run) else " No trial can be ranked."
    return ended + unranked


def _notices(run: Run) -> list[str]:
    notices = [f"Left out, as damaged: {line}." for line in run.dropped]
    if run.final is not None and run.study["status"] not in ("finished", "running"):
        notices.insert(0, _state(run))
    return notices


def _facts(run: Run) -> list[_Fact]:
    facts = []
    final = run.final or {}
    for role in ("winner", "tuned_baseline", "baseline", "recipe_under_test"):
        if role in final:
            side = final[role]
            found = [float(each["accuracy"]) for each in side["seeds"]]
            low, high = side["interval"]
            note = (
                f"on the test set, 95% interval {low:.2%} to {high:.2%}"
                if len(found) == 1
                else f"on the test set, mean of {len(found)} seeds, {min(found):.2%} to {max(found):.2%}"
            )
            name = role.replace("_", " ").capitalize()
            facts.append(_Fact(name, f"{np.mean(found):.2%}", note, "baseline" if role == "baseline" else "winner"))
    if "difference" in final:
        low, high = final["difference_interval"]
        note = f"points, 95% interval {100 * low:+.2f} to {100 * high:+.2f}"
        facts.append(_Fact("Difference", f"{100 * final['difference']:+.2f}", note))
    if len(run.trials):
        counts = run.trials["status"].value_counts()
        facts.append(_Fact("Trials", f"{len(run.trials)}", ", ".join(f"{n} {status}" for status, n in counts.items())))
        saved = analysis.epochs_saved(run)
        of_all = f"early stopping saved {saved:.0%} of {len(run.trials) * run.study['max_epochs']}"
        note = of_all if run.study["status"] == "finished" else "so far"
        facts.append(_Fact("Epochs searched", f"{run.trials['epochs'].sum()}", note))
    seconds: Mapping[str, float] = run.study["seconds"]
    if seconds:
        parts = ", ".join(f"{part.replace('_', ' ')} {_duration(spent)}" for part, spent in seconds.items())
        facts.append(_Fact("Wall time", _duration(sum(seconds.values())), parts))
    return facts


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _moment(iso: str) -> str:
    return iso[:19].replace("T", " ")


def _epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"


def _compared(recipe: Mapping[str, Any]) -> dict[str, str]:
    return {name: word(value) for name, value in recipe.items() if name not in _NOT_COMPARED}


def _difference(run: Run) -> list[dict[str, Any]]:
    """Every field of winner and baseline side by side; empty where there is no winner."""
    if run.final is not None and "winner" in run.final:
        winner, baseline = run.final["winner"]["recipe"], run.final["baseline"]["recipe"]
    else:
        ranked = analysis.leaderboard(run)
        if ranked.empty:
            return []
        winner, baseline = run.recipe(int(ranked.index[0])), run.baseline
    return [
        {"field": name, "baseline": value, "winner": word(winner[name]), "differs": winner[name] != baseline[name]}
        for name, value in _compared(baseline).items()
    ]


def _published(run: Run) -> list[dict[str, str]]:
    """What a baseline run was to reproduce beside what its seeds gave, as far as it trained."""
    if run.final is None or not _baseline_run(run):
        return []
    accuracies = [float(each["accuracy"]) for each in run.final["recipe_under_test"]["seeds"]]
    compared = [
        (f"training loss, epoch {epoch}", float(loss), _losses_after(run, int(epoch)), "{:.3f}")
        for epoch, loss in run.final.get("published_train_loss", {}).items()
    ]
    after = f"test accuracy, epoch {run.final['final_epochs']}"
    compared.append((after, float(run.final["published_accuracy"]), accuracies, "{:.2%}"))
    return [
        {
            "quantity": quantity,
            "published": form.format(published),
            "mean": form.format(sum(found) / len(found)),
            "range": f"{form.format(min(found))} to {form.format(max(found))}",
            "inside": "yes" if min(found) <= published <= max(found) else "no",
        }
        for quantity, published, found, form in compared
        if found
    ]


def _losses_after(run: Run, epoch: int) -> list[float]:
    return run.final_epochs.loc[run.final_epochs["training_iteration"] == epoch, "train_loss"].tolist()


def _sections(run: Run) -> list[_Section]:
    recipe = _Section("recipe", "Recipe under test" if _baseline_run(run) else "Winner against baseline")
    recipe.draw("accuracies", partial(plots.accuracies, run))
    recipe.draw("final-losses", partial(plots.final_losses, run))
    test = _Section("test", "On the test set")
    test.draw("confusion", partial(plots.confusion_matrix, run, _role(run)))
    reproduce = _Section("reproduce", "How to reproduce")
    if _baseline_run(run):
        return [recipe, test, reproduce]
    test.draw("per-class", partial(plots.per_class, run))
    search = _Section("search", "The search")
    search.draw("learning-curves", partial(plots.learning_curves, run), wide=True)
    search.draw("incumbent-epochs", partial(plots.incumbent, run, "epochs"))
    search.draw("incumbent-time", partial(plots.incumbent, run, "time"))
    search.draw("parallel-coordinates", partial(plots.parallel_coordinates, run), wide=True)
    search.draw("importance", partial(plots.importance, run), wide=True)
    for index, hyperparameter in enumerate(run.hyperparameters):
        search.draw(f"effect-{index}", partial(plots.effect, run, hyperparameter), small=True)
    begun = [] if len(run.trials) else ["No trial has begun."]
    evidence = [_Section("evidence", "How far to trust it, and what it cost")] if sentences(run) else []
    findings = _Section("findings", "Findings", begun or ([] if diagnose(run) else ["Nothing seems wrong."]))
    trials = _Section("trials", "All trials", begun)
    return [recipe, search, test, *evidence, findings, trials, reproduce]


def _picture(name: str, figure: go.Figure, wide: bool) -> _Picture:
    title, said = figure.layout.title.text, figure.layout.title.subtitle.text
    height = int(figure.layout.height) - palette.TITLE_HEIGHT
    figure.update_layout(title=None, height=height, margin_t=figure.layout.margin.t - palette.TITLE_HEIGHT)
    meta = figure.layout.meta or {}
    # In a script element only "<" could end or open markup; JSON writes it as an escape.
    text = Markup(figure.to_json().replace("<", "\\u003c"))
    return _Picture(name, title, said, text, height, int(meta.get("min_width", 0)), wide)


def _mistakes(run: Run) -> list[dict[str, str]]:
    """The pictures in final/mistakes/ with what their predictions say, surest first."""
    role = _role(run)
    if run.predictions is None or role not in run.predictions:
        return []
    predictions = run.predictions.set_index("image")
    names = plots.class_names(run)
    paths = {int(path.stem): path for path in (run.path / "final" / "mistakes").glob("*.png") if path.stem.isdecimal()}
    shown = predictions[predictions.index.isin(list(paths))].sort_values(f"{role}_confidence", ascending=False)
    return [
        {
            "image": str(image),
            "uri": f"data:image/png;base64,{base64.b64encode(paths[image].read_bytes()).decode()}",
            "label": names[label],
            "taken_for": names[taken_for],
            "confidence": f"{confidence:.1%}",
        }
        for image, label, taken_for, confidence in shown[["label", role, f"{role}_confidence"]].itertuples()
    ]


def _coded(text: str) -> Markup:
    """What stands between backticks, as code; all of it escaped."""
    words = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(word) if at % 2 else word for at, word in enumerate(words))


def _proposal(run: Run) -> dict[str, str] | None:
    """The next space as a file, where the trials ask for a range to be moved, and the command that searches it."""
    if not moves(run):
        return None
    source = next_space(run)
    asked = ["--space", "next.py:space", "--samples", str(run.study["samples"])]
    return {
        "source": source,
        "uri": f"data:text/x-python;base64,{base64.b64encode(source.encode()).decode()}",
        "command": shlex.join(["python", "-m", "study.run", *asked]),
    }


def _trials(run: Run) -> dict[str, Any] | None:
    """The trials table cell by cell, best first and then those that cannot be ranked."""
    if run.trials.empty:
        return None
    ranked = analysis.leaderboard(run).index
    order = [*ranked, *run.trials.index.difference(ranked)]
    hyperparameters = [column for column in run.trials.columns if column.startswith("config/")]
    table = run.trials.loc[order, ["status", "val_accuracy", "epochs", *hyperparameters, *_ASIDE]].reset_index()
    kinds = ["best" if position == 0 and len(ranked) else "" for position in range(len(ranked))]
    kinds += ["unranked"] * (len(order) - len(ranked))
    return {
        "columns": [
            {
                "name": name.removeprefix("config/"),
                "heading": name.removeprefix("config/").replace("number", "trial"),
                "number": pd.api.types.is_numeric_dtype(table[name]),
                "aside": name in _ASIDE,
                "sorted": "descending" if name == "val_accuracy" else None,
            }
            for name in table.columns
        ],
        "rows": [
            {"kind": kind, "cells": [_cell(name, value) for name, value in zip(table.columns, row, strict=True)]}
            for kind, row in zip(kinds, table.itertuples(index=False), strict=True)
        ],
        "example": _filter_example(run),
    }


def _cell(column: str, value: Any) -> dict[str, Any]:
    """What a cell shows, and the exact value that it sorts and filters by."""
    if pd.isna(value):
        return {"text": "", "value": "", "number": False, "aside": column in _ASIDE}
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    if "accuracy" in column:
        text = f"{value:.2%}"
    elif column == "time_total_s":
        text = f"{value:.1f}"
    elif "loss" in column:
        text = f"{value:.3f}"
    else:
        text = word(value)
    return {"text": text, "value": str(value), "number": number, "aside": column in _ASIDE}


def _filter_example(run: Run) -> str:
    numeric = [name for name, hyperparameter in run.hyperparameters.items() if "low" in hyperparameter["attributes"]]
    return (
        f"completed {numeric[0]}>{word(run.hyperparameters[numeric[0]]['attributes']['low'] * 2)}"
        if numeric
        else "completed"
    )


def _command(run: Run) -> str:
    module = "study.baseline" if _baseline_run(run) else "study.run"
    return shlex.join(["python", "-m", module, *map(str, run.study["command"])])


def _provenance(run: Run) -> Iterable[tuple[str, str]]:
    study = run.study
    git = study["git"]
    hardware = study["hardware"]
    revision = (
        f"{git['revision']}{', with changes not committed' if git['dirty'] else ''}" if git else "not in a checkout"
    )
    data = study["data"]
    yield "Status", f"{study['status']}{', ' + study['reason'] if study['reason'] else ''}"
    yield "Begun (UTC)", _moment(study["created"])
    yield "Ended (UTC)", _moment(study["ended"]) if study["ended"] else "not ended"
    yield "Seed of the study", str(study["seed"])
    if run.final is not None:
        yield "Seeds of the finals", ", ".join(str(each["seed"]) for each in run.final[_role(run)]["seeds"])
    if not _baseline_run(run):
        yield "Space", str(study["space"])
        yield (
            "Search",
            f"{study['samples']} samples, {_epochs(study['max_epochs'])} at most, "
            f"rungs {', '.join(map(str, study['rungs']))}, reduction factor {study['reduction_factor']}, "
            f"{study['slots']} at once",
        )
    yield "Git revision", revision
    yield "Versions", ", ".join(f"{package} {version}" for package, version in study["versions"].items())
    yield "Data", f"{study['dataset']}, {data['train']:,} training and {data['validation']:,} validation images"
    yield "Digest of the training images (SHA-256)", str(data["digest"])
    yield "Digest of the split (SHA-256)", str(data["split_digest"])
    gpus = ", ".join(hardware["gpus"]) or "no GPU"
    memory = hardware["memory_bytes"] / 2**30
    yield "Hardware", f"{hardware['cpus']} x {hardware['cpu']}, {gpus}, {memory:.0f} GiB, {hardware['machine']}"
