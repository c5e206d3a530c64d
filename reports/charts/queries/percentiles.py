"""How long queries took: the median and the tail of each row, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Run
from dlbench.spec.scenarios import PERCENTS
from dlbench.text import listed, one_line, seconds

from ...run import words
from ...tables.model import Column, Line, Section
from ..drawing import axes, style
from ..drawing.bands import Bands
from ..drawing.figure import Figure, values
from ..drawing.row_groups import Group, drawn, groups, name, not_drawn

HOW_TO_READ = (
    "● p50, ■ p90 and ▲ p99: so many per cent of the queries were answered within that time. The lines are 95 % "
    "intervals, by the order of the queries and over processes, whichever is wider."
)
SHAPES = dict(zip(PERCENTS, ("circle", "square", "triangle-up"), strict=True))
"""How a percentile is marked, so that colour is not all that tells it."""
COLOURS = dict(zip(PERCENTS, style.SERIES, strict=False))
_APART_PX = 4
_DASH = "–"


def figure(run: Run) -> Figure | None:
    """The percentiles of a record's rows; None where no row has queries of which one can be told."""
    asked = [row for row in run.rows if row["status"] == "ok" and row.get("queries")]
    rows = [row for row in asked if any(row[f"p{each}_s"] is not None for each in PERCENTS)]
    if not rows:
        return None
    found = groups(asked)
    shown = drawn(groups(rows))
    fastest = [
        f"{heading}: {name(best)} with {_told(best)}"
        for heading, some in shown
        for best in [min(some, key=lambda row: row["p50_s"] or float("inf"))]
    ]
    unknown = [row for row in asked if row["too_few_queries"]]
    notes = [HOW_TO_READ]
    notes += [
        f"Not told of {one_line(row.case.label)}: {one_line(row['too_few_queries'])}."
        for row in unknown[:_MOST_REASONS]
    ]
    if len(unknown) > _MOST_REASONS:
        notes.append(f"Percentiles of {len(unknown) - _MOST_REASONS:,} more rows are not told.")
    return Figure(
        name="percentiles",
        title="How long queries took",
        summary=f"Percentiles of each row's queries. The shortest medians of {listed(fastest)}.",
        draw=lambda width: _draw(shown, width),
        table=_table(found),
        notes=(*notes, *not_drawn(run.rows, shown)),
    )


_MOST_REASONS = 4


def _draw(shown: Sequence[Group], width: int) -> Any:
    import altair as alt

    bands = Bands()
    marks: list[dict[str, Any]] = []
    tips = []
    for heading, rows in shown:
        bands.heading(heading)
        for row in rows:
            place = bands.add(name(row), _told(row))
            tips.append({"row": place, "tip": f"{heading}: {name(row)}, {_whole(row)}"})
            marks += [
                {
                    "row": place,
                    "percent": percent,
                    "value": row[f"p{percent}_s"],
                    "low": row[f"p{percent}_low_s"],
                    "high": row[f"p{percent}_high_s"],
                    "colour": style.OPEN if row["disturbed"] else COLOURS[percent],
                    "fill": style.PAPER if row["disturbed"] else COLOURS[percent],
                }
                for percent in PERCENTS
                if row[f"p{percent}_s"] is not None
            ]
    ends = [mark[end] for mark in marks for end in ("low", "high") if mark[end] is not None]
    low, high = axes.span(axes.within([mark["value"] for mark in marks], ends), 1.2)
    layout = bands.layout(width)
    title = f"a query{' (logarithmic)' if layout.roomy else ''}"
    x = alt.X("value:Q", **axes.log(low, high, width, title, axes.SECONDS))
    drawn_marks: list[Any] = []
    for number, percent in enumerate(PERCENTS):
        own = [mark for mark in marks if mark["percent"] == percent]
        known = [
            mark | {"low": max(mark["low"], low), "high": min(mark["high"], high)}
            for mark in own
            if mark["low"] is not None and mark["high"] is not None
        ]
        down = layout.down + (number - 1) * _APART_PX
        colour = alt.Color("colour:N", scale=None)
        drawn_marks += [
            alt.Chart(values(known))
            .mark_rule(strokeWidth=2, yOffset=down)
            .encode(y=layout.y, x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=colour),
            alt.Chart(values(own))
            .mark_point(
                shape=SHAPES[percent],
                size=42,
                filled=True,
                opacity=1,
                strokeWidth=1.4,
                yOffset=down,
            )
            .encode(
                y=layout.y,
                x=x,
                stroke=alt.Stroke("colour:N", scale=None),
                fill=alt.Fill("fill:N", scale=None),
            ),
        ]
    return layout.chart(*drawn_marks, layout.tips(tips))


def _told(row: Row) -> str:
    """``p50 1.20 ms · p90 1.40 ms · p99 –``."""
    return " · ".join(
        f"p{each} {seconds(row[f'p{each}_s']) if row[f'p{each}_s'] is not None else _DASH}"
        for each in PERCENTS
    )


def _whole(row: Row) -> str:
    return ", ".join(f"p{each} {_cell(row, each)}" for each in PERCENTS)


def _cell(row: Row, percent: int) -> str:
    if row[f"p{percent}_s"] is None:
        return _DASH
    return seconds(*(row[f"p{percent}_{end}"] for end in ("s", "low_s", "high_s")))


def _table(found: Sequence[Group]) -> Section:
    rows = [(heading, row) for heading, some in found for row in some]
    every = [row for _, row in rows]
    columns = (
        Column("measured", tuple(heading for heading, _ in rows), groups=True, names=True),
        Column("row", tuple(one_line(row.case.row_name) for row in every), names=True),
        Column("queries", tuple(f"{row['queries']:,}" for row in every), right=True),
        *(Column(f"p{each}", tuple(_cell(row, each) for row in every)) for each in PERCENTS),
        Column("not told", tuple(one_line(row["too_few_queries"] or "") for row in every)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for row in every)
    return Section(columns=tuple(c for c in columns if any(c.cells)), lines=lines)
