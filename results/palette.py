"""The colours and the common style of every picture and page, in light and in dark."""

from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go


@dataclass(frozen=True)
class Palette:
    """One colour for each role, as "#rrggbb", no two alike."""

    surface: str  # behind everything
    ink: str  # titles, and labels that carry the message
    muted: str  # axis labels and notes
    grid: str
    context: str  # trials that are there for comparison
    crowd: str  # trials that were stopped early, the many
    winner: str
    baseline: str
    wrong: str  # mistakes, and what is worse


# Blue against orange is told apart with every common colour blindness. What is written in ink, muted, winner, baseline
# or wrong has a contrast of at least 4.5 to its surface (WCAG 2.2, level AA).
LIGHT = Palette(
    surface="#ffffff",
    ink="#1c2430",
    muted="#5c6675",
    grid="#e8ebf0",
    context="#8d99ab",
    crowd="#c9d1dc",
    winner="#1f5fd0",
    baseline="#b85c00",
    wrong="#c4314b",
)
DARK = Palette(
    surface="#12161d",
    ink="#e7ebf1",
    muted="#9aa5b5",
    grid="#262d38",
    context="#6d7a8d",
    crowd="#475364",
    winner="#79a8ff",
    baseline="#f0a24f",
    wrong="#ff7d8f",
)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TITLE_HEIGHT = 60  # pixels of a figure's top margin that its title and note take

_AXIS = {
    "gridcolor": LIGHT.grid,
    "linecolor": LIGHT.grid,
    "zeroline": False,
    "tickfont": {"color": LIGHT.muted, "size": 12},
    "title": {"font": {"color": LIGHT.muted, "size": 12}, "standoff": 8},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": LIGHT.ink},
        "title": {
            "x": 0,
            "xref": "paper",
            "font": {"size": 17, "color": LIGHT.ink},
            "subtitle": {"font": {"size": 12.5, "color": LIGHT.muted}},
        },
        "paper_bgcolor": LIGHT.surface,
        "plot_bgcolor": LIGHT.surface,
        "xaxis": {**_AXIS, "showgrid": False, "showline": True, "ticks": "outside", "tickcolor": LIGHT.grid},
        "yaxis": {**_AXIS, "automargin": "width"},
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": LIGHT.surface,
            "bordercolor": LIGHT.crowd,
            "font": {"family": FONT, "size": 12, "color": LIGHT.ink},
        },
        "showlegend": False,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": -0.2,
            "yanchor": "top",
            "itemwidth": 30,
            "font": {"color": LIGHT.muted, "size": 12},
        },
    }
)


def dark_colours() -> dict[str, str]:
    """What each colour of LIGHT becomes on a dark surface."""
    return dict(zip(asdict(LIGHT).values(), asdict(DARK).values(), strict=True))


def on_dark(figure: go.Figure) -> go.Figure:
    """A figure that was drawn in the colours of LIGHT, in those of DARK."""
    colours = dark_colours()

    def exchanged(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: exchanged(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return [exchanged(value) for value in part]
        return colours.get(part, part) if isinstance(part, str) else part

    return go.Figure(exchanged(figure.to_dict()))
