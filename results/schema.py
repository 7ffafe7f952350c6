"""What the files of a run directory must hold to be read, checked by pydantic before anything else sees them.

docs/run-directory.md describes the files. A key that is not named here is kept as it is, so that the files of a newer
version can be read. Wrong types, numbers that are not finite, integers beyond 64 bits and JSON that is nested too
deeply are each one line that names the place.
"""

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from results.events import Event, from_json
from results.formatting import on_one_line

_LARGEST = 2**63 - 1
_DEEPEST = 64  # levels of nested JSON; a run's files have fewer than ten
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Integer = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]
Moment = Annotated[FiniteFloat, Field(ge=-1e11, le=1e11)]  # seconds since 1970, within what a calendar can show
Scalar = bool | Integer | FiniteFloat | str | None
Interval = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


class SchemaError(ValueError):
    """A file or a line that does not hold what it should.

    Attributes:
        fault: what is wrong with it, to follow its name in a sentence.
        is_json: whether it is JSON at all, which a half-written one is not.
    """

    def __init__(self, fault: str, *, is_json: bool = True) -> None:
        super().__init__(fault)
        self.fault, self.is_json = fault, is_json


class Model(BaseModel):
    """Strict: a string is no number, and a number no string."""

    model_config = ConfigDict(strict=True, extra="allow")


class MetricAbout(Model):
    name: Annotated[str, Field(pattern=r"^\w{1,64}$")]
    mode: Literal["max", "min"]
    # Any other format string could reach into attributes, or ask for gigabytes of padding.
    format: Annotated[str, Field(pattern=r"^\{:,?\.\d{1,2}[fge%]\}$")] = "{:.4f}"


class Ends(Model):
    low: FiniteFloat | Integer
    high: FiniteFloat | Integer
    log: bool
    step: FiniteFloat | Integer | None


class Choices(Model):
    choices: Annotated[list[Scalar], Field(min_length=1)]


class Distribution(Model):
    """Optuna's JSON of a distribution."""

    name: Literal["FloatDistribution", "IntDistribution", "CategoricalDistribution"]
    attributes: Ends | Choices

    @field_validator("attributes")
    @classmethod
    def _is_a_range(cls, about: Ends | Choices) -> Ends | Choices:
        if isinstance(about, Ends) and (about.low > about.high or (about.log and about.low <= 0)):
            raise ValueError("low and high are no range")
        return about


class Data(Model):
    digest: str
    split_digest: str
    train: Count
    validation: Count


class Git(Model):
    revision: str
    dirty: bool


class Hardware(Model):
    machine: str
    cpus: Count | None
    cpu: str
    memory_bytes: Count
    gpus: list[str]


class Opening(Model):
    time: str
    role: str
    seed: Integer
    recipe: dict[str, Scalar] = {}


class PastTrial(Model):
    recipe: dict[str, Scalar]
    status: Literal["completed", "stopped", "diverged", "failed"]
    accuracies: Annotated[list[FiniteFloat | None], Field(min_length=1)]


class WarmStart(Model):
    run: str
    trials: list[PastTrial]


class StudyFile(Model):
    """study.json."""

    kind: Literal["search", "baseline"]
    name: str
    command: list[str]
    arguments: dict[str, Any]
    status: Literal["running", "finished", "stopped", "failed"]
    reason: str | None
    created: str
    ended: str | None
    space: str | None
    knobs: dict[str, Distribution]
    base: dict[str, Scalar]
    baseline: dict[str, Scalar] = {}
    metric: MetricAbout | None = None
    samples: Count
    max_epochs: Annotated[int, Field(ge=1, le=_LARGEST)]
    grace_period: Count | None
    reduction_factor: Annotated[FiniteFloat | Integer, Field(gt=1, le=1e9)] | None
    rungs: list[Annotated[int, Field(ge=1, le=_LARGEST)]]
    seed: Count
    slots: Count
    dataset: str
    data: Data
    versions: dict[str, str]
    git: Git | None
    hardware: Hardware
    seconds: dict[str, Seconds]
    test_openings: list[Opening]
    resumed: list[dict[str, Any]] = []
    warm_start: WarmStart | None = None


class BestFile(Model):
    """best.json."""

    recipe: dict[str, Scalar]
    trial: Count


