"""A hook of mkdocs: what lies beside docs/ and is linked from there is part of the site.

Links are written as a code host needs them (`../CONTRIBUTING.md` from docs/, `docs/how-to.md` from CONTRIBUTING.md).
In the site these files lie beside the pages.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
NOTEBOOKS = [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in [*BESIDE, *NOTEBOOKS]:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return markdown.replace("](docs/" if page.file.src_uri in BESIDE else "](../", "](")
