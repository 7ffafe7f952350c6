"""The parts of the page and the pictures in each. What cannot be shown is said in its place."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import plotly.graph_objects as go
from markupsafe import Markup

from results import palette, plots
from results.doctor import diagnose
from results.evidence import sentences
from results.formatting import on_one_line
from results.report.data import Image, Table, pictures, tables_and_notes
from results.report.summary import costs, role
from results.run import Run


@dataclass(frozen=True)
class Picture:
    """A figure whose title and note stand above it in HTML, where they wrap."""

    name: str
    title: str
    said: str
    json: Markup
    height: int
    wide: bool


@dataclass
class Section:
    """A part of the page.

    Attributes:
        missing: what it cannot show, in sentences.
        tables: small tables that stand before the pictures.
        images: files of the run, shown as they are.
    """

    id: str
    title: str
    missing: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    small_pictures: list[Picture] = field(default_factory=list)

    def draw(self, name: str, figure: Callable[[], go.Figure], *, wide: bool = False, small: bool = False) -> None:
        """Adds a picture, or says why there is none. A failure of any kind costs this picture and nothing else."""
        try:
            picture = _picture(name, figure(), wide)
        except plots.NothingToPlot as reason:
            self._say(on_one_line(str(reason)))
        except Exception as error:
            why = on_one_line(f"{type(error).__name__}: {error}")[:200]
            self._say(f"The picture {name} could not be drawn ({why}).")
            warnings.warn(f"the picture {name} of the report could not be drawn: {why}", stacklevel=2)
        else:
            (self.small_pictures if small else self.pictures).append(picture)

    def _say(self, sentence: str) -> None:
        if sentence not in self.missing:
            self.missing.append(sentence)


def _picture(name: str, figure: go.Figure, wide: bool) -> Picture:
    title, said = figure.layout.title.text, figure.layout.title.subtitle.text
    height = int(figure.layout.height) - palette.TITLE_HEIGHT
    figure.update_layout(title=None, height=height, margin_t=figure.layout.margin.t - palette.TITLE_HEIGHT)
    # In a script element only "<" could end or open markup; JSON writes it as an escape.
    text = Markup(figure.to_json().replace("<", "\\u003c"))
    # The title is plotly's dialect of HTML, in which names of the run are escaped already.
    return Picture(name, Markup(title).unescape(), Markup(said).unescape(), text, height, wide)


def sections(run: Run) -> list[Section]:
    """All parts of the page, in order."""
    of_baseline = run.study["kind"] == "baseline"
    recipe = Section("recipe", "Recipe under test" if of_baseline else "Winner against baseline")
    recipe.draw("accuracies", partial(plots.accuracies, run))
    recipe.draw("final-losses", partial(plots.final_losses, run))
    recipe.tables += costs(run)
    data = _data(run)
    test = Section("test", "On the test set")
    test.draw("confusion", partial(plots.confusion_matrix, run, role(run)))
    if not of_baseline:
        test.draw("per-class", partial(plots.per_class, run))
    test.draw("calibration", partial(plots.calibration, run))
    reproduce = Section("reproduce", "How to reproduce")
    if of_baseline:
        return [recipe, test, *data, reproduce]
    begun = [] if len(run.trials) else ["No trial has begun."]
    evidence = [Section("evidence", "How far to trust it, and what it cost")] if sentences(run) else []
    findings = Section("findings", "Findings", begun or ([] if diagnose(run) else ["Nothing seems wrong."]))
    trials = Section("trials", "All trials", begun)
    return [recipe, _search(run), test, *evidence, findings, *data, trials, reproduce]


def _search(run: Run) -> Section:
    search = Section("search", "The search")
    search.draw("learning-curves", partial(plots.learning_curves, run), wide=True)
    search.draw("incumbent", partial(plots.incumbent, run, "epochs"))
    for cost in ("seconds_per_epoch", "parameters", "multiply_adds"):
        if cost == "seconds_per_epoch" or cost in run.trials:
            search.draw(f"accuracy-against-{cost}", partial(plots.accuracy_against_cost, run, cost))
    search.draw("parallel-coordinates", partial(plots.parallel_coordinates, run), wide=True)
    search.draw("importance", partial(plots.importance, run), wide=True)
    for index, hyperparameter in enumerate(run.hyperparameters):
        search.draw(f"effect-{index}", partial(plots.effect, run, hyperparameter), small=True)
    return search


def _data(run: Run) -> list[Section]:
    """The section about the images, where the study looked at them."""
    if run.data is None:
        return []
    notes, tables = tables_and_notes(run)
    return [Section("data", "The images", missing=notes, tables=tables, images=pictures(run))]