class Costs(Model):
    """What a network costs; times only where they were measured."""

    parameters: Count
    multiply_adds: Count
    file_bytes: Count
    seconds_batch_1: Seconds | None = None
    seconds_batch_64: Seconds | None = None
    device: str = ""
    threads: Count | None = None


class FinalSeed(Model):
    seed: Integer
    accuracy: Share


class LostTraining(Model):
    """A final training that was not completed."""

    role: str
    seed: Integer
    status: str
    reason: str | None = None


class Side(Model):
    """One recipe's results on the test set."""

    recipe: dict[str, Scalar]
    accuracy: Share
    interval: Interval
    n: Annotated[int, Field(ge=1, le=_LARGEST)]
    unused: dict[str, str] = {}
    costs: Costs | None = None
    seeds: Annotated[list[FinalSeed], Field(min_length=1)]


class Step(Model):
    difference: FiniteFloat
    difference_interval: Interval
    verdict: str


class Attribution(Model):
    tuning: Step
    recipe: Step


class SeedsNeeded(Model):
    seeds: Count | None = None


class MetricsFile(Model):
    """final/metrics.json of a search."""

    winner: Side
    baseline: Side
    tuned_baseline: Side | None = None
    difference: FiniteFloat
    difference_interval: Interval
    verdict: str
    sentence: str
    published_accuracy: Share | None = None
    final_epochs: Count
    attribution: Attribution | None = None
    notes: list[str] = []
    seeds_needed: SeedsNeeded | None = None
    candidate_label_errors: list[Count] = []
    diverged: list[LostTraining] = []


class BaselineMetricsFile(Model):
    """final/metrics.json of a run of one recipe over several seeds."""

    recipe_under_test: Side
    published_accuracy: Share | None = None
    published_train_loss: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], FiniteFloat] = {}
    final_epochs: Count
    candidate_label_errors: list[Count] = []
    diverged: list[LostTraining] = []


class DataFinding(Model):
    name: str
    count: Count
    evidence: str


class Leaks(Model):
    count: Count
    tests: Annotated[int, Field(ge=1, le=_LARGEST)]
    equal: Count
    other_label: Count


class DataPicture(Model):
    # Only what is in the run's own folder of pictures is ever read.
    file: Annotated[str, Field(pattern=r"^data/[\w-]{1,64}\.png$")]
    title: str


class DataFile(Model):
    """data.json, what was found out about the images."""

    counts: dict[str, dict[str, Count]] = {}
    findings: list[DataFinding] | None = None
    leaks: Leaks | None = None
    pictures: list[DataPicture] = []


class _Labels(Model):
    number: Count
    time: Moment
    role: str | None = None
    seed: Integer | None = None
    trial: Count | None = None
    fold: Annotated[str, Field(pattern=r"^[1-9]\d{0,5}/[1-9]\d{0,5}$")] | None = None


class _Started(_Labels):
    config: dict[str, Scalar]
    params: dict[str, Scalar] | None = None
    trial_id: str | None = None
    seed: Count
    costs: Costs | None = None


class _Epoch(_Labels):
    training_iteration: Annotated[int, Field(ge=1, le=_LARGEST)]
    train_loss: FiniteFloat | None
    val_loss: FiniteFloat | None
    val_accuracy: FiniteFloat | None
    seconds: Seconds
    time_total_s: Seconds
    device: str | None = None
    __pydantic_extra__: dict[str, FiniteFloat | str | None]  # further metrics, and "event"


class _Retry(_Labels):
    reason: str


class _End(_Labels):
    status: Literal["completed", "stopped", "diverged", "failed"]
    stop_reason: str | None


_EPOCH_KEYS = {"event", *_Epoch.model_fields}
_EVENTS: dict[str, type[_Labels]] = {
    "trial": _Started,
    "epoch": _Epoch,
    "retry": _Retry,
    "rest": _Labels,
    "promote": _Labels,
    "end": _End,
}


