"""The section about the images: what data.json holds, as tables and sentences.

    {"counts": {"training": {"cat": 5000, ...}, ...},
     "findings": [{"name": "exact duplicates", "count": 3, "evidence": "..."}, ...]}

Other keys are not shown; a finding may be a sentence alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.formatting import word


@dataclass(frozen=True)
class Table:
    """A small table: a title, headings, and rows of text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def about_data(content: Mapping[str, Any]) -> tuple[list[str], list[Table]]:
    """What there is to show, as notes and tables; whatever has another shape is left out."""
    counts, findings = content.get("counts"), content.get("findings")
    tables = _counts(counts) if isinstance(counts, dict) else []
    if not isinstance(findings, list):
        return ["The images were not checked."], tables
    if not findings:
        return ["Nothing was found to be wrong with the images."], tables
    return [], tables + _findings(findings)


def _counts(counts: Mapping[str, Any]) -> list[Table]:
    splits = {name: of_class for name, of_class in counts.items() if isinstance(of_class, dict)}
    classes = dict.fromkeys(name for of_class in splits.values() for name in of_class)
    if not classes:
        return []
    rows = [[name, *(_number(of_class.get(name, 0)) for of_class in splits.values())] for name in classes]
    return [Table("Images by class", ["class", *(name.replace("_", " ") for name in splits)], rows)]


def _findings(findings: list[Any]) -> list[Table]:
    rows = []
    for finding in findings:
        if isinstance(finding, str):
            rows.append(["", "", finding])
        elif isinstance(finding, dict):
            name, said = (
                finding.get("name", finding.get("kind", "")),
                finding.get("evidence", finding.get("description", "")),
            )
            rows.append([word(name), _number(finding.get("count", "")), word(said)])
    return [Table("What was found", ["finding", "images", ""], rows)] if rows else []


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else word(value)
