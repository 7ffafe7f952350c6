"""The documentation holds what it promises: generated pages are current, links lead somewhere, commands parse."""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.config import StudyConfig
from study.search.samplers import SAMPLERS
from study.search.schedulers import SCHEDULERS
from study.training.metrics import METRICS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# Pages that show how to use the suite of today. The others also keep commands of the code that they were written with.
CURRENT = [
    "README",
    "how-to",
    "first-study",
    "analysis",
    "own-images",
    "results",
    "search-spaces",
    "clusters",
    "tools",
    "winner",
    "own-network",
]


def code_of(page: Path) -> list[str]:
    """The lines of code blocks, and the code inside sentences; lines that end in a backslash are joined."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [line for block in blocks for line in block.splitlines()] + indented + spans


def commands_of(page: Path) -> list[str]:
    """`MODULE ARGUMENTS` of each of our own commands on the page."""
    found: list[str] = []
    for code in code_of(page):
        for part in re.split(r"&&|\||;|^\$ | -- ", code):
            words = re.sub(r"\s+#.*", "", " ".join(part.split()))
            if match := re.match(r"python -m ((?:study(?:\.\w+)|results|search_spaces)(?: .*)?)$", words):
                found.append(match[1])
    return found


COMMANDS = [
    (page.stem, each) for page in PAGES if page.stem in CURRENT for each in commands_of(page) if "--help" not in each
]


class Parsed(Exception):
    """The command line was accepted."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends as soon as it has parsed its command line."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_end(self: argparse.ArgumentParser, *arguments: Any) -> None:
        parse_args(self, *arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_that_a_page_shows_is_one_that_the_program_accepts(
    page: str, command: str, parse_only: None
) -> None:
    module, *arguments = shlex.split(command)
    spec = find_spec(module)
    assert spec is not None, f"{page} shows python -m {module}, which does not exist"
    main = import_module(f"{module}.__main__" if spec.submodule_search_locations else module).main
    with pytest.raises(Parsed):
        main(arguments)


def test_a_flag_that_no_program_has_is_noticed(parse_only: None) -> None:
    from study import run

    with pytest.raises(SystemExit):
        run.main(["--no-such-flag"])


def test_readme_is_short_and_has_commands() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130
    assert {command.split()[0] for page, command in COMMANDS if page == "README"} >= {"study.run", "study.data"}


def test_readme_has_the_line_that_ci_runs() -> None:
    assert (ROOT / "README.md").read_text().splitlines().count('pip install -e ".[test]" && pytest') == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    missing = [each for each in targets if "://" not in each and not (page.parent / each.partition("#")[0]).exists()]
    assert missing == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as a site, built with every warning as an error: a link, an anchor, a page in no navigation."""
    pytest.importorskip("mkdocs", reason="mkdocs is missing: pip install -e '.[docs]'")
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.slow
def test_the_site_has_the_pages_beside_the_documentation_and_their_links_lead_into_it(site: Path) -> None:
    assert {"CHANGELOG.html", "CONTRIBUTING.html", "SECURITY.html"} <= {page.name for page in site.glob("*.html")}
    assert 'href="CONTRIBUTING.html"' in (site / "how-to.html").read_text()
    assert 'href="clusters.html"' in (site / "SECURITY.html").read_text()
    assert (site / "notebooks" / "analyze_results.ipynb").exists()


@pytest.mark.slow
def test_the_site_has_the_docstrings_of_the_python_api(site: Path) -> None:
    page = (site / "api.html").read_text()
    assert {"study.api.tune", "results.run.Run.to_optuna"} <= set(re.findall(r'id="([\w.]+)"', page))
    assert "Searches for a better recipe" in page


@pytest.mark.slow
def test_every_list_and_table_of_a_page_is_one_in_the_site(site: Path) -> None:
    """Python-Markdown takes a list without a blank line before it, or a table too far left in an item, as text."""
    text = [re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL) for page in site.glob("*.html")]
    assert [line for page in text for line in page.splitlines() if re.match(r"\s*(<p>)?(- |\| )", line)] == []


@pytest.mark.slow
def test_no_picture_of_the_site_is_missing(site: Path) -> None:
    pictures = {
        site / source
        for page in site.glob("*.html")
        for source in re.findall(r'<img[^>]+src="([^":]+)"', page.read_text())
    }
    assert site / "report-light.png" in pictures
    assert [picture.name for picture in sorted(pictures) if not picture.exists()] == []


def test_package_changelog_and_citation_have_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+), (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == newest.groups()


def test_the_index_names_every_page_once() -> None:
    named = re.findall(r"^- \[([\w-]+\.md)\]", (ROOT / "docs" / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("name", ["settings", "recipe"])
def test_a_generated_page_is_what_its_script_writes_now(name: str) -> None:
    spec = spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "docs" / f"{name}.md").read_text() == script.page(), f"run python docs/{name}.py"


@pytest.mark.parametrize(
    ("setting", "registry"), [("sampler", SAMPLERS), ("scheduler", SCHEDULERS), ("metric", METRICS)]
)
def test_the_help_of_a_setting_names_what_it_may_be(setting: str, registry: dict[str, Any]) -> None:
    text = StudyConfig.model_fields[setting].description or ""
    assert [name for name in registry if not re.search(rf"\b{re.escape(name)}\b", text)] == []


def test_every_test_that_a_page_names_exists() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    named |= set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    assert named
    assert named - defined == set()
