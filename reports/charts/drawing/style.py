"""How charts look: colours that hold on light and dark paper, and one font whose widths are known everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first is what text is measured in, and as wide as those behind it."""
ROOM = 0.84
"""Of a width, what text may take as it is measured: a browser without that font shows a wider one."""
TEXT, SMALL = 12, 11
"""Font sizes (px)."""
WIDE, NARROW = 880, 320
"""Widths (px) in which charts are drawn: for paper and screens, and for a telephone."""

INK, MUTED, GRID, PAPER = "#1c2430", "#566070", "#dde2e8", "#ffffff"
FASTER, SLOWER, OPEN = "#1f6fb2", "#b4501f", "#75808f"
"""Of a row whose whole interval is above 1, below 1, or holds 1; words say the same."""
SERIES = ("#2a6ebb", "#bf5a00", "#00795a", "#8a46a6", "#0e7c8f", "#b1427f", "#76592c", "#4d5b9e")
"""Of rows that are told apart by a name and a sign as well."""
SHADE = "#eef1f5"
"""Of a measured window."""

DARK: Mapping[str, str] = {
    INK: "#e8ebf0",
    MUTED: "#a7b1be",
    GRID: "#333c48",
    PAPER: "#14181e",
    FASTER: "#5ba8ea",
    SLOWER: "#f08d57",
    OPEN: "#98a3b1",
    SHADE: "#222a34",
    **dict(
        zip(
            SERIES,
            (
                *("#6fb0f4", "#ffa055", "#45c79f", "#cb98e3"),
                *("#4fc5da", "#f291c6", "#cfae70", "#9fabf0"),
            ),
            strict=True,
        )
    ),
}
"""What stands for a colour on dark paper."""

SIGNS = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 3], [1, 3], [6, 2, 1, 2, 1, 2])
"""Signs and strokes that go with `SERIES`, so that colour is never all that tells two rows apart."""


def dark_rules() -> str:
    """CSS that turns the colours of charts into those for dark paper: their marks keep the light ones as attributes,
    which any viewer knows, and a style goes before an attribute."""
    return "".join(
        f'svg [{name}="{light}"]{{{name}:{dark}}}'
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
    )


def config() -> dict[str, Any]:
    """Vega-Lite's configuration of all charts. Marks say nothing to screen readers that the title, the summary and
    the table do not; what has a `description` keeps it, for pointers."""
    text = {"fontSize": SMALL, "color": MUTED, "font": FONT}
    axis = {
        "labelFontSize": SMALL,
        "titleFontSize": SMALL,
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "labelOverlap": True,
        "aria": False,
    }
    return {
        "font": FONT,
        "background": PAPER,
        "padding": 4,
        "view": {"stroke": None},
        "axis": axis,
        # a browser without the first of the fonts has wider ones
        "axisY": {"titlePadding": 14},
        "legend": {
            "labelFontSize": SMALL,
            "titleFontSize": SMALL,
            "labelColor": INK,
            "titleColor": MUTED,
            "titleFontWeight": "normal",
            "labelLimit": 280,
            "columnPadding": 28,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 2,
            "aria": False,
        },
        "title": {
            "aria": False,
            "fontSize": TEXT,
            "color": INK,
            "anchor": "start",
            "fontWeight": "bold",
        },
        "header": {"labelColor": INK, "titleColor": MUTED},
        "text": text,
        "mark": {"aria": False},
    }
