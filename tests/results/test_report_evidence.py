"""What the report shows of candidate label errors and replicates, without a browser."""

import json
import re
import shutil
from pathlib import Path

import reported_run

from results import load_run, report


def test_candidate_label_errors_are_shown_the_most_doubtful_first_with_their_count(tmp_path: Path) -> None:
    path = reported_run.search(tmp_path / "one").path
    pictures = sorted((path / "final" / "mistakes").glob("*.png"))[:3]
    shutil.copytree(path / "final" / "mistakes", path / "final" / "label-errors")
    metrics = json.loads((path / "final" / "metrics.json").read_text())
    doubtful = [int(picture.stem) for picture in reversed(pictures)] + [199]
    metrics["candidate_label_errors"] = doubtful
    (path / "final" / "metrics.json").write_text(json.dumps(metrics))
    page = report.render(load_run(path))
    assert "Candidate label errors" in page
    assert "The 3 most doubtful of 4 test images" in page
    places = [page.index(f'alt="test image {image}, labelled ') for image in doubtful[:3]]
    assert places == sorted(places)


def test_a_study_without_candidates_or_replicates_says_nothing_of_them(tmp_path: Path) -> None:
    page = report.render(reported_run.search(tmp_path / "one"))
    assert "Candidate label errors" not in page
    assert "replicate" not in page.split("plotly_js")[0].split("<script>")[0]


def test_replicates_are_a_table_with_what_each_found_and_what_came_back(tmp_path: Path) -> None:
    path = reported_run.search(tmp_path / "one").path
    for number in (1, 2):
        reported_run.search(path / "replicates" / str(number), name=f"one/replicates/{number}")
    run = load_run(path)
    assert [each.path.name for each in run.replicates] == ["1", "2"]
    page = report.render(run)
    text = re.sub("<t[hd][^>]*>", "<td>", " ".join(page[page.index("The study and its replicates") :].split()))
    assert "<td>replicate 2<" in text
    winner = run.final["winner"]["recipe"]["optimizer"] if run.final is not None else ""
    assert f"<td>optimizer</td><td>{winner}</td><td>3 of 3</td>" in text
    assert "Replicates" in page


def test_a_damaged_replicate_is_left_out_and_named(tmp_path: Path) -> None:
    path = reported_run.search(tmp_path / "one").path
    (path / "replicates" / "1").mkdir(parents=True)
    (path / "replicates" / "1" / "study.json").write_text("{")
    run = load_run(path)
    assert run.replicates == ()
    assert any(line.startswith("replicates/1/ cannot be read") for line in run.dropped)
