"""How far figures can be trusted: errors as a share of what rounding may cause, and what else used the machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.disturbance import allowed_others
from dlbench.analyse.table import Run
from dlbench.record.facts import Check
from dlbench.record.schema import Case, Process, Record, Verification
from dlbench.record.sharing import verifying
from dlbench.text import digits, one_line, percent

from ..run import words
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import MOST_ROWS, Figure, values
from .drawing.row_groups import measured, name

if TYPE_CHECKING:
    pass

ERRORS = (
    "Every check compares one number with the float64 oracle. A bar is the worst check of a row: its error as "
    "a share of what rounding may cause there. All below 100 % is right: 91 % says that rounding came near to the "
    "most it can do, not that the result is 91 % wrong. What exceeds 100 % is not verified and has no figure "
    "anywhere. Error and tolerance are in the unit of the number that was checked; the 'largest error' of the "
    "comparison is relative to the terms that were summed."
)
OTHERS = (
    "Each dot is one process that counts: the cores that others had while it was timed. A stroke is a process's own "
    "limit: 0.15 cores, half of the cores that its threads leave free, and what counting by ticks may add by chance, "
    "which is more in a short window. A process beyond its limit counts as disturbed; one that was "
    "measured again for that is not drawn."
)
_THICK = 12


def errors(run: Run) -> Figure | None:
    """The largest error of each verified row, as a share of its tolerance; None where no record tells."""
    checks = _checks(run.record, [row.case for row in run.rows if row["status"] == "ok"])
    rows = [row for row in run.rows if row.case in checks]
    if not rows:
        return None
    shown = rows[:MOST_ROWS]
    worst = max(rows, key=lambda row: _share(checks[row.case]))
    told = f"{name(worst)} with {percent(_share(checks[worst.case]))} of its tolerance"
    notes = [ERRORS]
    if len(shown) < len(rows):
        notes.append(f"{len(shown)} of {len(rows):,} rows are drawn; the table has all of them.")
    columns = (
        Column("row", tuple(one_line(row.case.label) for row in rows), names=True),
        Column(
            "of its tolerance", tuple(percent(_share(checks[r.case])) for r in rows), right=True
        ),
        Column("in", tuple(one_line(checks[r.case].name) for r in rows)),
        Column(
            "error, in its own unit",
            tuple(f"{checks[r.case].error or 0:.2g}" for r in rows),
            right=True,
        ),
        Column(
            "tolerance, in the same unit",
            tuple(f"{checks[r.case].tolerance:.2g}" for r in rows),
            right=True,
        ),
    )
    return Figure(
        name="errors",
        title="Largest error as a share of its tolerance",
        summary=f"Bars up to 100 %. The largest is that of {told}.",
        draw=lambda width: _draw_errors([(row, checks[row.case]) for row in shown], width),
        table=Section(columns=columns, lines=(Line(),) * len(rows)),
        notes=tuple(notes),
    )


def _share(check: Check) -> float:
    return (check.error or 0.0) / check.tolerance


def _checks(record: Record, cases: Sequence[Case]) -> dict[Case, Check]:
    """Of each case the check that comes nearest to its tolerance, in the verification and after timing."""
    verifications: dict[Any, list[Verification]] = {}
    after: dict[Case, list[Check]] = {}
    for line in record.lines:
        if isinstance(line, Verification):
            verifications.setdefault(line.case.configuration, []).append(line)
        elif isinstance(line, Process):
            after.setdefault(line.case, []).extend(line.checks)
    found = {}
    for case in cases:
        own = verifying(case, verifications.get(case.configuration, []))
        checks = [check for line in own for check in line.checks] + after.get(case, [])
        checks = [c for c in checks if c.tolerance > 0 and c.error is not None and c.passed]
        # how far a parameter went has a bound of its own, which rounding has no part in
        checks = [c for c in checks if not c.name.startswith("movement of ")]
        if checks:
            found[case] = max(checks, key=_share)
    return found


def _draw_errors(shown: Sequence[tuple[Any, Check]], width: int) -> Any:
    import altair as alt

    bands, bars = Bands(), []
    for row, check in shown:
        label = f"{name(row)} · {one_line(row.case.scenario)}, batch {row.case.batch:,}"
        place = bands.add(label, percent(_share(check)))
        tip = f"{label}: {percent(_share(check))} of its tolerance, {one_line(check.sentence())}"
        bars.append({"row": place, "value": _share(check), "tip": tip})
    layout = bands.layout(width)
    x = alt.X(
        "value:Q",
        title="error as a share of its tolerance",
        scale=alt.Scale(domain=[0, 1.04], nice=False),
        axis=alt.Axis(format=".0%", tickCount=5, labelFlush=True),
    )
    limit = alt.Chart(values([{"limit": 1.0}])).mark_rule(color=style.SLOWER, strokeWidth=2)
    return layout.chart(
        alt.Chart(values(bars))
        .mark_bar(height=_THICK, yOffset=layout.down, color=style.SERIES[2])
        .encode(x=x, y=layout.y),
        layout.tips(bars),
        behind=[limit.encode(x=alt.X("limit:Q"))],
    )


def disturbances(run: Run) -> Figure | None:
    """What else used the machine beside each timed process; None where nobody watched."""
    rows = measured(run.rows)
    seen = {row.case: _others(row.outcome.processes) for row in rows}
    rows = [row for row in rows if seen[row.case]]
    if not rows:
        return None
    most = max(rows, key=lambda row: max(seen[row.case]))
    shown = rows[:MOST_ROWS]
    notes = [OTHERS]
    if len(shown) < len(rows):
        notes.append(f"{len(shown)} of {len(rows):,} rows are drawn; the table has all of them.")
    columns = (
        Column("row", tuple(one_line(row.case.label) for row in rows), names=True),
        Column("processes", tuple(", ".join(f"{v:.2f}" for v, _ in seen[r.case]) for r in rows)),
        Column("limits", tuple(", ".join(f"{v:.2f}" for _, v in seen[r.case]) for r in rows)),
        Column("disturbed", tuple("yes" if row["disturbed"] else "no" for row in rows)),
        Column("by", tuple(one_line(row["disturbance"] or "") for row in rows)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for row in rows)
    return Figure(
        name="disturbance",
        title="Cores that others had beside each timed process",
        summary=f"Dots, one a process. The most is beside {name(most)}: {max(seen[most.case])[0]:.2f} cores.",
        draw=lambda width: _draw_disturbances([(row, seen[row.case]) for row in shown], width),
        table=Section(columns=tuple(c for c in columns if any(c.cells)), lines=lines),
        notes=tuple(notes),
    )


def _others(processes: Sequence[Process]) -> list[tuple[float, float]]:
    """The cores that others had beside each process, and how many they might have."""
    seen = [(process.during, process.case.threads) for process in processes]
    return [
        (each.other_cores, allowed_others(each, threads))
        for each, threads in seen
        if each is not None and each.other_cores is not None and math.isfinite(each.other_cores)
    ]


def _draw_disturbances(shown: Sequence[tuple[Any, list[tuple[float, float]]]], width: int) -> Any:
    import altair as alt

    bands, dots, tips = Bands(), [], []
    limits: list[dict[str, Any]] = []
    for row, found in shown:
        label = f"{name(row)} · {one_line(row.case.scenario)}, batch {row.case.batch:,}"
        least, most = (f"{end(limit for _, limit in found):.2f}" for end in (min, max))
        limit = f"limit {least}" if least == most else f"limits {least} to {most}"
        place = bands.add(label, f"at most {digits(max(found)[0])} cores, {limit}")
        each = ", ".join(f"{cores:.2f} (limit {limit:.2f})" for cores, limit in found)
        tips.append({"row": place, "tip": f"{label}: {each} cores"})
        dots += [{"row": place, "value": cores} for cores, _ in found]
        limits += [{"row": place, "limit": limit} for _, limit in found]
    layout = bands.layout(width)
    reach = 1.05 * max(*(dot["value"] for dot in dots), *(each["limit"] for each in limits))
    x = alt.X(
        "value:Q",
        title="cores of others",
        scale=alt.Scale(domain=[0, reach], nice=False),
        axis=alt.Axis(labelExpr=axes.NUMBERS, tickCount=5, labelFlush=True),
    )
    strokes = alt.Chart(values(limits)).mark_tick(
        color=style.SLOWER, height=16, thickness=2, yOffset=layout.down, orient="vertical"
    )
    return layout.chart(
        strokes.encode(x=alt.X("limit:Q"), y=layout.y),
        layout.dots(dots).encode(x=x),
        layout.tips(tips),
    )


def figures(run: Run) -> list[Figure | None]:
    """Both."""
    return [errors(run), disturbances(run)]
