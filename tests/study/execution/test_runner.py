"""What a study says where Ray Tune ends with an error."""

from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces import SpaceError
from study.errors import StudyFailed
from study.execution import runner


def test_an_error_of_the_space_is_its_own_with_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit() -> None:
        raise SpaceError("space mine.py:space: the space raised KeyError: 'sgd' (mine.py, line 3)")

    monkeypatch.setattr(runner.cluster, "is_up", lambda: True)
    monkeypatch.setattr(runner, "_tuner", lambda *arguments: SimpleNamespace(fit=fit))
    setup: Any = SimpleNamespace(store=SimpleNamespace(folder=None))
    unused: Any = None
    with pytest.raises(StudyFailed) as ended:
        runner.run_trials(unused, setup, unused, unused, unused, unused)
    assert str(ended.value) == (
        "space mine.py:space: the space raised KeyError: 'sgd' (mine.py, line 3); correct the space, then resume with "
        "--accept-changed-code"
    )
    assert not ended.value.resumable
