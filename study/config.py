"""Every setting of a study, defined once.

Flags and their help, keywords of the Python API, study.yaml, `arguments` in study.json and what a resumed study may
change all come from the fields of `StudyConfig` and `ReproduceConfig`.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from study.errors import UsageError

OnResume = Literal["keep", "change", "session"]


def setting(default: Any, help: str, *, group: str, on_resume: OnResume = "change", **options: Any) -> Any:
    """A field of a config.

    Args:
        help: one line, as `--help` shows it.
        group: of `--help`.
        on_resume: "keep" what a study means; "change": a resumed study keeps its value unless a new one is given;
            "session": holds for one session and is never inherited.
        options: constraints of pydantic.Field (ge, le, ...), and `metavar`, `path` (a file or folder), and `before`
            (the value of runs made before this setting existed).
    """
    extra: dict[str, Any] = {"group": group, "on_resume": on_resume}
    extra |= {name: options.pop(name) for name in ("metavar", "path", "before") if name in options}
    return Field(
        default,
        description=help,
        json_schema_extra=extra,
        validate_default=False,
        **options,
    )


def _seconds(value: Any) -> Any:
    """Seconds, from a number or from text such as 90s, 30m, 1.5h or 2d."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value)):
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError("a number and s, m, h or d, such as 30m")
    return value


def _pairs(value: Any) -> Any:
    """A mapping, from FIELD=VALUE texts or from the pairs that earlier runs recorded."""
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}
    if not isinstance(value, list | tuple | None):
        raise ValueError("FIELD=VALUE, such as lr=0.01")
    for each in value or ():
        if not isinstance(each, str) and not (isinstance(each, list | tuple) and len(each) == 2):
            raise ValueError("FIELD=VALUE, such as lr=0.01")
        name, equals, text = each.partition("=") if isinstance(each, str) else (each[0], "=", each[1])
        if not (name and equals and text != ""):
            raise ValueError("FIELD=VALUE, such as lr=0.01")
        if name in found:
            raise ValueError(f"each field once; {name} is given twice")
        found[name] = text
    return found


def _named(value: Any) -> Any:
    """A name, a path, or an object from Python; nothing that only a file of settings can hold by mistake."""
    if isinstance(value, bool | int | float | bytes | list | tuple | dict):
        raise ValueError("text, a path, or an object of that kind")
    return value


def _list(value: Any) -> Any:
    if value is None:
        return []
    items = list(value) if isinstance(value, list | tuple) else [value]
    if None in items:
        raise ValueError("text or a path, in each place")
    return [_named(item) for item in items]


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", value):
        raise ValueError("up to 100 letters, digits, '.', '_', '+' and '-', beginning with a letter or digit")
    return value


def _storage(value: Any) -> Any:
    """A folder as its absolute path, or the URL of a store as it is."""
    if value is None or "://" not in str(value):
        return None if value is None else str(Path(value).resolve())
    if not re.match(r"(s3|gs|gcs)://[^/?]+", str(value)):
        raise ValueError("a folder, or an s3:// or gs:// URL")
    return str(value)


def _database(value: str) -> str:
    """A URL as SQLAlchemy takes it. study.json keeps it, so there is no password in it."""
    try:
        password = urlsplit(value).password
    except ValueError as error:
        raise ValueError(f"a URL of SQLAlchemy ({error})") from None
    if "://" not in value:
        raise ValueError("a URL of SQLAlchemy, such as postgresql+psycopg://HOST/NAME")
    if password is not None:
        raise ValueError("a URL without a password, as the run records it; give that in PGPASSWORD or ~/.pgpass")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number")
    return value


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0), AfterValidator(_finite)]
Fraction = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Pairs = Annotated[dict[str, Any], BeforeValidator(_pairs)]
Named = Annotated[Any, AfterValidator(_named)]
Texts = Annotated[list[Any], BeforeValidator(_list)]
RunName = Annotated[str, AfterValidator(_name)]
Database = Annotated[str, AfterValidator(_database)] | None
Storage = Annotated[str | None, BeforeValidator(_storage)]


