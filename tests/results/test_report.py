"""The report as a reader meets it: in a real browser, on a desk and on a phone, with and without light."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import reported_run
from made_run import MadeTrial, made_run
from optuna.distributions import CategoricalDistribution, FloatDistribution
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

import results
from results import Run, palette, report

pytestmark = pytest.mark.browser
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = """"'><img src=x onerror=document.title='taken'></script><script>document.title='taken'</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            # Playwright's own where the system has none
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        except Error as error:
            if "CI" in os.environ:
                raise
            pytest.skip(f"there is no Chromium: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return reported_run.search(tmp_path_factory.mktemp("runs") / "made", 18)


class Reader:
    """Opens reports, and keeps what a page asked of the network, said on its console or threw."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.complaints: list[str] = []
        self.pages: list[Page] = []

    def __call__(self, run: Run, width: int = 1280, *, dark: bool = False) -> Page:
        page = self.browser.new_page(
            viewport={"width": width, "height": 844}, color_scheme="dark" if dark else "light", is_mobile=width < 500
        )
        self.pages.append(page)
        address = report.write(run).resolve().as_uri()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.complaints.append(request.url))
        page.goto(address)
        expect(page.locator(".plot:not(:has(svg))")).to_have_count(0)
        self.complaints.remove(address)
        return page

    def close(self) -> None:
        for page in self.pages:
            page.close()
        assert [each for each in self.complaints if not each.startswith("data:")] == []


@pytest.fixture
def opened(browser: Browser) -> Iterator[Reader]:
    """Opens a run's report; a complaint of the page is an error at the end of the test."""
    reader = Reader(browser)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def shared(browser: Browser, run: Run) -> Iterator[Page]:
    reader = Reader(browser)
    yield reader(run)
    reader.close()


@pytest.fixture
def page(shared: Page) -> Page:
    """The finished run's report on a desk, in light; shared, as opening it takes a second."""
    shared.get_by_label("Filter").fill("")
    return shared


def column(page: Page, name: str) -> list[str]:
    """What the trials table shows of one column, in the order and with the rows that a reader sees."""
    headings = page.locator("#trials-table th").evaluate_all("all => all.map(each => each.dataset.column)")
    return page.locator(f"#trials-table tbody tr:visible td:nth-child({headings.index(name) + 1})").all_inner_texts()


def colour(code: str) -> str:
    """A colour of the palette as a browser writes it."""
    return "rgb({}, {}, {})".format(*(int(code[at : at + 2], 16) for at in (1, 3, 5)))


def variant(run: Run, path: Path, **study: Any) -> Path:
    """A copy of the run's directory, with some of study.json changed."""
    shutil.copytree(run.path, path)
    content = json.loads((path / "study.json").read_text())
    (path / "study.json").write_text(json.dumps(content | study))
    return path


def test_the_page_opens_offline_without_a_complaint_and_draws_every_picture(run: Run, page: Page) -> None:
    assert page.title() == run.name
    assert page.locator(".plot svg.main-svg").count() >= page.locator(".plot").count() > 12
    assert page.locator(".verdict").inner_text() == "The found model is better than the baseline."


def test_the_parts_stand_in_the_order_that_a_reader_needs(page: Page) -> None:
    parts = page.locator("main section").evaluate_all("all => all.map(each => each.id)")
    assert parts == ["recipe", "search", "test", "evidence", "findings", "trials", "reproduce"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_and_pictures_follow_the_readers_light(run: Run, opened: Reader, dark: bool) -> None:
    page = opened(run, dark=dark)
    surface = colour((palette.DARK if dark else palette.LIGHT).surface)
    expect(page.locator("body")).to_have_css("background-color", surface)
    for paper in page.locator(".plot .main-svg:first-child").all():
        expect(paper).to_have_css("background-color", surface)


def test_a_reader_who_changes_the_light_sees_the_pictures_change(run: Run, opened: Reader) -> None:
    page = opened(run)
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".plot .main-svg").first).to_have_css("background-color", colour(palette.DARK.surface))


def test_paper_is_always_light_and_no_wider_than_a_page(run: Run, opened: Reader) -> None:
    page = opened(run, dark=True)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    layout = page.evaluate("document.querySelector('.wide .plot').layout")
    assert layout["template"]["layout"]["paper_bgcolor"] == palette.LIGHT.surface
    assert layout["width"] <= 680


