"""Networks, trainers and runs that cannot work: one line and exit code 2, before Ray is started and without a run."""

import textwrap
from pathlib import Path

import pytest

from study import baseline, run

WRONG = {
    "no such file": ("", "--model nowhere.py:Net", "nowhere.py"),
    "no such class": ("class Other: pass", "--model net.py:Net", "has no 'Net'"),
    "no parameters": ("def Net(): return Flatten()", "--model net.py:Net", "has no parameters to train"),
    "a tuple": (
        """
        class Net(Sequential):
            def __init__(self): super().__init__(Flatten(), Linear(64, 10))
            def forward(self, x): return super().forward(x), 0
        """,
        "--model net.py:Net",
        "gives tuple; allowed: a tensor of logits [B, 10]",
    ),
    "NaN at the first step": (
        """
        class Net(Sequential):
            def __init__(self): super().__init__(Flatten(), Linear(64, 10))
            def forward(self, x): return super().forward(x) * float("nan")
        """,
        "--model net.py:Net",
        "gives logits that are not finite at the first step",
    ),
    "another number of classes": (
        "def Net(): return Sequential(Flatten(), Linear(64, 7))",
        "--model net.py:Net",
        "gives [2, 7] for 2 images; allowed: logits [2, 10], one for each of the 10 classes",
    ),
    "a trainer without predict": ("class Net: \n    def __iter__(self): yield", "--trainer net.py:Net", "no method"),
    "a trainer with other classes": (
        """
        import numpy as np
        class Net:
            def __iter__(self): yield
            def predict(self, images): return np.full((len(images), 7), 1 / 7)
        """,
        "--trainer net.py:Net",
        "predict of trainer 'net.py:Net' gives (20, 7); allowed: (20, 10)",
    ),
}


@pytest.mark.parametrize("program", [run, baseline], ids=["study.run", "study.baseline"])
@pytest.mark.parametrize("name", WRONG)
def test_code_that_cannot_work_is_one_line_and_exit_code_2(
    name: str, program: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, flag, message = WRONG[name]
    (tmp_path / "net.py").write_text(f"import torch\nfrom torch.nn import *\n{textwrap.dedent(code)}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.execution.cluster.start_ray", None)
    more = ["--space", "sgd"] if program is run else []
    with pytest.raises(SystemExit) as exit:
        program.main([*flag.split(), *more, "--dataset", "digits", "--name", "wrong"])  # type: ignore[attr-defined]
    assert exit.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert "Traceback" not in line
    assert not (tmp_path / "runs" / "wrong").exists()
