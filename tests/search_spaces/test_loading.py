import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces import SpaceError, load
from search_spaces.loading import LoadError, load_object, source_files


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)


def message(reference: str, kind: str = "space") -> str:
    with pytest.raises(LoadError) as error:
        load_object(reference, kind)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_dataclass_under_future_annotations_loads_and_pickles(tmp_path: Path) -> None:
    write(
        tmp_path,
        sized="from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Sized:\n    width: int = 3\n",
    )
    sized = load_object(f"{tmp_path}/sized.py:Sized", "network")
    assert pickle.loads(pickle.dumps(sized(width=5))) == sized(5)


def test_a_neighbour_that_a_function_imports_is_found_when_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, late="def low():\n    import ends_of_late\n    return ends_of_late.LOW\n", ends_of_late="LOW = 7\n")
    assert load_object(f"{tmp_path}/late.py:low", "space")() == 7


def test_a_relative_path_is_seen_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "spaces", mine="NAME = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    assert load_object("spaces/mine.py:NAME", "space") == "mine"


def test_a_file_is_executed_once_until_it_or_a_neighbour_changes(tmp_path: Path) -> None:
    write(tmp_path, once="from beside_once import N\nclass Net:\n    size = N\n", beside_once="N = 1\n")
    reference = f"{tmp_path}/once.py:Net"
    first = load_object(reference, "network")
    assert load_object(reference, "network") is first
    write(tmp_path, beside_once="N = 22\n")
    assert load_object(reference, "network").size == 22


def test_files_and_neighbours_of_one_name_in_two_folders_are_kept_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, same="from helper_of_same import WHO\nclass C:\n    who = WHO\n")
        write(tmp_path / folder, helper_of_same=f"WHO = {folder!r}\n")
    one = load_object(f"{tmp_path}/one/same.py:C", "network")
    two = load_object(f"{tmp_path}/two/same.py:C", "network")
    assert (one.who, two.who) == ("one", "two")
    assert pickle.loads(pickle.dumps(one)) is one
    assert pickle.loads(pickle.dumps(two)) is two


def test_a_file_named_as_a_module_of_python_does_not_take_its_place(tmp_path: Path) -> None:
    import random

    write(tmp_path, random="NAME = 'mine'\n")
    assert load_object(f"{tmp_path}/random.py:NAME", "space") == "mine"
    assert sys.modules["random"] is random


def test_a_neighbour_with_the_name_of_a_library_in_use_is_refused(tmp_path: Path) -> None:
    write(tmp_path, mine="import optuna\n", optuna="")
    assert "optuna.py has the name of a module that is in use, optuna; rename the file" in message(
        f"{tmp_path}/mine.py:space"
    )


def test_a_neighbour_that_would_hide_this_suite_is_refused(tmp_path: Path) -> None:
    write(tmp_path, mine="A = 1\n", results="")
    assert "results.py beside it hides a package of this suite; rename it" in message(f"{tmp_path}/mine.py:A")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nowhere.py:space", "space 'nowhere.py:space': there is no file nowhere.py"),
        ("os.path:space", "os.path has no 'space'"),
        ("not_there.at_all:space", "there is no module not_there"),
        ("optuna.not_there:space", "there is no module optuna.not_there"),
        ("optuna:create_stud", "optuna has no 'create_stud'; did you mean 'create_study'?"),
        ("mine.py", "name what to load from it, as in mine.py:NAME"),
        ("mine.py:", "allowed: file.py:name or package.module:name"),
        (":space", "allowed: file.py:name or package.module:name"),
        (".:space", "space '.:space': "),
        (".relative:space", "space '.relative:space': "),
    ],
)
def test_what_is_not_there_is_named_in_one_line(reference: str, words: str) -> None:
    assert words in message(reference)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\n\nraise RuntimeError('half\\ndone')\n", "RuntimeError: half done (broken.py, line 3)"),
        ("import os\ndef space(:\n", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("import optuna\n\noptuna.create_study(direction='up')\n", "(broken.py, line 3)"),
        ("import not_installed_at_all\n", "No module named 'not_installed_at_all' (broken.py, line 1)"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye (broken.py, line 2)"),
        ("import beside_broken\n", "ZeroDivisionError: division by zero (beside_broken.py, line 2)"),
    ],
)
def test_an_error_on_import_names_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    write(tmp_path, broken=text, beside_broken="\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert words in message("broken.py:space")
    assert "broken" not in sys.modules


def test_bytes_that_are_no_text_are_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00 = 1\n")
    assert "binary.py" in message(f"{tmp_path}/binary.py:space")


def test_source_files_are_the_file_and_the_neighbours_that_it_imports_also_late_and_through_packages(
    tmp_path: Path,
) -> None:
    write(tmp_path, mine="import os, torch\nfrom a import X\ndef space(trial):\n    from parts import blocks\n")
    write(tmp_path, a="import search_spaces, mine\n", unused="")
    write(tmp_path / "parts", blocks="from . import widths\n", widths="")
    write(tmp_path / "torch", readme="")
    found = source_files(f"{tmp_path}/mine.py:space")
    assert [str(file.relative_to(tmp_path)) for file in found] == [
        "mine.py",
        "a.py",
        "parts/blocks.py",
        "parts/widths.py",
    ]


def test_source_files_of_a_module_are_looked_up_from_the_root_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "project", __init__="", nets="from project import layers\nfrom . import sizes\n")
    write(tmp_path / "project", layers="", sizes="", unused="")
    monkeypatch.syspath_prepend(tmp_path)
    found = source_files("project.nets:Net")
    assert [file.name for file in found] == ["nets.py", "__init__.py", "layers.py", "sizes.py"]


def test_source_files_of_a_library_are_its_own_file() -> None:
    assert [file.name for file in source_files("optuna.samplers:TPESampler")] == ["__init__.py"]


def test_source_files_of_what_is_not_there_is_an_error_in_one_line() -> None:
    with pytest.raises(LoadError, match=r"^network 'gone.py:Net': there is no file gone.py$"):
        source_files("gone.py:Net", "network")


def test_an_installed_command_finds_packages_in_the_current_directory(tmp_path: Path) -> None:
    write(tmp_path / "mypackage", space="HERE = 1\n")
    code = (
        "import sys; sys.path = [entry for entry in sys.path if entry]; "
        "from search_spaces.loading import load_object; print(load_object('mypackage.space:HERE', 'space'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.stdout == "1\n", finished.stderr


def test_a_space_is_a_name_a_reference_or_the_function_itself(tmp_path: Path) -> None:
    write(tmp_path, mine="def space(trial):\n    return {}\nNUMBER = 3\n")
    assert load(load("sgd")) is load("search_spaces.sgd:space")
    assert load(f"{tmp_path}/mine.py:space")(None) == {}  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match="is int; allowed: a function of an Optuna trial"):
        load(f"{tmp_path}/mine.py:NUMBER")
    with pytest.raises(SpaceError, match=r"space 'cnnn' is unknown; allowed: baseline, .* did you mean 'cnn'\?"):
        load("cnnn")
