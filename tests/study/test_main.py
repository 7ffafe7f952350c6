"""One console script for all command lines, which files of the user cannot shadow."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from study import __main__ as cli

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_describes_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec(cli.COMMANDS[command][0]) is None:
        pytest.skip(f"{cli.COMMANDS[command][0]} is not written yet")
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage:")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert [name for name in cli.COMMANDS if f"\n  {name} " not in said] == []


def test_an_unknown_command_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'tune'" in said
    assert "baseline" in said


def test_the_exit_code_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "list", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


COMPLETED = """
source "$1"
COMP_WORDS=(imagestudy run --sam) COMP_CWORD=2
_shtab_imagestudy
echo "${COMPREPLY[@]}"
"""


def test_bash_completes_commands_and_their_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    done = subprocess.run(["bash", "-c", COMPLETED, "bash", script], capture_output=True, text=True, check=True)
    assert "--samples" in done.stdout.split()


def test_a_shell_without_completion_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "command.com"])
    assert stop.value.code == 2
    assert "allowed: bash, zsh" in capsys.readouterr().err


def test_results_says_its_version_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["results", flag])
        assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("imagestudy ")
    assert "exit codes: 0 done; 2" in said


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A current folder whose files have the names of our packages, as many people have them."""
    for name in ("study.py", "results.py", "data.py", "search_spaces.py"):
        (tmp_path / name).write_text("raise SystemExit(f'{__file__} was imported')\n")
    (tmp_path / "runs").mkdir()
    return tmp_path


def console_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the console script as an installer writes it, in `folder`."""
    script = folder / "bin" / "imagestudy"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom study.__main__ import main\nsys.exit(main())\n")
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_files_with_the_names_of_our_packages_do_not_shadow_the_console_script(hostile_folder: Path) -> None:
    done = console_script(hostile_folder, "results", "list", "runs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "runs holds no run" in done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_nor_do_they_shadow_them_in_rays_workers(hostile_folder: Path, synthetic_dir: Path) -> None:
    small = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--space", "sgd", "--samples", "1"]
    done = console_script(hostile_folder, "run", *small, "--max-epochs", "1", "--final-epochs", "1", "--name", "one")
    assert (done.returncode, done.stderr) == (0, "")
    assert (hostile_folder / "runs" / "one" / "final" / "model.pt").exists()
