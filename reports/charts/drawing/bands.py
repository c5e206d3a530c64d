"""Rows beneath each other, each with its name above it and its figure beside or beneath, so that a long name costs no
width: what most charts are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import style
from .figure import at_px, values

if TYPE_CHECKING:
    import altair as alt

_ROOMY = 560
"""From this width (px) on a name and its figure have one line."""


@dataclasses.dataclass
class Bands:
    """Rows of a chart, in the order in which they are added."""

    items: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def heading(self, text: str) -> None:
        """A line above the rows that follow."""
        self.items.append({"row": len(self.items), "heading": text})

    def add(self, label: str, value: str) -> int:
        """A row; its place."""
        self.items.append({"row": len(self.items), "label": label, "value": value})
        return len(self.items) - 1

    def layout(self, width: int) -> Layout:
        """Where things stand in a width (px)."""
        return Layout(width, self.items, width >= _ROOMY)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of names, figures and marks.

    Attributes
    ----------
    width : of the chart (px).
    items : its rows.
    roomy : whether a name and its figure stand on one line.
    """

    width: int
    items: Sequence[dict[str, Any]]
    roomy: bool

    @property
    def step(self) -> int:
        """The height of a row (px)."""
        return 40 if self.roomy else 54

    @property
    def down(self) -> int:
        """How far beneath the middle of its row a mark stands (px)."""
        return 8 if self.roomy else 14

    @property
    def y(self) -> alt.Y:
        """The place of a row, for marks whose data name it ``row``."""
        import altair as alt

        scale = alt.Scale(domain=[item["row"] for item in self.items], padding=0)
        return alt.Y("row:O", axis=None, sort=None, scale=scale)

    def chart(self, *marks: Any, behind: Sequence[Any] = ()) -> Any:
        """Marks with the names and figures of their rows; what is `behind` does not run through these."""
        import altair as alt

        upper, room = -10 if self.roomy else -19, style.ROOM * self.width
        tall = self.step - 18
        paper = [
            alt.Chart(values([{"row": i["row"]} for i in self.items if ("heading" in i) is whole]))
            .mark_bar(color=style.PAPER, height=height, yOffset=(height - self.step) / 2)
            .encode(x=at_px("X", 0), x2=at_px("X2", self.width), y=self.y)
            for whole, height in ((True, self.step), (False, tall))
        ]
        texts = [
            self._text("heading", "left", 8, self.width, bold=True),
            self._text("label", "left", upper, (0.55 if self.roomy else 1.0) * room),
            self._text(
                "value",
                "right" if self.roomy else "left",
                upper if self.roomy else -4,
                (0.4 if self.roomy else 1.0) * room,
            ),
        ]
        layers = [*behind, *paper, *marks, *(text for text in texts if text is not None)]
        return alt.layer(*layers).properties(width=self.width, height=alt.Step(self.step))

    def _text(self, name: str, align: Any, dy: int, limit: float, bold: bool = False) -> Any:
        import altair as alt

        rows = [{"row": i["row"], "text": i[name]} for i in self.items if i.get(name)]
        if not rows:
            return None
        return (
            alt.Chart(values(rows))
            .mark_text(
                align=align,
                baseline="middle",
                dy=dy,
                limit=limit,
                fontSize=style.TEXT,
                fontWeight="bold" if bold else "normal",
                color=style.MUTED if name == "value" else style.INK,
            )
            .encode(
                y=self.y,
                x=at_px("X", self.width if align == "right" else 0),
                text=alt.Text("text:N"),
            )
        )

    def interval(self, rows: Sequence[dict[str, Any]], low: float, high: float) -> list[Any]:
        """Lines from ``low`` to ``high`` of rows that have these, in their ``colour``, cut at the bounds of the axis;
        an end that is cut has no tick."""
        import altair as alt

        cut = [
            row | {"cut_low": max(row["low"], low), "cut_high": min(row["high"], high)}
            for row in rows
            if row["low"] is not None and row["high"] is not None
        ]
        colour = alt.Color("colour:N", scale=None)
        line = (
            alt.Chart(values(cut))
            .mark_rule(strokeWidth=2.5, yOffset=self.down)
            .encode(y=self.y, x=alt.X("cut_low:Q"), x2=alt.X2("cut_high:Q"), color=colour)
        )
        ends = [
            alt.Chart(values([row for row in cut if row[end] == row[f"cut_{end}"]]))
            .mark_tick(height=9, thickness=2, yOffset=self.down, orient="vertical", opacity=1)
            .encode(y=self.y, x=alt.X(f"{end}:Q"), color=colour)
            for end in ("low", "high")
        ]
        return [line, *ends]

    def dots(self, rows: Sequence[dict[str, Any]]) -> Any:
        """A ring for each ``value`` of a row."""
        import altair as alt

        return (
            alt.Chart(values(list(rows)))
            .mark_point(
                size=24,
                filled=True,
                fill=style.PAPER,
                stroke=style.INK,
                strokeWidth=1,
                yOffset=self.down,
                opacity=1,
            )
            .encode(y=self.y, x=alt.X("value:Q"))
        )

    def tips(self, rows: Sequence[dict[str, Any]]) -> Any:
        """What catches the pointer anywhere in a row and tells its ``tip``."""
        import altair as alt

        return (
            alt.Chart(values([{"row": row["row"], "tip": row["tip"]} for row in rows]))
            .mark_bar(height=self.step - 2, color=style.PAPER, fillOpacity=0, aria=True)
            .encode(
                x=at_px("X", 0),
                x2=at_px("X2", self.width),
                y=self.y,
                description=alt.Description("tip:N"),
            )
        )