class TrainingConfig(BaseModel):
    """What every command that trains has: data, compute, files and output."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    dataset: Named = setting(
        "cifar10",
        "the images: a name, a folder, a file, or file.py:function",
        group="data",
        on_resume="keep",
        metavar="NAME|PATH",
        path=True,
    )
    data_dir: Path = setting(
        Path("data"), "where downloaded and decoded images are kept", group="data", metavar="DIR", path=True
    )
    image_size: int | None = setting(
        None,
        "resize images to N x N pixels; if not given: their own size, or 64 where they differ or exceed 96",
        group="data",
        on_resume="keep",
        ge=4,
        le=1024,
        metavar="N",
    )
    skip_unreadable: bool = setting(
        False, "leave out images that cannot be read, and list them", group="data", on_resume="keep"
    )
    validation_share: Annotated[float, Field(gt=0, lt=1)] = setting(
        0.1,
        "share of the training images that is held out for validation, unless the data set has its own",
        group="data",
        on_resume="keep",
        metavar="X",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = setting(
        0.2,
        "share of the images that is set aside and sealed, where the data set has no test images",
        group="data",
        on_resume="keep",
        metavar="X",
    )
    split_seed: int = setting(
        10,
        "seed that decides which images are held out",
        group="data",
        on_resume="keep",
        ge=0,
        le=2**32 - 1,
        metavar="N",
    )
    model: Named = setting(
        None,
        "the network, in place of the recipe's: a family, torchvision:NAME, timm:NAME or file.py:CLASS",
        group="data",
        on_resume="keep",
        metavar="NAME|FILE.py:CLASS",
    )
    trainer: Named = setting(
        None,
        "a training of your own with the Trainer protocol",
        group="data",
        on_resume="keep",
        metavar="FILE.py:CLASS",
    )
    gpus_per_trial: Fraction | None = setting(
        None, "share of a GPU for each trial; if not given: 0.25 where GPUs exist, else 0", group="compute", metavar="X"
    )
    cpus_per_trial: Fraction | None = setting(
        None,
        "CPU cores for each trial; if not given: 1, or less where trials share a GPU",
        group="compute",
        metavar="X",
    )
    max_concurrent: int | None = setting(
        None, "trials that run at once; if not given: as many as fit", group="compute", ge=1, metavar="N"
    )
    address: str = setting(
        "local",
        "the Ray cluster to use; local starts one on this machine",
        group="compute",
        metavar="local|auto|HOST:PORT",
    )
    name: RunName | None = setting(
        None, "name of the run; if not given: made from date and space", group="files", on_resume="keep"
    )
    runs_dir: Path = setting(
        Path("runs"), "folder in which runs are kept", group="files", on_resume="keep", metavar="DIR", path=True
    )
    storage_path: Storage = setting(
        None,
        "a folder that all nodes share, or an s3:// or gs:// URL, for checkpoints and a copy of the run",
        group="files",
        metavar="DIR|URL",
    )
    trust_code: bool = setting(
        False,
        "when resuming a run of somebody else, execute the code that it names",
        group="files",
        on_resume="session",
    )
    accept_changed_code: bool = setting(
        False, "resume although your own code has changed since the run began", group="files", on_resume="session"
    )
    progress: Literal["auto", "rich", "plain", "json", "none"] = setting(
        "auto", "live display, plain lines, JSON lines, or nothing", group="output", on_resume="session"
    )
    quiet: bool = setting(False, "print only the verdict", group="output", on_resume="session")
    json_output: bool = setting(
        False,
        "print the result as JSON on standard output, everything else on standard error",
        group="output",
        on_resume="session",
        alias="json",
    )

    def as_json(self) -> dict[str, Any]:
        """Every setting under the name of its flag, JSON-ready; objects given from Python as a description."""
        return {key_of(type(self), name): _jsonable(getattr(self, name)) for name in type(self).model_fields}


class StudyConfig(TrainingConfig):
    """The settings of `study.run` and `study.tune`."""

    samples: int = setting(20, "number of trials; the first one is --recipe", group="search", ge=1, metavar="N")
    space: Named = setting(
        "cnn", "what may vary: a name, file.py:function or package.module:function", group="search", on_resume="keep"
    )
    fix: Pairs = setting(
        {},
        "give a Recipe field the same value in all trials; may be given several times",
        group="search",
        on_resume="keep",
        metavar="FIELD=VALUE",
    )
    recipe: Texts = setting(
        ["baseline"],
        "the recipe of trial 0; also the value of every field that the space does not set",
        group="search",
        on_resume="keep",
        metavar="NAME|FILE|RUN",
    )
    metric: str = setting(
        "accuracy",
        "what selects trials, on validation images: accuracy, balanced_accuracy, macro_f1, log_loss, roc_auc or kappa",
        group="search",
        on_resume="keep",
        before="accuracy",
    )
    sampler: str = setting(
        "prior",
        "which trial comes next: prior (recommended values, then variations of the best trials), tpe or random; they "
        "look at the best 50 and the latest 250 trials",
        group="search",
        on_resume="keep",
        before="tpe",
    )
    scheduler: str = setting(
        "curves",
        "which trials are paused and promoted: curves (those that may still end best), asha, top-k or none",
        group="search",
        on_resume="keep",
        before="asha",
    )
    max_epochs: int = setting(
        10, "epochs of a trial that is not stopped early", group="search", on_resume="keep", ge=1, metavar="N"
    )
    grace_period: int = setting(
        1, "epochs before trials are compared for the first time", group="search", on_resume="keep", ge=1, metavar="N"
    )
    reduction_factor: int = setting(
        2, "ASHA promotes one trial in N at each rung", group="search", on_resume="keep", ge=2, metavar="N"
    )
    time_budget: Duration | None = setting(
        None,
        "end the search after this time (90s, 30m, 2h); the final trainings follow",
        group="search",
        on_resume="session",
        metavar="TIME",
    )
    stop_at: Fraction | None = setting(
        None,
        "end the search when a trial reaches this value of the metric",
        group="search",
        on_resume="session",
        metavar="X",
    )
    stop_when_worth: Fraction | None = setting(
        None,
        "start no more trials once 20 more are expected to gain less than this (points where the metric is a "
        "percentage, else its own unit)",
        group="search",
        metavar="GAIN",
    )
    seed: int = setting(0, "all random numbers derive from it", group="search", on_resume="keep", ge=0, metavar="N")
    warm_start: Texts = setting(
        [],
        "an earlier study that the sampler learns from: a run, an Optuna database (FILE.db or sqlite:///FILE, with "
        "#STUDY where there are several) or a CSV of trials; may be given several times",
        group="search",
        on_resume="keep",
        metavar="RUN|DB|CSV",
        path=True,
    )
    log_to: Texts = setting(
        [],
        "a tracker that follows the search: tensorboard, mlflow or wandb; may be given several times",
        group="output",
        metavar="TRACKER",
    )
    storage_url: Database = setting(
        None,
        "an SQL database that gets Optuna's study as well, such as postgresql+psycopg://HOST/NAME",
        group="files",
        metavar="URL",
    )
    dry_run: bool = setting(
        False,
        "check everything, estimate time and disk, and stop before the search",
        group="search",
        on_resume="session",
    )
    baseline: str = setting(
        "baseline",
        "the recipe that the winner is compared with",
        group="final",
        on_resume="keep",
        metavar="NAME|FILE|RUN",
        before="baseline",
    )
    final_epochs: int = setting(
        30, "epochs of each final training of winner and baseline", group="final", ge=1, metavar="N"
    )
    final_seeds: int = setting(
        1, "final trainings of winner and of baseline, each from another seed", group="final", ge=1, metavar="N"
    )
    meaningful: Fraction | None = setting(
        None,
        "the smallest difference in accuracy that matters to you, in percentage points",
        group="final",
        metavar="POINTS",
    )
    finalists: int = setting(
        1, "train the K best trials again from fresh seeds, and choose among these", group="evidence", ge=1, metavar="K"
    )
    folds: int = setting(
        1,
        "train each finalist K times, each time validated on another K-th of the training images; the best mean is "
        "chosen, at K times the cost",
        group="evidence",
        ge=1,
        metavar="K",
    )
    tune_baseline: bool = setting(False, "also search lr and batch size for the baseline", group="evidence")
    control: Literal["random"] | None = setting(
        None, "also run a random search with the same number of epochs", group="evidence"
    )
    audit: int = setting(
        0, "train M stopped trials to their last epoch after the search", group="evidence", ge=0, metavar="M"
    )
    replicates: int = setting(
        0,
        "repeat search and choice R times with other seeds and other splits, to see how much of the result is luck",
        group="evidence",
        ge=0,
        metavar="R",
    )


class ReproduceConfig(TrainingConfig):
    """The settings of `study.baseline` and `study.reproduce`."""

    recipe: str = setting(
        "baseline", "the recipe to train", group="training", on_resume="keep", metavar="NAME|FILE|RUN"
    )
    seeds: int = setting(3, "number of trainings, each from another seed", group="training", ge=1, metavar="N")
    epochs: int | None = setting(
        None,
        "epochs of each training; if not given: those of the recipe",
        group="training",
        on_resume="keep",
        ge=1,
        metavar="N",
    )
    seed: int = setting(
        0, "the seeds of the trainings derive from it", group="training", on_resume="keep", ge=0, metavar="N"
    )


def key_of(config: type[BaseModel], name: str) -> str:
    """The public name of a field: of its flag, its keyword and its key in YAML and JSON."""
    return config.model_fields[name].alias or name


def extra_of(config: type[BaseModel], name: str) -> dict[str, Any]:
    """What `setting` was given besides constraints: group, on_resume, metavar, path, before, flag."""
    extra = config.model_fields[name].json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


Config = TypeVar("Config", bound=TrainingConfig)


# What Pydantic says of text that is no value, in other words.
ALLOWED = {
    "float_parsing": "a number",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer of fewer digits",
    "bool_parsing": "true or false",
}


def validate(config: type[Config], values: Mapping[str, Any], spelling: Callable[[str], str] = str) -> Config:
    """The config that `values` (public name -> value) describe.

    Args:
        spelling: how a setting is called in messages: its flag on a command line, its keyword in Python.

    Raises:
        UsageError: an unknown setting or a value that is not allowed; names the setting, the value and what is allowed.
    """
    try:
        return config.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(key_of(config, each) for each in config.model_fields)
            raise UsageError(f"there is no setting {spelling(name)}; known: {known}") from None
        message = ALLOWED.get(
            first["type"], str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
        )
        raise UsageError(f"{spelling(name)} is {_shown(values.get(name))}; allowed: {message}") from None


def _shown(value: Any) -> str:
    text = str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, such as the study.yaml of a run. Its names are those of the flags, with `_` or `-`.

    Raises:
        UsageError: the file cannot be read, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} holds no mapping of settings")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def to_yaml(config: TrainingConfig) -> str:
    """The config as YAML, for `--config`. Settings of one session only are left out."""
    fields, values = type(config), config.as_json()
    lasting = [name for name in fields.model_fields if extra_of(fields, name)["on_resume"] != "session"]
    kept = {key: values[key] for name in lasting if values[key := key_of(fields, name)] is not None}
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _jsonable(each) for name, each in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return f"<{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}>"
