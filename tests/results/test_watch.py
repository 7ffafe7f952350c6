"""The live report over a real socket."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from made_run import MadeTrial, epoch_event, made_run
from optuna.distributions import FloatDistribution

import results
from results.__main__ import main
from results.watch import ReportServer

TRIALS = [MadeTrial({"lr": 0.1}, [0.5]), MadeTrial({"lr": 0.2}, [0.4], "running")]


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    return made_run(tmp_path / "made", TRIALS, {"lr": FloatDistribution(0.0, 1.0)}, status="running", ended=None)


@pytest.fixture
def server(run: results.Run) -> Iterator[ReportServer]:
    with ReportServer(run.path, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: ReportServer, path: str, **headers: str) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_the_page_is_the_report_of_the_run_as_it_is_now(run: results.Run, server: ReportServer) -> None:
    answer, page = get(server, "/")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "Best so far: trial 0, 50.00%" in page
    with (run.path / "epochs.jsonl").open("a") as log:
        log.write(json.dumps(epoch_event(1, 2, 0.9)) + "\n")
    assert "Best so far: trial 1, 90.00%" in get(server, "/")[1]


def test_the_state_changes_with_the_run_and_only_then(run: results.Run, server: ReportServer) -> None:
    before = get(server, "/state")[1]
    assert get(server, "/state")[1] == before
    with (run.path / "epochs.jsonl").open("a") as log:
        log.write(json.dumps(epoch_event(1, 2, 0.9)) + "\n")
    assert get(server, "/state")[1] != before


def test_only_this_machine_is_answered_and_only_the_report(run: results.Run, server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/state", Host="evil.example:80")[0].status == 403
    assert get(server, "/study.json")[0].status == 404
    assert get(server, "/../study.json")[0].status == 404


def test_a_run_that_cannot_be_read_is_said_and_the_server_continues(run: results.Run, server: ReportServer) -> None:
    content = (run.path / "study.json").read_text()
    (run.path / "study.json").write_text("{")
    answer, said = get(server, "/")
    assert answer.status == 503
    assert "half-written" in said
    (run.path / "study.json").write_text(content)
    assert get(server, "/")[0].status == 200


def test_a_port_in_use_is_refused_in_a_line(
    run: results.Run, server: ReportServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(run.path), "--port", str(server.server_port)]) == 2
    assert "try another --port" in capsys.readouterr().err
