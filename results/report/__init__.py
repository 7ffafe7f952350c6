"""A run as one HTML page that needs nothing else: it opens offline, on a phone, in light and dark, and prints.

    from results import load_run, report
    report.write(load_run("runs/my-study"))

python -m results report runs/my-study

The page's skeleton is page.html.jinja, its looks are page.css, what moves is page.js. plotly's JavaScript is in it
once. Nothing that a run directory holds can become markup: the template escapes, and the page's own policy lets no
other script run and no request leave. A picture that cannot be drawn costs that picture only.
"""

import base64
import hashlib
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results import palette
from results.doctor import diagnose
from results.evidence import sentences
from results.next_space import next_space
from results.ranges import moves
from results.report.provenance import command, provenance
from results.report.sections import sections
from results.report.summary import compared_recipe, difference, facts, notices, published, role, verdict
from results.report.trials import mistakes, trials_table
from results.run import Run
from results.run_directory import write_atomically

MODEL_CARD = "final/README.md"
_HERE = Path(__file__).parent


def write(run: Run) -> Path:
    """Writes report.html into the run directory, completely or not at all.

    Whatever the run lacks, because it is unfinished or damaged, is said in its place.

    Returns:
        The path of the page.

    Raises:
        OSError: it cannot be written.
    """
    path, page = run.path / "report.html", render(run)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def render(run: Run, *, refresh_seconds: int | None = None) -> str:
    """The page as text.

    Args:
        refresh_seconds: for a page that is served while the study runs: how often it asks whether there is news.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = {"plotly_js": get_plotlyjs(), "own_js": (_HERE / "page.js").read_text()}
    return environment.get_template("page.html.jinja").render(
        run=run,
        baseline_run=run.study["kind"] == "baseline",
        dataset=_dataset(run),
        created=str(run.study["created"])[:10],
        verdict=verdict(run),
        notices=notices(run),
        facts=facts(run),
        difference=difference(run),
        published=published(run),
        recipe=compared_recipe(run.base),
        sections=sections(run),
        mistakes=mistakes(run),
        role_name=role(run).replace("_", " "),
        evidence=sentences(run),
        findings=diagnose(run),
        coded=_coded,
        proposal=_proposal(run),
        trials=trials_table(run),
        command=command(run),
        provenance=provenance(run),
        model_card=MODEL_CARD if (run.path / MODEL_CARD).exists() else None,
        openings=run.study["test_openings"],
        refresh_seconds=refresh_seconds,
        light=asdict(palette.LIGHT),
        dark=asdict(palette.DARK),
        dark_colours=palette.dark_colours(),
        css=Markup((_HERE / "page.css").read_text()),
        script_hashes=" ".join(map(_script_hash, scripts.values())),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def _dataset(run: Run) -> str:
    if run.synthetic:
        return "synthetic images"
    return "CIFAR-10" if run.study["dataset"] == "cifar10" else str(run.study["dataset"])


def _script_hash(script: str) -> str:
    """What a Content-Security-Policy calls this one script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _coded(text: str) -> Markup:
    """What stands between backticks, as code; all of it escaped."""
    words = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(word) if at % 2 else word for at, word in enumerate(words))


def _proposal(run: Run) -> dict[str, Any] | None:
    """The next space as a file, where the trials ask for a range to be moved, and the command that searches it."""
    if run.study["space"] is None or not moves(run):
        return None
    source = next_space(run)
    asked = ["--space", "next.py:space", "--samples", str(run.study["samples"])]
    return {
        "source": source,
        "uri": f"data:text/x-python;base64,{base64.b64encode(source.encode()).decode()}",
        "command": shlex.join(["python", "-m", "study.run", *asked]),
    }
