"""Imports point one way (the contracts are in pyproject.toml), and one module opens the test set."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import cli

REPOSITORY = Path(__file__).parent.parent
# Where a heavy package may be imported, as the first folder or module below study.
ALLOWED = {
    "ray": {"execution"},
    "torch": {"training", "data", "execution", "pipeline", "storage", "winner", "export"},
}


def test_imports_point_one_way(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    broken = cli.lint_imports("pyproject.toml", no_cache=True)
    assert broken == 0, capsys.readouterr().out


def imports(file: Path) -> Iterator[str]:
    """The packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_heavy_package_is_known_only_on_its_own_side(package: str) -> None:
    users = [file for folder in ("study", "search_spaces", "results") for file in (REPOSITORY / folder).rglob("*.py")]
    users = [file.relative_to(REPOSITORY) for file in users if package in imports(file)]
    allowed = {("study", name) for name in ALLOWED[package]}
    assert [str(file) for file in users if (file.parts[0], file.parts[1].removesuffix(".py")) not in allowed] == []
    assert users  # so that a package that nobody imports is not allowed for ever


def test_only_test_set_reads_test_images() -> None:
    """A SealedTest has one use, `sealed_test.read()`, and a file of test images (TEST) is named where it is made."""
    readers, makers = set(), set()
    for package in ("study", "search_spaces", "results"):
        for file in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and getattr(node.value, "attr", None) == "sealed_test":
                    readers.add(file.name)
                named = getattr(node, "attr", getattr(node, "id", None))
                if named == "TEST" or (isinstance(node, ast.Constant) and "-test.bin" in str(node.value)):
                    makers.add(file.name)
    assert readers == {"test_set.py"}
    assert makers == {"cifar10.py", "synthetic.py"}


def test_help_and_imports_load_nothing_heavy() -> None:
    for code in ("import study, study.run", "import results", "import study.baseline"):
        check = f"import sys; {code}; sys.exit(bool({{'torch', 'ray', 'optuna'}} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0, code