@pytest.mark.parametrize("kind", ["search", "baseline", "unfinished"])
def test_a_phone_scrolls_down_only(run: Run, opened: Reader, tmp_path: Path, kind: str) -> None:
    if kind == "baseline":
        run = reported_run.baseline(tmp_path / "seeds")
    elif kind == "unfinished":
        run = reported_run.search(tmp_path / "going", 18, final=False, status="running", ended=None)
    page = opened(run, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    inside = page.locator(".facts, .picture, .box, pre, .mistakes, .findings li, .provenance").evaluate_all(
        "all => all.every(each => each.getBoundingClientRect().right <= 390)"
    )
    assert inside


def test_trials_come_best_first_and_a_click_on_a_heading_sorts_them(run: Run, opened: Reader) -> None:
    page = opened(run)
    ranked = results.leaderboard(run).index.astype(str).tolist()
    assert column(page, "trial")[: len(ranked)] == ranked
    page.get_by_role("button", name="lr", exact=True).click()
    assert [float(text) for text in column(page, "lr")] == pytest.approx(sorted(run.trials["config/lr"]), rel=1e-2)
    page.get_by_role("button", name="lr", exact=True).click()
    falling = sorted(run.trials["config/lr"], reverse=True)
    assert [float(text) for text in column(page, "lr")] == pytest.approx(falling, rel=1e-2)
    assert page.locator("#trials-table th[aria-sort]").count() == 1


def test_what_a_trial_has_not_is_sorted_last_either_way(run: Run, page: Page) -> None:
    missing = int(run.trials["config/momentum"].isna().sum())
    assert missing
    for _ in range(2):
        page.get_by_role("button", name="momentum", exact=True).click()
        assert column(page, "momentum")[-missing:] == [""] * missing


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("diverged", "status == 'diverged'"),
        ("status=completed", "status == 'completed'"),
        ("lr>0.01", "`config/lr` > 0.01"),
        ("LR >= 0.001 lr <= 0.1", "0.001 <= `config/lr` <= 0.1"),
        ("val_accuracy>50%", "val_accuracy > 0.5"),
        ("optimizer!=sgd completed", "`config/optimizer` != 'sgd' and status == 'completed'"),
        ("no-such-word", "status == 'no-such-word'"),
    ],
)
def test_a_filter_shows_the_trials_that_meet_all_its_terms(run: Run, page: Page, terms: str, expected: str) -> None:
    page.get_by_label("Filter").fill(terms)
    wanted = run.trials.query(expected).index
    assert sorted(map(int, column(page, "trial"))) == sorted(wanted)
    assert page.locator("#shown").inner_text() == f"{len(wanted)} of {len(run.trials)} trials"


def test_a_filter_on_an_unknown_column_is_an_error_and_hides_nothing(run: Run, page: Page) -> None:
    page.get_by_label("Filter").fill("lrr>0.1")
    assert page.locator("#shown").inner_text() == "There is no column lrr."
    assert len(column(page, "trial")) == len(run.trials)


def test_widths_are_sorted_by_their_numbers(opened: Reader, tmp_path: Path) -> None:
    widths = ["32-64", "8-16", "128-256", "16-32"]
    trials = [MadeTrial({"channels": each}, [0.5, 0.6]) for each in widths]
    page = opened(made_run(tmp_path / "widths", trials, {"channels": CategoricalDistribution(widths)}))
    page.get_by_role("button", name="channels", exact=True).click()
    assert column(page, "channels") == ["8-16", "16-32", "32-64", "128-256"]


def test_every_number_of_the_trials_table_is_that_of_the_run(run: Run, page: Page) -> None:
    page.get_by_role("button", name="trial", exact=True).click()
    headings = page.locator("#trials-table th").evaluate_all("all => all.map(each => each.dataset.column)")
    cells = page.locator("#trials-table tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.dataset.value))"
    )
    table = run.trials.rename(columns=lambda name: name.removeprefix("config/")).reset_index(names="trial")[headings]
    expected = [["" if pd.isna(value) else str(value) for value in row] for row in table.itertuples(index=False)]
    assert sorted(cells) == sorted(expected)


