"""What a killed process leaves behind is removed by the next one, and what a living one needs is not."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from study.storage.files import scratch_folder, write_json

KILLED = """
import os, signal, sys
from pathlib import Path
from study.storage.files import atomic_write, scratch_folder
with scratch_folder(Path(sys.argv[1])) as scratch, atomic_write(Path(sys.argv[1]) / "study.json") as file:
    (scratch / "half").write_bytes(b"x")
    file.write(b"{")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with scratch_folder(tmp_path) as scratch:
        write_json(tmp_path / "study.json", {})
        assert set(tmp_path.iterdir()) == {scratch, tmp_path / "study.json"}
    assert list(tmp_path.iterdir()) == [tmp_path / "study.json"]


def test_what_living_processes_and_other_machines_use_stays(tmp_path: Path) -> None:
    used = [tmp_path / f".partial-{platform.node()}-{os.getppid()}-x", tmp_path / ".partial-elsewhere-1-x"]
    for folder in used:
        folder.mkdir()
    with scratch_folder(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == sorted(used)
