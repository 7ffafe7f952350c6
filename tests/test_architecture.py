"""The architecture: imports point one way, and one module opens the test set."""

import ast
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
RAY = {"execution"}
# The Recipe's choices are the names in these registries, which import nothing of study before an entry is used.
REGISTRIES = ("study.training.models", "study.training.optimizers", "study.training.schedules")
BELOW = [
    "errors", "recipe", "storage", "data", "training", "search", "execution", "config", "pipeline", "api",
    "command_line", "baseline", "replay", "run", "cli", "__main__",
]  # fmt: skip


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def layer(file: Path) -> str:
    parts = file.relative_to(REPOSITORY / "study").parts
    return parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """All but the public face, study/__init__.py, whose imports are lazy."""
    return [file for file in (REPOSITORY / "study").rglob("*.py") if file.read_text() and file.parent.name != "study"] + [
        file for file in (REPOSITORY / "study").glob("*.py") if file.name != "__init__.py"
    ]


def test_search_spaces_and_results_know_neither_study_nor_each_other() -> None:
    for package, strangers in {"search_spaces": {"study", "results"}, "results": {"study", "search_spaces"}}.items():
        for file in (REPOSITORY / package).glob("*.py"):
            assert not {name.split(".")[0] for name in imports(file)} & strangers, file


def test_inside_study_a_module_imports_only_what_stands_below_it() -> None:
    for file in modules():
        for name in imports(file):
            if layer(file) == "recipe" and name.startswith(REGISTRIES):
                continue
            parts = name.split(".")
            if parts[0] == "study" and len(parts) > 1 and parts[1] in BELOW:
                assert BELOW.index(parts[1]) <= BELOW.index(layer(file)), f"{file} imports {name}"


def test_every_module_of_study_has_its_place() -> None:
    assert {layer(file) for file in modules()} == set(BELOW)


def test_only_execution_imports_ray() -> None:
    assert {layer(file) for file in modules() if any(name.split(".")[0] == "ray" for name in imports(file))} == RAY


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