def test_the_most_confident_mistakes_are_shown_surest_first(run: Run, page: Page) -> None:
    assert run.predictions is not None
    wrong = run.predictions[run.predictions["winner"] != run.predictions["label"]].nlargest(6, "winner_confidence")
    said = page.locator(".mistakes li").all_inner_texts()
    assert [text.split("\n")[-1] for text in said] == [f"{value:.1%}" for value in wrong["winner_confidence"]]
    sizes = page.locator(".mistakes img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert sizes == [32] * 6


def test_each_finding_of_the_doctor_is_shown_with_its_evidence_and_suggestion(run: Run, page: Page) -> None:
    findings = results.diagnose(run)
    assert findings
    said = page.locator("#findings .findings li").all_inner_texts()
    assert len(said) == len(findings)
    for text, finding in zip(said, findings, strict=True):
        name, evidence, suggestion = filter(None, text.split("\n"))
        assert name.lower().startswith(finding.name)
        assert name.endswith(finding.severity)
        assert evidence == finding.evidence.replace("`", "")
        assert suggestion.endswith(finding.suggestion.replace("`", ""))


def test_the_next_space_can_be_saved_from_the_page(opened: Reader, tmp_path: Path) -> None:
    dropouts = [at / 20 for at in range(11)]
    trials = [MadeTrial({"dropout": dropout}, [0.5, 0.6 + dropout / 10]) for dropout in dropouts]
    run = made_run(tmp_path / "edge", trials, {"dropout": FloatDistribution(0.0, 0.5)})
    page = opened(run)
    with page.expect_download() as saving:
        page.get_by_role("link", name="save it as next.py").click()
    assert saving.value.suggested_filename == "next.py"
    saving.value.save_as(tmp_path / "next.py")
    assert (tmp_path / "next.py").read_text() == results.next_space(run)
    said = page.locator("#findings").inner_text()
    assert "Move that edge of dropout from 0.5 to 0.667." in said
    assert "python -m study.run --space next.py:space --samples 11" in said


def test_where_no_range_should_move_there_is_no_next_space(opened: Reader, tmp_path: Path) -> None:
    page = opened(reported_run.search(tmp_path / "few", 3))
    assert page.locator(".findings li").count() > 0
    assert page.locator("#findings pre").count() == 0


def test_it_says_how_to_do_it_again(run: Run, page: Page) -> None:
    said = page.locator("#reproduce").inner_text()
    assert "python -m study.run --samples 12 --name made" in said
    for fact in (run.study["git"]["revision"], run.study["data"]["digest"], "torch 2.6.0", "70"):
        assert fact in said


def test_synthetic_images_are_named_in_the_title_and_over_every_part(run: Run, opened: Reader, tmp_path: Path) -> None:
    page = opened(results.load_run(variant(run, tmp_path / "made-up", dataset="synthetic")))
    assert "synthetic" in page.title()
    assert all("synthetic" in heading for heading in page.locator("main h2").all_inner_texts())
    assert "no number on this page says anything about real ones" in page.locator("header").inner_text()


def test_a_running_study_has_no_verdict_but_a_best_so_far(opened: Reader, tmp_path: Path) -> None:
    run = reported_run.search(tmp_path / "going", 6, final=False, status="running", ended=None)
    page = opened(run)
    assert page.locator(".verdict").inner_text() == "No verdict yet."
    best = results.best(run)
    assert f"Best so far: trial {best.name}, {best['val_accuracy']:.2%}" in page.locator(".detail").inner_text()
    assert "not been evaluated" in page.locator("#recipe .missing").inner_text()


def test_a_study_that_has_not_begun_says_so(opened: Reader, tmp_path: Path) -> None:
    page = opened(reported_run.search(tmp_path / "empty", 0, final=False, status="failed", reason="no space left"))
    said = page.locator(".detail").inner_text()
    assert said.startswith("The study failed (no space left). Continue it:")
    assert said.endswith("No trial can be ranked.")
    assert page.locator("#trials .missing").inner_text() == "No trial has begun."


def test_what_was_damaged_is_named(run: Run, opened: Reader, tmp_path: Path) -> None:
    path = variant(run, tmp_path / "damaged")
    with (path / "epochs.jsonl").open("a") as record:
        record.write('{"event": "ep')
    notices = opened(results.load_run(path)).locator(".notice").all_inner_texts()
    assert any("half-written" in notice for notice in notices)


def test_a_baseline_run_is_set_beside_the_publication(opened: Reader, tmp_path: Path) -> None:
    run = reported_run.baseline(tmp_path / "seeds")
    page = opened(run)
    rows = dict(text.split("\t", 1) for text in page.locator(".published tbody tr").all_inner_texts())
    assert list(rows) == ["training loss, epoch 10", "training loss, epoch 30", "test accuracy, epoch 30"]
    losses = run.final_epochs.query("training_iteration == 10")["train_loss"]
    assert rows["training loss, epoch 10"].split("\t")[:2] == ["1.073", f"{losses.mean():.3f}"]
    assert "--seeds 3" in page.locator("pre").inner_text()


def test_a_running_baseline_run_shows_its_losses_so_far(opened: Reader, tmp_path: Path) -> None:
    path = reported_run.baseline(tmp_path / "seeds").path
    for name in ("metrics.json", "predictions.csv"):
        (path / "final" / name).unlink()
    page = opened(results.load_run(variant(results.load_run(path), tmp_path / "going", status="running", ended=None)))
    assert page.locator(".verdict").inner_text() == "Not evaluated yet."
    assert page.locator(".plot").count() == 1
    assert "no predictions" in page.locator("#test .missing").inner_text()


def test_nothing_in_a_run_directory_can_become_markup_or_script(run: Run, opened: Reader, tmp_path: Path) -> None:
    path = variant(
        run, tmp_path / "evil", name=EVIL, command=[EVIL], reason=EVIL, space=EVIL, created=EVIL, git=None,
        versions={EVIL: EVIL}, test_openings=[{"time": EVIL, "role": EVIL, "seed": 1}],
    )  # fmt: skip
    quoted = json.dumps(EVIL)
    events = (path / "epochs.jsonl").read_text().replace('"optimizer"', quoted).replace('"adamw"', quoted)
    (path / "epochs.jsonl").write_text(events.replace('"rung 1"', quoted))
    metrics = json.loads((path / "final/metrics.json").read_text())
    metrics["winner"]["recipe"]["lr"] = EVIL
    (path / "final/metrics.json").write_text(json.dumps(metrics | {"sentence": EVIL, "verdict": EVIL}))
    evil = results.load_run(path)
    page = opened(evil)
    assert page.title() == EVIL
    assert EVIL in page.locator("h1").inner_text()
    assert page.locator("img[src=x]").count() == 0
    assert EVIL not in report.render(evil)


def test_a_script_that_is_not_the_pages_own_is_refused(run: Run, browser: Browser, tmp_path: Path) -> None:
    html = report.render(run).replace("</main>", "<script>document.title = 'taken'</script></main>")
    (tmp_path / "report.html").write_text(html)
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.title() == run.name
    page.close()


def test_a_report_is_written_whole_or_not_at_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report.write(run).read_text(encoding="utf-8")

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        report.write(run)
    monkeypatch.undo()
    assert (run.path / "report.html").read_text() == before
    assert sorted(path.name for path in run.path.glob(".report*")) == []


def test_two_hundred_trials_fit_into_eight_megabytes_with_plotly_in_it_once(tmp_path: Path) -> None:
    page = report.write(reported_run.search(tmp_path / "many", 200))
    assert page.stat().st_size < 8e6
    assert len(re.findall(r"plotly\.js v\d", page.read_text())) == 1


def test_the_costs_of_winner_and_baseline_and_the_model_card_are_on_the_page(tmp_path: Path) -> None:
    made = reported_run.search(tmp_path / "made")
    assert "Costs in use" not in report.render(made)
    assert "final/README.md" not in report.render(made)
    file = made.path / "final" / "metrics.json"
    content = json.loads(file.read_text())
    counted = {"parameters": 76_538, "multiply_adds": 464_096, "file_bytes": 309_325}
    content["winner"]["costs"] = {**counted, "seconds_batch_1": 0.002, "device": "cpu", "threads": 1}
    content["winner"]["unused"] = {"kernel": "model is 'mine.py:Net'"}
    file.write_text(json.dumps(content))
    (made.path / "final" / "README.md").write_text("# card")
    page = report.render(results.load_run(made.path))
    assert "Costs in use (times on cpu, 1 threads)" in page
    assert '<td class="text">parameters</td><td class="number">76,538</td>' in page
    assert '<a href="final/README.md">' in page
    assert "not used" in page