def parse_json(content: bytes, *, finite: bool = True) -> Any:
    """The value that JSON holds, its texts without control characters.

    Args:
        finite: refuse NaN and Infinity, which Python reads and JSON does not have.

    Raises:
        SchemaError: it is no JSON, or nothing that this package could show.
    """

    try:
        value = json.loads(content, parse_float=_finite, parse_constant=_finite) if finite else json.loads(content)
    except SchemaError:
        raise
    except RecursionError:
        raise SchemaError("is damaged: it is nested too deeply") from None
    except ValueError as error:
        why = str(error).splitlines()[0]
        raise SchemaError(f"is damaged: {why}", is_json=False) from None
    if content.count(b"[") + content.count(b"{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise SchemaError("is damaged: it is nested too deeply")
    # Only an escape or a byte beyond ASCII can stand for a control character.
    return _plain(value) if b"\\" in content or not content.isascii() else value


def _finite(text: str) -> float:
    number = float(text.replace("Infinity", "inf"))
    if not math.isfinite(number):
        raise SchemaError(f"is damaged: it holds {text[:40]}")
    return number


def _plain(value: Any) -> Any:
    """The value without control characters in any of its texts, so that none reaches a terminal or a page."""
    if isinstance(value, str):
        return on_one_line(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {on_one_line(name): _plain(each) for name, each in value.items()}
    return value


def _depth(value: Any) -> int:
    """How deeply lists and objects are nested; without recursion, which is what it guards against."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, list | dict):
            deepest = max(deepest, depth)
            inside = part.values() if isinstance(part, dict) else part
            waiting += [(each, depth + 1) for each in inside]
    return deepest


def read(path: Path, model: type[Model]) -> dict[str, Any]:
    """The object in a JSON file, as it is in the file.

    Raises:
        SchemaError: it cannot be read, or is not what `model` describes.
    """
    try:
        content = parse_json(path.read_bytes())
    except OSError as error:
        raise SchemaError(f"cannot be read: {error.strerror}") from None
    return _checked(content, model)


def read_study(path: Path) -> dict[str, Any]:
    """The content of a study.json.

    Raises:
        SchemaError: as `read`, or it is of a later format.
    """
    try:
        content = parse_json(path.read_bytes())
    except OSError as error:
        raise SchemaError(f"cannot be read: {error.strerror}") from None
    if not isinstance(content, dict) or "format" not in content:
        raise SchemaError("does not describe a study: it names no format")
    if content["format"] != 1 or isinstance(content["format"], bool):
        raise SchemaError(f"has format {_short(content['format'])}; this version reads format 1")
    return _checked(content, StudyFile)


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a final/metrics.json.

    Raises:
        SchemaError: as `read`.
    """
    content = read(path, Model)
    return _checked(content, BaselineMetricsFile if "recipe_under_test" in content else MetricsFile)


def read_event(line: bytes, labels: tuple[str, ...]) -> Event:
    """The event in one line of an event log.

    A metric that is not finite, as a loss may be, counts as not measured.

    Args:
        labels: what tells the trainings of this log apart.

    Raises:
        SchemaError: it is no event of format 1.
    """
    content = parse_json(line, finite=False)
    kind = content.get("event") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _EVENTS:
        raise SchemaError("is no event of a study")
    missing = [name for name in ("number", *labels) if name not in content]
    if missing:
        raise SchemaError(f"is damaged: its {kind} event lacks {', '.join(missing)}")
    model = _EVENTS[kind]
    if model is _Epoch:
        content = {
            name: _measured(name, value) for name, value in content.items() if name in _EPOCH_KEYS or _is_metric(name)
        }
    _checked(content, model, f"its {kind} event")
    return from_json(content)


def _is_metric(name: str) -> bool:
    return re.fullmatch(r"(train|val)_\w{1,64}", name) is not None


def _measured(name: str, value: Any) -> Any:
    return None if _is_metric(name) and isinstance(value, float) and not math.isfinite(value) else value


def _checked(content: Any, model: type[Model], what: str = "it") -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SchemaError(f"is damaged: it holds {_short(content)} instead of an object")
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise SchemaError(f"is damaged: {what} {_fault(error)}") from None
    return content


def _fault(error: ValidationError) -> str:
    """The faults that pydantic found as one line: all keys that are missing, or else the first wrong value."""
    found = error.errors(include_url=False, include_context=False)
    missing = ["/".join(map(str, each["loc"])) for each in found if each["type"] == "missing"]
    if missing:
        return f"lacks {', '.join(missing)}"
    first = found[0]
    place = "/".join(str(part) for part in first["loc"])
    return f"has {_short(first['input'])} as {place}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _short(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
