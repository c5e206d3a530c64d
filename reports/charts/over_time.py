"""A case over time: the median of each record with its interval, the levels between change points, what gates said,
and when there was no result."""

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
from .drawing.figure import Figure, at_px, values

MOST = 12
"""Series that one picture has."""
HOW_TO_READ = (
    "A dot is the median of a record, the line its 95 % interval. Crosses at the foot are records without a result "
    "(skipped, failed, not verified or disturbed; the table says which). Lines from left to right are levels; where "
    "one ends, the series has changed."
)
LONG = (
    "The line joins the medians of records, the band about it is their 95 % intervals. Crosses at the foot are "
    "records without a result (the table says why). Straight lines from left to right are levels; where one ends, "
    "the series has changed."
)
GATES = (
    "Signs above are what gates said of this case at that time: ▼ slower, ▲ faster, ● not slower, ○ cannot be told, "
    "◆ failed."
)
_SIGNS = {
    "slower": "triangle-down",
    "faster": "triangle-up",
    "same": "circle",
    "failed": "diamond",
    "missing": "diamond",
}
_BAD = ("slower", "failed", "missing")
_PANEL_PX = 190
_MOST_DOTS = 60
_DAY_MS = 86_400_000.0
_FAR_APART = 8.0


def figures(history: History) -> Iterator[Figure]:
    """A figure for each series that has a result.

    Raises
    ------
    UsageError : there is none, or there are more than `MOST`.
    """
    shown = drawable(history)
    if not shown:
        raise UsageError("none of these series has a result, so there is nothing to draw")
    if len(shown) > MOST:
        raise UsageError(
            f"{len(shown)} series do not fit into one picture; name words that at most {MOST} have"
        )
    yield from map(figure, shown)


def drawable(history: History) -> list[Series]:
    """The series that have a result."""
    return [one for one in history.series if any(point.counts for point in one.points)]


def figure(series: Series) -> Figure:
    """One series, which has a result."""
    changes = series.changes or ()
    notes = [say.circumstances(series), LONG if _is_long(series) else HOW_TO_READ]
    notes += [GATES] if series.judged else []
    notes += [say.sentence(change).removeprefix("→ ") for change in changes]
    if not changes:
        notes.append(
            "No change point was found." if series.changes is not None else say.NOT_SEARCHED
        )
    told = [plural(len(changes), "change point")]
    told += [plural(len(series.judged), "verdict") + " of gates"] if series.judged else []
    return Figure(
        name="history",
        title=one_line(f"{series.key.case.suite} · {series.name}"),
        summary=f"Medians of {plural(len(series.points), 'record')} over time, with {' and '.join(told)}.",
        draw=lambda width: _draw(series, width),
        table=_table(series),
        notes=tuple(map(one_line, notes)),
    )


def _is_long(series: Series) -> bool:
    return len(series.points) > _MOST_DOTS


