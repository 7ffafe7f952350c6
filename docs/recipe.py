"""Write docs/recipe.md: every hyperparameter of one training, from the fields of Recipe.

python docs/recipe.py
"""

from pathlib import Path
from typing import Any

from study.recipe import FIELDS, RECIPES, allowed
from study.training.models import MODELS
from study.training.optimizers import OPTIMIZERS
from study.training.schedules import SCHEDULES

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Recipe: the hyperparameters of one training

Written by `python docs/recipe.py` from `study/recipe.py`; do not edit.

A `Recipe` fixes one training. Each field is a scalar, and has the same name in a search space, in `--fix`, in
`best.json` and in the tables (`config/<field>`). The defaults are the published baseline. A value that is not allowed
is an error before any training.

| field | type | allowed | default | meaning and unit |
| --- | --- | --- | --- | --- |
"""
OPTIONS = """
`model.<name>` is an argument of a network or training of your own, `augmentation.<name>` the strength of an
augmentation that was added: each is true, false, a number or text.

## Which fields an entry uses

A field that the chosen network, optimizer or schedule does not use has no effect. A space is refused if
something that it draws has no effect in any of its first draws.

| entry | uses |
| --- | --- |
"""
RECIPES_HEAD = """
## Named recipes

Fields that differ from the baseline; a name is a value of `--recipe`.

| recipe | fields |
| --- | --- |
"""


def page() -> str:
    fields = "".join(
        f"| `{name}` | {_type(field.type)} | {allowed(name)} | `{field.default}` | {field.metadata['unit']} |\n"
        for name, field in FIELDS.items()
    )
    entries = "".join(
        f"| {kind} `{name}` | {', '.join(f'`{field}`' for field in entry.uses) or 'none of its own'} |\n"
        for kind, registry in (("model", MODELS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES))
        for name, entry in registry.items()
    )
    named = "".join(f"| `{name}` | {_differences(name)} |\n" for name in RECIPES)
    return HEAD + fields + OPTIONS + entries + RECIPES_HEAD + named


def _type(kind: Any) -> str:
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}[kind.__name__]


def _differences(name: str) -> str:
    base, other = RECIPES["baseline"].as_dict(), RECIPES[name].as_dict()
    return ", ".join(f"`{field}` {value}" for field, value in other.items() if value != base[field]) or "none"


if __name__ == "__main__":
    PAGE.write_text(page())
