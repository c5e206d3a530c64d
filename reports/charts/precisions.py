"""What a precision gains in speed and costs in accuracy: each row a point with both intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.columns import Row
from dlbench.analyse.modes.accuracy import compared
from dlbench.analyse.table import Run
from dlbench.text import listed, one_line, times

from ..run import words
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values
from .drawing.row_groups import measured

if TYPE_CHECKING:
    pass

HOW_TO_READ = (
    "Further right is faster than the same backend in fp32, further up is more accurate. Lines are 95 % "
    "intervals: of the speed over fresh processes, of the accuracy over test samples of one training."
)
_PANEL_PX = 280


def figure(run: Run) -> Figure | None:
    """Speed against accuracy; None where precisions with an accuracy do not differ."""
    rows = compared(measured(run.rows))
    if not rows:
        return None
    precisions = list(dict.fromkeys(row.case.precision for row in rows))
    return Figure(
        name="precisions",
        title="Speed × accuracy across precisions",
        summary=f"Points of speed-up over fp32 and test accuracy in {listed(precisions)}.",
        draw=lambda width: _draw(rows, precisions, width),
        table=_table(rows),
        notes=(HOW_TO_READ, *words.ACCURACIES),
    )


def _speed(row: Row) -> tuple[float, float, float]:
    value = row["speedup_over_fp32"] or 1.0
    low, high = row["speedup_over_fp32_low"], row["speedup_over_fp32_high"]
    return value, low or value, high or value


def _who(row: Row) -> str:
    return one_line(f"{row.case.row_name}, {row.case.scenario}, batch {row.case.batch:,}")


def _draw(rows: Sequence[Row], precisions: Sequence[str], width: int) -> Any:
    import altair as alt

    points: list[dict[str, Any]] = []
    for row in rows:
        value, low, high = _speed(row)
        points.append(
            {
                "precision": row.case.precision,
                "x": value,
                "low": low,
                "high": high,
                "y": row["accuracy"],
                "y_low": row["accuracy_low"],
                "y_high": row["accuracy_high"],
                "tip": f"{_who(row)}: {times(value, low, high)} over fp32, accuracy {row['accuracy']:.2%}",
            }
        )
    middles = [1.0, *(point["x"] for point in points)]
    ends = [point[end] for point in points for end in ("low", "high")]
    left, right = axes.span(axes.within(middles, ends, 3.0), 1.1)
    legend = alt.Legend(title="precision", orient="bottom", columns=4, symbolSize=90)
    domain: dict[str, Any] = {"domain": list(precisions)}
    hues = alt.Scale(**domain, range=list(style.SERIES[: len(precisions)]))
    signs = alt.Scale(**domain, range=list(style.SIGNS[: len(precisions)]))
    colour = alt.Color("precision:N", scale=hues, legend=legend)
    x = alt.X("x:Q", **axes.log(left, right, width, "times as fast as the same backend in fp32"))
    y = alt.Y(
        "y:Q",
        title="right answers on the test part",
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(format=".1%", tickCount=6),
    )
    data = alt.Chart(values(points))
    one = alt.Chart(values([{"one": 1}])).mark_rule(color=style.INK, strokeWidth=1)
    return alt.layer(
        one.encode(x=alt.X("one:Q")),
        data.mark_rule(clip=True).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=colour),
        data.mark_rule().encode(x=x, y=alt.Y("y_low:Q"), y2=alt.Y2("y_high:Q"), color=colour),
        data.mark_point(size=90, filled=True, opacity=1, aria=True).encode(
            x=x,
            y=y,
            color=colour,
            shape=alt.Shape("precision:N", scale=signs, legend=legend),
            description=alt.Description("tip:N"),
        ),
    ).properties(width=width - 60, height=_PANEL_PX)


def _table(rows: Sequence[Row]) -> Section:
    def accuracy(row: Row) -> str:
        return f"{row['accuracy']:.2%} [{row['accuracy_low']:.2%}, {row['accuracy_high']:.2%}]"

    columns = (
        Column("row", tuple(map(_who, rows)), names=True),
        Column("over its own fp32", tuple(times(*_speed(row)) for row in rows)),
        Column("accuracy", tuple(map(accuracy, rows))),
        Column("weights", tuple(one_line(row["accuracy_of"] or "") for row in rows)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for row in rows)
    return Section(columns=columns, lines=lines)
