import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.loading import load_object
from study.errors import UserCodeError
from study.storage.user_code import install, read_sources, record_user_code, verify_user_code


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of this machine, whose current directory has a space with a module beside it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "ranges.py").write_text("LOW = 0.001\n")
    (folder / "mine.py").write_text("from ranges import LOW\n\n\ndef space(trial):\n    return {'lr': LOW}\n")
    return folder


@pytest.fixture
def run(home: Path) -> Path:
    record_user_code(home / "run", {"space": "mine.py:space"})
    return home / "run"


def test_a_run_that_this_user_began_resumes_with_the_users_file(run: Path, home: Path) -> None:
    code = verify_user_code(run)
    assert code.references == {"space": f"{home / 'mine.py'}:space"}
    assert code.notices == []


def test_a_run_without_code_of_ones_own_needs_nothing(tmp_path: Path) -> None:
    assert verify_user_code(tmp_path).references == {}


def test_the_run_keeps_the_file_and_the_modules_beside_it(run: Path, home: Path) -> None:
    for name in ("mine.py", "ranges.py"):
        assert (run / "code" / "space" / name).read_text() == (home / name).read_text()


def test_the_same_run_is_found_from_another_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_object(verify_user_code(run).references["space"], "space")(None) == {"lr": 0.001}


def test_where_the_file_is_gone_the_copy_in_the_run_is_loaded(run: Path, home: Path) -> None:
    (home / "mine.py").unlink()
    (home / "ranges.py").unlink()
    code = verify_user_code(run)
    assert code.references["space"] == f"{run / 'code/space/mine.py'}:space"
    assert "is gone" in code.notices[0]


@pytest.mark.parametrize("changed", ["mine.py", "ranges.py"])
def test_a_file_that_changed_is_refused_until_the_change_is_accepted(run: Path, home: Path, changed: str) -> None:
    (home / changed).write_text((home / changed).read_text() + "# changed\n")
    with pytest.raises(UserCodeError, match=r"has changed since .* --accept-changed-code") as error:
        verify_user_code(run)
    assert "\n" not in str(error.value)
    code = verify_user_code(run, accept_changes=True)
    assert code.references == {"space": f"{home / 'mine.py'}:space"}
    assert "has changed" in code.notices[0]


def test_a_run_of_another_user_executes_nothing_before_its_code_is_named_or_trusted(
    run: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    with pytest.raises(UserCodeError, match="was not begun by you") as error:
        verify_user_code(run)
    assert str(run / "code/space/mine.py") in str(error.value)
    assert "--space FILE:NAME" in str(error.value)
    assert verify_user_code(run, {"space": "mine.py:space"}).references == {"space": "mine.py:space"}
    trusted = verify_user_code(run, trust=True)
    assert trusted.references["space"] == f"{run / 'code/space/mine.py'}:space"


def test_a_record_that_was_edited_is_no_longer_signed(run: Path, home: Path) -> None:
    """Whoever changes the code of a run can also write the matching digest into it."""
    evil = home / "evil.py"
    evil.write_text("def space(trial):\n    return {}\n")
    record = json.loads((run / "code/code.json").read_text())
    record["code"][0] |= {"reference": "evil.py:space", "digest": read_sources("evil.py:space", "space").digest}
    (run / "code/code.json").write_text(json.dumps(record))
    with pytest.raises(UserCodeError, match="was not begun by you"):
        verify_user_code(run)


def test_a_copy_that_was_edited_is_not_loaded(run: Path, home: Path) -> None:
    (home / "mine.py").unlink()
    (run / "code/space/mine.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(UserCodeError, match="was changed after the run began"):
        verify_user_code(run)


@pytest.mark.parametrize("name", ["../../mine.py", "/etc/passwd"])
def test_a_record_that_points_out_of_its_folder_is_damaged(run: Path, name: str) -> None:
    record = json.loads((run / "code/code.json").read_text())
    record["code"][0]["files"] = [name]
    (run / "code/code.json").write_text(json.dumps(record))
    with pytest.raises(UserCodeError, match="is damaged"):
        verify_user_code(run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"code": 3}', '{"code": [3], "signature": ""}', '{"code": [{}]}'])
def test_a_damaged_record_is_one_line(run: Path, content: str) -> None:
    (run / "code/code.json").write_text(content)
    with pytest.raises(UserCodeError, match=r"code\.json is damaged"):
        verify_user_code(run)


def test_an_object_that_was_passed_from_python_must_be_passed_again(home: Path) -> None:
    def net() -> None: ...

    def other() -> int:
        return 1

    record_user_code(home / "run", {"network": "python:net"}, {"python:net": net})
    with pytest.raises(UserCodeError, match="pass it again"):
        verify_user_code(home / "run")
    again = verify_user_code(home / "run", {"network": "python:net"}, objects={"python:net": net})
    assert again.references == {"network": "python:net"}
    with pytest.raises(UserCodeError, match="has changed"):
        verify_user_code(home / "run", {"network": "python:net"}, objects={"python:net": other})


def test_a_worker_loads_what_the_driver_sends(home: Path, tmp_path: Path) -> None:
    """In a process of its own, whose folders have no such files."""
    sent = read_sources("mine.py:space", "space")
    elsewhere = tmp_path / "worker"
    elsewhere.mkdir()
    code = (
        "import sys; from study.storage.user_code import SourceFiles, install\n"
        "from search_spaces.loading import load_object\n"
        f"found = install([SourceFiles({sent.reference!r}, {sent.main!r}, {dict(sent.files)!r})])\n"
        "print(load_object(found['mine.py:space'], 'space')(None))"
    )
    environment = {**os.environ, "TMPDIR": str(elsewhere), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "{'lr': 0.001}", done.stderr


def test_installing_twice_changes_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sources = [read_sources("mine.py:space", "space")]
    assert install(sources) == install(sources)


def test_the_key_is_readable_by_its_user_only(run: Path, tmp_path: Path) -> None:
    (key,) = (tmp_path / "state").rglob("signing-key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() not in (run / "code/code.json").read_bytes()


def test_without_a_state_directory_a_run_is_recorded_but_not_recognised(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    record_user_code(home / "run", {"space": "mine.py:space"})
    with pytest.raises(UserCodeError, match="was not begun by you"):
        verify_user_code(home / "run")
