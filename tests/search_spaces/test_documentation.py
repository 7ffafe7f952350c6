import re
from pathlib import Path

import pytest

from search_spaces import SPACES, check, load
from study.recipe import BASELINE

PAGE = (Path(__file__).parents[2] / "docs" / "search-spaces.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_documentation_is_a_space_that_can_be_searched(number: int, tmp_path: Path) -> None:
    file = tmp_path / f"example_{number}.py"
    file.write_text(EXAMPLES[number])
    for draw in check(load(f"{file}:space"), BASELINE.as_dict()):
        BASELINE.with_fields(draw.fields)


def test_the_documentation_lists_every_space() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == list(SPACES)
