"""Write docs/settings.md: every setting of a study, from the fields of StudyConfig and ReproduceConfig.

python docs/settings.py
"""

from pathlib import Path
from typing import Any

from study.command_line import flag_of
from study.config import ReproduceConfig, StudyConfig, TrainingConfig, extra_of, key_of

PAGE = Path(__file__).with_suffix(".md")
ON_RESUME = {"keep": "no", "change": "yes", "session": "new each time"}
HEAD = """# Settings

Written by `python docs/settings.py` from `study/config.py`; do not edit.

Each setting is a flag of a command line, a keyword of the Python API (`samples=20` for `--samples 20`) and a key of a
YAML file for `--config`. A run keeps its own in `study.yaml`.

When a run is resumed, "no" means that the value cannot change, "yes" that the run keeps its value unless a new one is
given, and "new each time" that the setting holds for one session and is not inherited.
"""
TAIL = """
## Flags that are no settings

| flag | meaning |
| --- | --- |
| `--config FILE` | settings from a YAML file; flags win |
| `--resume RUN` | continue a run: its directory, its name, `latest`, or a URL |
| `--resume-or-start` | resume the run called `--name` if it exists, else start it |
"""


def page() -> str:
    shared = set(TrainingConfig.model_fields)
    parts = [
        ("Of `study.run` and `study.tune` only", StudyConfig, [n for n in StudyConfig.model_fields if n not in shared]),
        (
            "Of `study.baseline` and `study.reproduce` only",
            ReproduceConfig,
            [name for name in ReproduceConfig.model_fields if name not in shared],
        ),
        ("Of all of these", StudyConfig, [name for name in StudyConfig.model_fields if name in shared]),
    ]
    return HEAD + "".join(_part(*each) for each in parts) + TAIL


def _part(title: str, config: type[TrainingConfig], names: list[str]) -> str:
    rows = ["| flag | group | default | meaning | may change on resume |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        field, extra = config.model_fields[name], extra_of(config, name)
        cells = [f"`{flag_of(key_of(config, name))}`", extra["group"], _default(field.default), field.description or ""]
        rows.append(f"| {' | '.join(cells)} | {ON_RESUME[extra['on_resume']]} |")
    return f"\n## {title}\n\n" + "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value in (None, [], {}):
        return "not given"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{', '.join(map(str, value)) if isinstance(value, list) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
