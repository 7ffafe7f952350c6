"""Take the pictures of a run's report that the documentation shows: light, dark and on a phone.

python docs/screenshots.py runs/my-study
python docs/screenshots.py runs/defended --evidence

Writes docs/report-light.png, docs/report-dark.png and docs/report-phone.png, or docs/defended-evidence.png. Needs the
extra `test` (Playwright) and a Chromium: Playwright's own, or one named by --chromium.
"""

import argparse
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from results import load_run, report

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="docs/screenshots.py", description="Take the pictures of a run's report.")
    parser.add_argument("run", metavar="RUN", help="a run directory, or latest")
    parser.add_argument("--chromium", metavar="FILE", help="the browser to use, such as /usr/bin/chromium")
    parser.add_argument("--evidence", action="store_true", help="only the Evidence section of that run")
    arguments = parser.parse_args()
    page = report.write(load_run(arguments.run))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium,
            args=["--no-sandbox", "--disable-gpu"],
        )
        if arguments.evidence:
            photograph(browser, page, HERE / "defended-evidence.png", width=1200, height=760, section="evidence")
        else:
            photograph(browser, page, HERE / "report-light.png", width=1200, height=1560)
            photograph(browser, page, HERE / "report-dark.png", width=1200, height=1560, dark=True, section="search")
            photograph(browser, page, HERE / "report-phone.png", width=390, height=1560)
        browser.close()


def photograph(
    browser: Browser, page: Path, picture: Path, *, width: int, height: int, dark: bool = False, section: str = ""
) -> None:
    """The part of the page that a window of `width` x `height` pixels shows from the top of `section`."""
    window = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", is_mobile=width < 500
    )
    window.goto(page.resolve().as_uri())
    expect(window.locator(".plot:not(:has(svg))")).to_have_count(0)
    if section:
        window.locator(f"#{section}").evaluate("element => element.scrollIntoView({behavior: 'instant'})")
    window.screenshot(path=picture)
    window.close()
    # A page of few colours looks the same in 256, in a third of the bytes.
    Image.open(picture).quantize(256).save(picture, optimize=True)
    print(picture)


if __name__ == "__main__":
    main()
