from pathlib import Path

import pytest
from made_run import MadeTrial, made_run

from study.errors import UserCodeError
from study.pipeline.replay_trial import replay


def test_a_network_that_somebody_elses_event_log_names_is_not_executed(tmp_path: Path) -> None:
    network = tmp_path / "net.py"
    network.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    theirs = made_run(tmp_path / "theirs", [MadeTrial({"model": f"{network}:Net"}, [0.5])], {}, dataset="digits")
    with pytest.raises(UserCodeError, match=r"net\.py:Net without a signature of yours"):
        replay(theirs.path, 0, tmp_path / "data", print)
    assert not (tmp_path / "executed").exists()
