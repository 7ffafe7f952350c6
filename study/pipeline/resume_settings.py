"""The settings with which a run is resumed: those it began with, and those that are given now."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.config import Config, extra_of, key_of, validate
from study.errors import StudyError, UsageError
from study.pipeline.trusted_code import is_same_code
from study.storage.study_file import StudyFile


def merge_resume_arguments(
    config: type[Config], run_dir: Path, given: Mapping[str, Any], spelling: Callable[[str], str]
) -> Config:
    """The settings of a resumed run.

    Args:
        config: StudyConfig or ReproduceConfig.
        given: settings that are named now.

    Raises:
        UsageError: `given` changes what the run means.
        StudyError: its study.json cannot be read.
    """
    content = StudyFile(run_dir / "study.json").content
    began = recorded_settings(config, content)
    moved: dict[str, Any] = {}
    for name in config.model_fields:
        key, extra = key_of(config, name), extra_of(config, name)
        if key not in given or extra["on_resume"] != "keep" or key in ("runs_dir", "name"):
            continue
        was, wanted = (each.as_json()[key] for each in (began, validate(config, {key: given[key]}, spelling)))
        if is_same_code(key, was, wanted):
            if key == "model":  # recipes name the network, so it keeps its name; the other places are the new ones
                moved[key] = getattr(began, name)
        elif wanted != was:
            before = "not given" if was in (None, [], {}) else was
            raise UsageError(f"{spelling(key)} was {before} when {run_dir} began, and cannot change when it is resumed")
    inherited = {
        key_of(config, name): getattr(began, name)
        for name in config.model_fields
        if extra_of(config, name)["on_resume"] != "session"
    }
    place = {"runs_dir": run_dir.parent, "name": None}
    return validate(config, {**inherited, **given, **moved, **place}, spelling)


def recorded_settings(config: type[Config], content: Mapping[str, Any]) -> Config:
    """The settings that a run began with, from its study.json; also of runs made before some settings existed.

    Settings of one session have their defaults: study.json may be somebody else's and must not say --trust-code.

    Raises:
        UsageError: study.json has settings that are not allowed.
    """
    lasting = [name for name in config.model_fields if extra_of(config, name)["on_resume"] != "session"]
    known = {key_of(config, name) for name in lasting}
    recorded = {key: value for key, value in dict(content.get("arguments") or {}).items() if key in known}
    before = {
        key_of(config, name): extra_of(config, name)["before"]
        for name in config.model_fields
        if "before" in extra_of(config, name) and key_of(config, name) not in recorded
    }
    # Until 0.1 the space "cnn" was what is called cnn-wide now.
    if recorded.get("space") == "cnn" and "scheduler" not in recorded:
        recorded["space"] = "cnn-wide"
    try:
        return validate(config, {**before, **recorded})
    except StudyError as error:
        raise UsageError(f"study.json of {content.get('name')}: {error}") from None
