"""What comes before the steady steps, part by part, and when a row has paid for its start with faster steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.columns import Row
from dlbench.analyse.table import ColdStart, Report, Run, build
from dlbench.text import listed, one_line, seconds

from ..run.cold_start import behind_others
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import Figure, values
from .drawing.row_groups import Group, drawn, groups, measured, name, not_drawn

if TYPE_CHECKING:
    pass

_PARTS = {
    "interpreter_s": "interpreter",
    "import_s": "import",
    "device_start_s": "device start",
    "build_s": "build",
    "compile_s": "compile",
}
_THICK = 16
_LEAST_FOR_SIGN = 0.03
"""Of the axis, what a segment needs to hold its number."""
HOW_TO_READ = (
    "Segments follow each other as the parts do, numbered as in the legend: starting Python, importing the "
    "framework, waking the device, building the network, and what the first steps take beyond steady ones "
    "(compilation, autotuning)."
)


def with_ledger(report: Report) -> Report:
    """The report with the ledger of cold starts, which not every report has."""
    if report.cold_start:
        return report
    records = [(run.path, run.record) for run in report.runs]
    named = any(run.baseline.cases for run in report.runs)
    return build(records, report.baseline if named else None, ColdStart())


def figure(run: Run) -> Figure | None:
    """The cold starts of a record's rows; None where no process tells of a whole one."""
    rows = [row for row in measured(run.rows) if row.get("cold_start_s") is not None]
    if not rows:
        return None
    found = groups(rows)
    shown = drawn(found)
    slowest = max(rows, key=lambda row: float(row["cold_start_s"]))
    notes = [note.removeprefix("! ") for note in behind_others(rows)]
    return Figure(
        name="cold-start",
        title="Cold start: what came before the steady steps",
        summary=f"Stacked bars of the parts of a start. The longest is {name(slowest)} with {_total(slowest)}.",
        draw=lambda width: _draw(shown, width),
        table=_table(found),
        notes=(HOW_TO_READ, *notes, *not_drawn(rows, shown)),
    )


def _total(row: Row) -> str:
    return seconds(row["cold_start_s"])


def _draw(shown: Sequence[Group], width: int) -> Any:
    import altair as alt

    legend_names = [f"{number} {title}" for number, title in enumerate(_PARTS.values(), 1)]
    bands, segments, tips = Bands(), [], []
    longest = max(float(row["cold_start_s"]) for _, rows in shown for row in rows)
    for heading, rows in shown:
        bands.heading(heading)
        for row in rows:
            steps = row["steps_until_steady"]
            steady = f", steady after {steps:g} step{'s' * (steps != 1)}"
            place = bands.add(name(row), f"{_total(row)}{steady}")
            begin, told = 0.0, []
            for number, (part, title) in enumerate(_PARTS.items()):
                length = row[part]
                if not length:
                    continue
                told.append(f"{title} {seconds(length)}")
                segments.append(
                    {
                        "row": place,
                        "part": legend_names[number],
                        "begin": begin,
                        "end": begin + length,
                        "middle": begin + length / 2,
                        "sign": str(number + 1) if length > _LEAST_FOR_SIGN * longest else "",
                    }
                )
                begin += length
            tips.append({"row": place, "tip": f"{heading}: {name(row)}, {listed(told)}"})
    layout = bands.layout(width)
    present = [each for each in legend_names if any(s["part"] == each for s in segments)]
    hues = alt.Scale(
        domain=present, range=[style.SERIES[legend_names.index(each)] for each in present]
    )
    legend = alt.Legend(title=None, orient="top", columns=5 if layout.roomy else 2)
    x = alt.X("begin:Q", **axes.linear("seconds"))
    data = alt.Chart(values(segments))
    return layout.chart(
        data.mark_bar(height=_THICK, yOffset=layout.down, stroke=style.PAPER, strokeWidth=1).encode(
            x=x,
            x2=alt.X2("end:Q"),
            y=layout.y,
            color=alt.Color("part:N", scale=hues, legend=legend),
        ),
        data.mark_text(
            dy=layout.down + 1, color=style.PAPER, fontSize=10, fontWeight="bold"
        ).encode(x=alt.X("middle:Q"), y=layout.y, text=alt.Text("sign:N")),
        layout.tips(tips),
    )


def _table(found: Sequence[Group]) -> Section:
    rows = [(heading, row) for heading, some in found for row in some]
    columns = [
        Column("measured", tuple(heading for heading, _ in rows), groups=True, names=True),
        Column("row", tuple(one_line(row.case.row_name) for _, row in rows), names=True),
        *(
            Column(title, tuple(seconds(row[part]) for _, row in rows), right=True)
            for part, title in _PARTS.items()
        ),
        Column("total", tuple(_total(row) for _, row in rows), right=True),
        Column(
            "steady after (steps)",
            tuple(f"{row['steps_until_steady']:g}" for _, row in rows),
            right=True,
        ),
    ]
    shown = tuple(column for column in columns if any(column.cells))
    return Section(columns=shown, lines=(Line(),) * len(rows))