def _draw(series: Series, width: int) -> Any:
    import altair as alt

    points = [_row(point) for point in series.points if point.counts]
    # the interval of two processes may be wider than any picture, so medians say how high it is
    medians_s = [point["value"] for point in points]
    bottom, y = _vertical(medians_s)
    for point in points:
        if point["low"] is not None:
            point["low"], point["high"] = (
                max(point["low"], bottom[0]),
                min(point["high"], bottom[1]),
            )
    moments = [
        *(_ms(point.created) for point in series.points),
        *(_ms(each.created) for each in series.judged),
    ]
    first, last = min(moments), max(moments)
    edge = 0.03 * (last - first) or _DAY_MS / 2
    span = [first - edge, last + edge]
    x = alt.X(
        "t:T",
        title="time (UTC)",
        scale=alt.Scale(type="utc", domain=span, nice=False),
        axis=alt.Axis(grid=False, tickCount=max(width // 110, 2), labelOverlap=True),
    )
    crosses = [
        {
            "t": _ms(point.created),
            "value": bottom[0],
            "tip": one_line(f"{say.moment(point.created)}: {say.trouble(point)}"),
        }
        for point in series.points
        if not point.counts
    ]
    results = _joined(points, x, y) if _is_long(series) else _dots(points, x, y)
    return alt.layer(
        *results,
        *_levels(series, x, y, span),
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
        .encode(x=x, y=y, description=alt.Description("tip:N")),
        *_gates(series, x),
    ).properties(width=width - 80, height=_PANEL_PX)


def _vertical(medians_s: Sequence[float]) -> tuple[tuple[float, float], Any]:
    """The bounds of the vertical axis (s), and the axis: logarithmic where medians are far apart."""
    import altair as alt

    low, high = min(medians_s), max(medians_s)
    if high > _FAR_APART * low:
        bounds = axes.span([low, high], 1.5)
        scale = axes.log(*bounds, 5 * 52, "median step (logarithmic)", axes.SECONDS)
        return bounds, alt.Y("value:Q", **scale)
    room = max(0.15 * (high - low), 0.03 * high)
    bounds = (low - room, high + 2 * room)
    one_s, unit = axes.unit_of(high)
    return bounds, alt.Y(
        "value:Q",
        title=f"median step, {unit}",
        scale=alt.Scale(domain=list(bounds), nice=False, zero=False),
        axis=alt.Axis(labelExpr=f"format(datum.value / {one_s}, ',~r')", tickCount=5),
    )


def _row(point: Point) -> dict[str, Any]:
    row = point.row
    told = f"{say.moment(point.created)}, {row.version}: {say.median(point)}"
    return {
        "t": _ms(point.created),
        "value": row.median_s,
        "low": row.low_s,
        "high": row.high_s,
        "tip": one_line(told),
    }


def _dots(points: list[dict[str, Any]], x: Any, y: Any) -> list[Any]:
    """Each record by itself."""
    import altair as alt

    known = [point for point in points if point["low"] is not None]
    return [
        alt.Chart(values(known))
        .mark_rule(strokeWidth=1.2, color=style.SERIES[0])
        .encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        alt.Chart(values(points))
        .mark_point(
            filled=True,
            size=36,
            opacity=1,
            strokeWidth=1.4,
            aria=True,
            stroke=style.SERIES[0],
            fill=style.SERIES[0],
        )
        .encode(x=x, y=y, description=alt.Description("tip:N")),
    ]


def _joined(points: list[dict[str, Any]], x: Any, y: Any) -> list[Any]:
    """So many that a mark for each would only be a smear, and a page of them too large to send."""
    import altair as alt

    known = [point for point in points if point["low"] is not None]
    return [
        alt.Chart(values(known))
        .mark_area(opacity=0.2, line=False, color=style.SERIES[0])
        .encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        alt.Chart(values(points))
        .mark_line(strokeWidth=1.2, color=style.SERIES[0])
        .encode(x=x, y=y),
    ]


def _gates(series: Series, x: Any) -> list[Any]:
    """What gates said, above the panel."""
    import altair as alt

    if not series.judged:
        return []
    signs = []
    for each in series.judged:
        colour = style.SLOWER if each.status in _BAD else style.INK
        signs.append(
            {
                "t": _ms(each.created),
                "shape": _SIGNS.get(each.status, "circle"),
                "colour": colour,
                "fill": colour if each.status in _SIGNS else style.PAPER,
                "tip": f"{say.moment(each.created)}: {say.verdict(each)}",
            }
        )
    return [
        alt.Chart(values(signs))
        .mark_point(size=60, opacity=1, strokeWidth=1.4, aria=True, filled=True)
        .encode(
            x=x,
            y=at_px("Y", -9),
            shape=alt.Shape("shape:N", scale=None),
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            description=alt.Description("tip:N"),
        )
    ]


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
        .mark_rule(color=style.SLOWER, strokeWidth=1.6, clip=True)
        .encode(x=x, x2=alt.X2("end:T"), y=y),
        at.mark_rule(color=style.SLOWER, strokeDash=[4, 3]),
        at.mark_text(align="left", baseline="top", dx=4, dy=2, color=style.SLOWER).encode(
            y=at_px("Y", 0), text=alt.Text("text:N")
        ),
    ]


def _ms(created: str) -> float:
    """A time of the database as milliseconds since 1970, as Vega has them."""
    found = datetime.datetime.fromisoformat(created)
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return math.floor(found.timestamp() * 1000)


def _table(series: Series) -> Section:
    """The latest first, since that is what is looked for; what gates said stands between."""
    begins = {change.record: change for change in series.changes or ()}
    rows = [
        (
            point.created,
            one_line(point.row.version),
            say.median(point) if point.counts else "",
            _change(point, begins),
            one_line(say.trouble(point)),
            one_line(point.name),
        )
        for point in series.points
    ]
    rows += [
        (each.created, "", "", "", say.verdict(each), one_line(each.name)) for each in series.judged
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    titles = ("begun", "version", "median step", "change", "remark", "record")
    cells = [tuple(each) for each in zip(*rows, strict=True)]
    cells[0] = tuple(map(say.moment, cells[0]))
    columns = (
        Column(title, own, names=title == "begun") for title, own in zip(titles, cells, strict=True)
    )
    shown = tuple(column for column in columns if any(column.cells))
    return Section(columns=shown, lines=(Line(),) * len(rows))


def _change(point: Point, begins: dict[int, Any]) -> str:
    found = begins.get(point.record)
    return f"{say.change(found)}: {say.reason(found)}" if found else ""
