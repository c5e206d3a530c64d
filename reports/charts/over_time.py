"""A case over time: the median of each record with its interval, the levels between change points, what does not
count."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from typing import Any

from dlbench.errors import UsageError
from dlbench.history.series import History, Series
from dlbench.history.stored import Point
from dlbench.text import one_line, plural

from ..history import format as say
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values

MOST = 12
"""Series that are drawn."""
HOW_TO_READ = (
    "A dot is the median of a record, the line its 95 % interval. Rings do not count (disturbed, or not "
    "verified), and crosses have no figure. Lines from left to right are levels; where one ends, the series "
    "has changed."
)
_PANEL_PX = 190


def figures(history: History) -> Iterator[Figure]:
    """A figure for each series that has a figure.

    Raises
    ------
    UsageError : there is none, or there are more than `MOST`.
    """
    shown = [one for one in history.series if one.last_figure is not None]
    if not shown:
        raise UsageError("none of these series has a figure, so there is nothing to draw")
    if len(shown) > MOST:
        raise UsageError(
            f"{len(shown)} series do not fit into one picture; name words that at most {MOST} have"
        )
    yield from map(_figure, shown)


def _figure(series: Series) -> Figure:
    changes = series.changes or ()
    notes = [say.circumstances(series), HOW_TO_READ]
    notes += [say.sentence(change).removeprefix("→ ") for change in changes]
    if not changes:
        notes.append(
            "No change point was found." if series.changes is not None else say.NOT_SEARCHED
        )
    told = plural(len(changes), "change point")
    return Figure(
        name="history",
        title=one_line(f"{series.key.case.suite} · {series.name}"),
        summary=f"Medians of {plural(len(series.points), 'record')} over time, with {told}.",
        draw=lambda width: _draw(series, width),
        table=_table(series),
        notes=tuple(map(one_line, notes)),
    )


def _draw(series: Series, width: int) -> Any:
    import altair as alt

    points = [_row(p, series) for p in series.points if p.row.median_s is not None]
    failed = [p for p in series.points if p.row.median_s is None and p.row.status != "skipped"]
    # the interval of two processes may be wider than any picture, so medians say how high it is
    figures_s = [point["value"] for point in points]
    low, high = min(figures_s), max(figures_s)
    room = max(0.15 * (high - low), 0.03 * high)
    bottom, top = low - room, high + 2 * room
    one_s, unit = axes.unit_of(high)
    times = [_ms(p.created) for p in series.points]
    edge = 0.03 * max(times[-1] - times[0], 60_000.0)
    span = [times[0] - edge, times[-1] + edge]
    x = alt.X(
        "t:T",
        title="time (UTC)",
        scale=alt.Scale(type="utc", domain=span, nice=False),
        axis=alt.Axis(grid=False, tickCount=max(width // 110, 2), labelOverlap=True),
    )
    y = alt.Y(
        "value:Q",
        title=f"median step, {unit}",
        scale=alt.Scale(domain=[bottom, top], nice=False, zero=False),
        axis=alt.Axis(labelExpr=f"format(datum.value / {one_s}, ',~r')", tickCount=5),
    )
    known = [point for point in points if point["low"] is not None]
    for point in known:
        point["low"], point["high"] = max(point["low"], bottom), min(point["high"], top)
    colour = alt.Color("colour:N", scale=None)
    crosses = [
        {"t": _ms(p.created), "value": bottom, "tip": f"{say.moment(p.created)}: {say.trouble(p)}"}
        for p in failed
    ]
    return alt.layer(
        *_levels(series, x, y, span),
        alt.Chart(values(known))
        .mark_rule(strokeWidth=1.2)
        .encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        alt.Chart(values(points))
        .mark_point(filled=True, size=36, opacity=1, strokeWidth=1.4, aria=True)
        .encode(
            x=x,
            y=y,
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            description="tip:N",
        ),
        alt.Chart(values(crosses))
        .mark_point(
            shape="M-1,-1L1,1M-1,1L1,-1",
            size=40,
            yOffset=-6,
            color=style.OPEN,
            opacity=1,
            aria=True,
            filled=False,
            strokeWidth=1.6,
        )
        .encode(x=x, y=y, description="tip:N"),
    ).properties(width=width - 80, height=_PANEL_PX)


def _row(point: Point, series: Series) -> dict[str, Any]:
    row = point.row
    colour = style.SERIES[0] if point.counts else style.OPEN
    trouble = say.trouble(point)
    told = f"{say.moment(point.created)}, {row.version}: {say.median(point)}"
    return {
        "t": _ms(point.created),
        "value": row.median_s,
        "low": row.low_s,
        "high": row.high_s,
        "colour": colour,
        "fill": colour if point.counts else style.PAPER,
        "tip": one_line(f"{told}; {trouble}" if trouble else told),
    }


def _levels(series: Series, x: Any, y: Any, span: Sequence[float]) -> list[Any]:
    """The levels as lines, and at each change how much it is."""
    import altair as alt

    changes = series.changes or ()
    if not changes:
        return []
    starts = [max(span[0], _ms(change.created)) for change in changes]
    heights = [changes[0].before_s, *(change.after_s for change in changes)]
    levels = [
        {"t": begin, "end": end, "value": height}
        for begin, end, height in zip([span[0], *starts], [*starts, span[1]], heights, strict=True)
    ]
    told = [
        {"t": start, "text": say.change(change)}
        for start, change in zip(starts, changes, strict=True)
    ]
    at = alt.Chart(values(told)).encode(x=x)
    return [
        alt.Chart(values(levels))
        .mark_rule(color=style.SLOWER, strokeWidth=1.6)
        .encode(x=x, x2="end:T", y=y),
        at.mark_rule(color=style.SLOWER, strokeDash=[4, 3]),
        at.mark_text(align="left", baseline="top", dx=4, dy=2, color=style.SLOWER).encode(
            y=alt.value(0), text="text:N"
        ),
    ]


def _ms(created: str) -> float:
    """A time of the database as milliseconds since 1970, as Vega has them."""
    found = datetime.datetime.fromisoformat(created)
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return math.floor(found.timestamp() * 1000)


def _table(series: Series) -> Section:
    begins = {change.record: change for change in series.changes or ()}
    points = series.points
    columns = (
        Column("begun", tuple(say.moment(p.created) for p in points), names=True),
        Column("version", tuple(one_line(p.row.version) for p in points)),
        Column("median step", tuple(say.median(p) for p in points)),
        Column("change", tuple(_change(p, begins) for p in points)),
        Column("remark", tuple(one_line(say.trouble(p)) for p in points)),
        Column("record", tuple(one_line(p.name) for p in points)),
    )
    shown = tuple(column for column in columns if any(column.cells))
    return Section(columns=shown, lines=(Line(),) * len(points))


def _change(point: Point, begins: dict[int, Any]) -> str:
    found = begins.get(point.record)
    return f"{say.change(found)}: {say.reason(found)}" if found else ""
