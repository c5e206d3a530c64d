"""The verdicts of a comparison or a gate: how much longer each case takes, with its interval and the threshold."""

from __future__ import annotations

import math
from typing import Any

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.text import listed, one_line, plural

from ..tables.model import Column, Line, Section
from ..verdict import format as say
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import MOST_ROWS, Figure, values

HOW_TO_READ = (
    "A mark is the ratio of the new step to the base's, the line its 95 % interval. To the right of 1× the new one is "
    "slower; a case is SLOWER when it is so by more than the threshold, the dashed line."
)
_COLOURS = {"slower": style.SLOWER, "failed": style.SLOWER, "faster": style.FASTER}


def figure(verdicts: Verdicts) -> Figure | None:
    """The cases that were measured on both sides; None where there are none."""
    measured = [case for case in verdicts.cases if case.ratio is not None]
    if not measured:
        return None
    shown = measured[:MOST_ROWS]
    notes = [HOW_TO_READ]
    if len(shown) < len(measured):
        notes.append(
            f"{len(shown)} of {plural(len(measured), 'case')} are drawn; the table has all."
        )
    counts = {status: sum(c.status == status for c in measured) for status in _statuses(measured)}
    told = listed([f"{count} {status}" for status, count in counts.items()])
    every = verdicts.cases
    columns = (
        Column("case", tuple(one_line(case.case) for case in every), names=True),
        Column("verdict", tuple(map(say.status, every))),
        Column("change", tuple(map(say.change, every))),
        Column("time", tuple(map(say.times, every))),
        Column("over", tuple(one_line(case.over) for case in every)),
        Column("reason", tuple(map(say.reason, every))),
    )
    table = Section(
        columns=tuple(column for column in columns if any(column.cells)),
        lines=(Line(),) * len(every),
    )
    return Figure(
        name="verdicts",
        title=one_line(say.title(verdicts)),
        summary=f"Ratios of the new step to the base's with intervals: {told}.",
        draw=lambda width: _draw(shown, verdicts.threshold, width),
        table=table,
        notes=tuple(notes),
    )


def _statuses(cases: list[CaseVerdict]) -> list[str]:
    return list(dict.fromkeys(case.status for case in cases))


def _draw(shown: list[CaseVerdict], threshold: float, width: int) -> Any:
    import altair as alt

    bands = Bands()
    rows: list[dict[str, Any]] = []
    for case in shown:
        told = f"{say.change(case)} {say.status(case)}"
        label = one_line(case.case)
        ratio = case.ratio or math.nan
        rows.append(
            {
                "row": bands.add(label, told),
                "value": ratio,
                "low": case.low,
                "high": case.high,
                "colour": _COLOURS.get(case.status, style.OPEN),
                "tip": one_line(f"{label}: {told}; {say.times(case)}; {say.reason(case)}"),
            }
        )
    middles = [1.0, 1 + threshold, *(row["value"] for row in rows)]
    ends = [row[end] for row in rows for end in ("low", "high") if row[end] is not None]
    low, high = axes.span(axes.within(middles, ends, 3.0), 1.02)
    layout = bands.layout(width)
    x = alt.X("value:Q", **axes.log(low, high, width, "new / base (logarithmic)"))
    colour = alt.Color("colour:N", scale=None)
    rule = alt.Chart(values([{"value": 1.0}])).mark_rule(color=style.INK, strokeWidth=1.2)
    limit = alt.Chart(values([{"value": 1 + threshold}])).mark_rule(
        color=style.SLOWER, strokeWidth=1.5, strokeDash=[5, 3]
    )
    mark = alt.Chart(values(rows)).mark_tick(
        height=15, thickness=4, yOffset=layout.down, orient="vertical", opacity=1
    )
    return layout.chart(
        mark.encode(x=x, y=layout.y, color=colour),
        *layout.interval(rows, low, high),
        layout.tips(rows),
        behind=[rule.encode(x=alt.X("value:Q")), limit.encode(x=alt.X("value:Q"))],
    )
