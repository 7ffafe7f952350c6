"""The section about the images: what data.json holds, as tables, sentences and pictures."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.run import Run

LARGEST_PICTURE = 4_000_000  # bytes; a contact sheet has a tenth of that
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Table:
    """A small table: a title, headings, rows of text, and which columns are numbers."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    numbers: range


@dataclass(frozen=True)
class Image:
    """A picture that is a file of the run, as the page holds it."""

    title: str
    uri: str


def tables_and_notes(run: Run) -> tuple[list[str], list[Table]]:
    """What there is to say about the images; nothing for a run that did not look at them."""
    if run.data is None:
        return [], []
    notes = [f"{str(note).rstrip('.')}." for note in run.study["data"].get("notes") or []]
    tables = _counts(run.data["counts"]) if run.data.get("counts") else []
    findings = run.data.get("findings")
    if findings is None:
        return [*notes, "The images were not checked."], tables
    if not findings:
        return [*notes, "Nothing was found to be wrong with the images."], tables
    rows = [[each["name"], f"{each['count']:,}", each["evidence"]] for each in findings]
    return notes, [*tables, Table("What was found", ["finding", "images", ""], rows, range(1, 2))]


def _counts(counts: Mapping[str, Mapping[str, int]]) -> list[Table]:
    classes = dict.fromkeys(name for of_class in counts.values() for name in of_class)
    rows = [[name, *(f"{of_class.get(name, 0):,}" for of_class in counts.values())] for name in classes]
    rows.append(["all", *(f"{sum(of_class.values()):,}" for of_class in counts.values())])
    headings = ["class", *(name.replace("_", " ") for name in counts)]
    return [Table("Images by class", headings, rows, range(1, len(headings)))]


def pictures(run: Run) -> list[Image]:
    """The contact sheets of the run; one that is missing, too large or no PNG is left out."""
    named: list[dict[str, Any]] = (run.data or {}).get("pictures") or []
    found = []
    for each in named:
        path = run.path / each["file"]
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_PICTURE:
            content = path.read_bytes()
            if content.startswith(PNG):
                found.append(Image(each["title"], f"data:image/png;base64,{base64.b64encode(content).decode()}"))
    return found
