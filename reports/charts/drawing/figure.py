"""What a chart is: a picture of any width, what it shows in a sentence, and its data as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlbench.text import listed

from ...tables.model import Section

if TYPE_CHECKING:
    import altair as alt

Draw = Callable[[int], Any]
"""Makes an Altair chart in a width (px)."""

_APART = ("color", "stroke", "strokeDash", "shape", "x", "y", "yOffset")
_GAP_PX = 34
MOST_ROWS = 40
"""Rows that a chart draws of one table; the table has them all."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes
    ----------
    name : what the command line calls it, ``speedup``.
    title : what it is of.
    summary : what there is to see, for who does not see it.
    draw : makes the drawing in a width (px).
    table : its data.
    notes : what is to be known of it: how to read it, what is not drawn.
    titled : whether the drawing has its title in it already.
    """

    name: str
    title: str
    summary: str
    draw: Draw
    table: Section
    notes: tuple[str, ...] = ()
    titled: bool = False


def values(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Rows of data, kept in the chart itself."""
    import altair as alt

    # a tuple, since Altair copies lists with each method of a chart that is called
    return alt.InlineData(values=tuple(rows))


def at_px(channel: str, place: float) -> Any:
    """A place on an axis (``X``, ``X2``, ``Y``) in pixels; `altair.value` looks through all of Altair's classes for the
    one that is meant, which takes longer than all else of a mark."""
    import altair as alt

    return getattr(alt, f"{channel}Value")(place)


def together(found: Sequence[Figure]) -> Figure:
    """Figures beneath each other as one; one alone as it is."""
    if len(found) == 1:
        return found[0]

    def draw(width: int) -> Any:
        import altair as alt

        drawings = [
            each.draw(width).properties(title=alt.TitleParams(each.title, limit=width, aria=False))
            for each in found
        ]
        apart: dict[str, Any] = dict.fromkeys(_APART, "independent")
        return alt.vconcat(*drawings, spacing=_GAP_PX).resolve_scale(**apart)

    first = found[0]
    titles = listed([each.title for each in found])
    summary = " ".join(each.summary for each in found)
    return Figure(first.name, titles, summary, draw, first.table, titled=True)
