"""Draw the baseline's learning curves by seed with the published points marked, for the documentation.

python docs/baseline_curves.py runs/my-baseline

The run is one of `python -m study.baseline`. Writes docs/baseline-curves.png. Needs the extra `test` (Playwright) and a
Chromium: Playwright's own, or one named by --chromium.
"""

import argparse
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots

from results import Run, load_run
from results.palette import LIGHT, TEMPLATE
from study.pipeline.published import PUBLISHED

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1000, 420


def curves(run: Run) -> go.Figure:
    """Training loss by epoch and test accuracy, a line and a dot for each seed; the published numbers as diamonds."""
    if run.final is None:
        raise SystemExit(f"docs/baseline_curves.py: {run.path} has not been evaluated")
    titles = ("Training loss, mean over the epoch", f"Test accuracy after {run.final['final_epochs']} epochs, %")
    figure = make_subplots(1, 2, subplot_titles=titles, column_widths=[0.68, 0.32], horizontal_spacing=0.08)
    published = {"color": LIGHT.baseline, "symbol": "diamond", "size": 12, "line": {"color": "white", "width": 1}}
    for seed, curve in run.final_epochs.groupby("seed"):
        line = {"color": LIGHT.winner, "width": 1.5}
        x, y = curve["training_iteration"], curve["train_loss"]
        figure.add_scatter(x=x, y=y, name=f"seed {seed}", mode="lines", line=line, opacity=0.7, row=1, col=1)
    losses = PUBLISHED["cifar10"]["published_train_loss"]
    text = [f"published {loss}" for loss in losses.values()]
    figure.add_scatter(
        x=[int(epoch) for epoch in losses], y=list(losses.values()), text=text, mode="markers+text",
        textposition=["top right", "bottom left"],
        marker=published, textfont={"color": LIGHT.baseline}, cliponaxis=False, row=1, col=1,
    )  # fmt: skip
    found = [100 * each["accuracy"] for each in run.final["recipe_under_test"]["seeds"]]
    names = [f"seed {number}" for number in range(1, 1 + len(found))]
    figure.add_scatter(x=names, y=found, mode="markers", marker={"color": LIGHT.winner, "size": 10}, row=1, col=2)
    level = 100 * PUBLISHED["cifar10"]["published_accuracy"]
    figure.add_hline(
        y=level, line={"color": LIGHT.baseline, "dash": "dot"}, annotation_text=f"published {level:.2f}",
        annotation_font_color=LIGHT.baseline, row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(title="epoch", row=1, col=1).update_yaxes(rangemode="tozero", row=1, col=1)
    return figure.update_layout(template=TEMPLATE, showlegend=False, width=WIDTH, height=HEIGHT, margin_t=60)


def main() -> None:
    parser = argparse.ArgumentParser(prog="docs/baseline_curves.py", description="Draw the baseline's learning curves.")
    parser.add_argument("run", metavar="RUN", help="a run directory of study.baseline")
    parser.add_argument("--chromium", metavar="FILE", help="the browser to use, such as /usr/bin/chromium")
    arguments = parser.parse_args()
    page = curves(load_run(arguments.run)).to_html(include_plotlyjs=True, config={"staticPlot": True})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox", "--disable-gpu"])
        window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT + 10})
        window.set_content(page)
        window.locator(".main-svg").first.wait_for()
        window.screenshot(path=HERE / "baseline-curves.png")
        browser.close()


if __name__ == "__main__":
    main()
