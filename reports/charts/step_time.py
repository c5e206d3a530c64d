"""What a step takes on each row: medians with intervals, each process a dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.table import Run
from dlbench.text import digits, listed, one_line, seconds

from ..run import words
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import Figure, values
from .drawing.row_groups import Group, drawn, groups, measured, name, not_drawn

if TYPE_CHECKING:
    pass

HOW_TO_READ = (
    "The thick mark is the median of the processes, the line its 95 % interval, and each dot is one fresh "
    "process. Further left is faster."
)


def figure(run: Run) -> Figure | None:
    """The step times of a record's rows; None where nothing was timed."""
    rows = measured(run.rows)
    if not rows:
        return None
    found = groups(rows)
    shown = drawn(found)
    fastest = [
        f"{heading}: {name(some[0])} with {seconds(some[0]['median_s'])}"
        for heading, some in (
            (heading, sorted(some, key=lambda row: float(row["median_s"])))
            for heading, some in shown
        )
    ]
    return Figure(
        name="time",
        title="Time of a step",
        summary=f"Medians of a step's time on each row. The shortest of {listed(fastest)}.",
        draw=lambda width: _draw(shown, width),
        table=_table(found),
        notes=(HOW_TO_READ, *not_drawn(run.rows, shown)),
    )


def _draw(shown: Sequence[Group], width: int) -> Any:
    import altair as alt

    bands, medians, dots = Bands(), [], []
    for heading, rows in shown:
        bands.heading(heading)
        for row in rows:
            told = seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
            place = bands.add(name(row), told)
            medians.append(
                {
                    "row": place,
                    "value": row["median_s"],
                    "low": row["ci_low_s"],
                    "high": row["ci_high_s"],
                    "colour": style.OPEN if row["disturbed"] else style.SERIES[0],
                    "tip": f"{heading}: {name(row)}, {told}; {digits(row['samples_per_s'])} samples/s",
                }
            )
            dots += [{"row": place, "value": each} for each in row.outcome.medians_s.values()]
    middles = [each["value"] for each in (*medians, *dots)]
    ends = [each[end] for each in medians for end in ("low", "high") if each[end] is not None]
    low, high = axes.span(axes.within(middles, ends), 1.3)
    layout = bands.layout(width)
    title = f"a step{' (logarithmic)' if layout.roomy else ''}"
    x = alt.X("value:Q", **axes.log(low, high, width, title, axes.SECONDS))
    colour = alt.Color("colour:N", scale=None)
    middle = alt.Chart(values(medians)).mark_tick(
        height=15, thickness=4, yOffset=layout.down, orient="vertical", opacity=1
    )
    return layout.chart(
        middle.encode(x=x, y=layout.y, color=colour),
        *layout.interval(medians, low, high),
        layout.dots(dots),
        layout.tips(medians),
    )


def _table(found: Sequence[Group]) -> Section:
    every = [(heading, row) for heading, some in found for row in some]
    processes = [", ".join(map(seconds, row.outcome.medians_s.values())) for _, row in every]
    columns = (
        Column("measured", tuple(heading for heading, _ in every), groups=True, names=True),
        Column("row", tuple(one_line(row.case.row_name) for _, row in every), names=True),
        Column(
            "a step",
            tuple(seconds(r["median_s"], r["ci_low_s"], r["ci_high_s"]) for _, r in every),
        ),
        Column("samples/s", tuple(digits(row["samples_per_s"]) for _, row in every), right=True),
        Column("processes", tuple(processes)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for _, row in every)
    return Section(columns=columns, lines=lines)
