"""When a row that starts later has caught up with faster steps: the seconds since the start of both rows against the
steps that they have done."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from dlbench.analyse.cold_start import Payback, payback, steps_told
from dlbench.analyse.columns import Row
from dlbench.analyse.table import Run
from dlbench.record.case import without
from dlbench.text import listed, one_line, seconds

from ..run import words
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values
from .drawing.row_groups import groups, measured, name

HOW_TO_READ = (
    "A line begins where a row's steady steps would begin, above 0 by its cold start, and rises by a step each. "
    "Where they cross, the row that starts later has paid for its start; the shaded strip is the 95 % interval of "
    "that step, both cold starts at their medians. Where both lines are grey, it cannot be told."
)
_MOST = 8
_PANEL_PX = 150
_SIDES_PX = 70
_NARROW_LETTERS = 34
_BEHIND = "steps are no shorter, and the start takes longer"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A row and the one that it is held against."""

    heading: str
    row: Row
    other: Row
    paid: Payback

    @property
    def verdict(self) -> str:
        """When it has paid for its start, in words."""
        paid = self.paid
        if paid.steps is not None and paid.low is not None and paid.high is not None:
            steps = steps_told(paid.steps, paid.low, paid.high)
            return (
                f"pays off after {steps}"
                if paid.verdict == "after"
                else f"ahead for {steps}, behind from then on"
            )
        told = {"never": f"never pays off: its {_BEHIND}", "at once": "ahead from the start"}
        return told.get(paid.verdict) or f"cannot be told: {one_line(paid.reason)}"


def figure(run: Run) -> Figure | None:
    """The rows of a record, each against the backend's own mode, or against the baseline where it has no other mode;
    None where no two are."""
    pairs = list(_pairs(run))
    if not pairs:
        return None
    shown = pairs[:_MOST]
    notes = [HOW_TO_READ]
    if len(shown) < len(pairs):
        notes.append(f"{len(shown)} of {len(pairs):,} pairs of rows are drawn; the table has all.")
    told = [f"{each.heading}: {name(each.row)} {each.verdict}" for each in shown]
    return Figure(
        name="pay-off",
        title="Pay-off: seconds since the start, by steps done",
        summary=f"Two lines each, and where they cross. {'; '.join(told)}.",
        draw=lambda width: _draw(shown, width),
        table=_table(pairs),
        notes=tuple(notes),
    )


def _pairs(run: Run) -> Sequence[Pair]:
    rows = [row for row in measured(run.rows) if row.get("cold_start_s") is not None]
    found = []
    for heading, some in groups(rows):
        for row in some:
            other = _other(run, row, rows)
            if other is not None and other is not row:
                found.append(Pair(heading, row, other, _paid(row, other)))
    # modes of one backend first: compiling is what is to be paid for
    return sorted(found, key=lambda each: each.row.case.backend != each.other.case.backend)


def _other(run: Run, row: Row, rows: Sequence[Row]) -> Row | None:
    """What a row is held against."""
    against, base = row.get("against"), run.baseline.of(row.case)
    if against is None:
        return next((each for each in rows if each.case == base), None)
    alike = without(row.case, *_WHO)
    return next(
        (e for e in rows if e.case.row_name == against and without(e.case, *_WHO) == alike), None
    )


_WHO = ("backend", "device", "mode", "precision")


def _paid(row: Row, other: Row) -> Payback:
    """Nothing is concluded where others were at work."""
    if disturbed := [name(each).removeprefix("! ") for each in (row, other) if each["disturbed"]]:
        return Payback("unknown", reason=f"others were at work beside {listed(disturbed)}")
    return payback(
        row["cold_start_s"], row.outcome.timed, other["cold_start_s"], other.outcome.timed
    )


def _draw(shown: Sequence[Pair], width: int) -> Any:
    import altair as alt

    # one panel's grey is not that of all
    panels = alt.vconcat(*(_panel(each, width) for each in shown), spacing=26)
    return panels.resolve_scale(color="independent")


def _panel(pair: Pair, width: int) -> Any:
    import altair as alt

    paid = pair.paid
    step_s = other_s = float(pair.other["median_s"])
    cold_s, other_cold_s = float(pair.row["cold_start_s"]), float(pair.other["cold_start_s"])
    if paid.steps:
        # by the ratio over rounds, which the crossing is computed from, and not by that of medians
        step_s = other_s - (cold_s - other_cold_s) / paid.steps
        reach = max(1.6 * paid.steps, min(1.1 * (paid.high or 0), 4 * paid.steps))
    else:
        step_s = float(pair.row["median_s"])
        reach = 3 * max(cold_s, other_cold_s) / min(step_s, other_s) or 100.0
    lines = [
        {"who": who, "steps": steps, "value": cold + steps * each, "tip": tip}
        for who, cold, each, tip in (
            ("row", cold_s, step_s, _tip(pair.row)),
            ("other", other_cold_s, other_s, _tip(pair.other)),
        )
        for steps in (0.0, reach)
    ]
    x = alt.X(
        "steps:Q",
        title="steps",
        scale=alt.Scale(domain=[0, reach], nice=False),
        axis=alt.Axis(labelExpr=axes.NUMBERS, tickCount=5, grid=False, labelFlush=True),
    )
    y = alt.Y("value:Q", **axes.linear("seconds"))
    line = alt.Chart(values(lines)).mark_line(strokeWidth=2, aria=True)
    # where nothing can be told, lines that cross must not look as if something were
    hues = [style.OPEN] * 2 if paid.verdict == "unknown" else list(style.SERIES[:2])
    colours = alt.Scale(domain=["row", "other"], range=hues)
    dashes = alt.Scale(domain=["row", "other"], range=[[1, 0], [6, 3]])
    drawn = line.encode(
        x=x,
        y=y,
        color=alt.Color("who:N", scale=colours, legend=None),
        strokeDash=alt.StrokeDash("who:N", scale=dashes, legend=None),
        description=alt.Description("tip:N"),
    )
    limit = int(style.ROOM * (width - _SIDES_PX))
    return (
        alt.layer(*_crossing(pair, reach, cold_s + (paid.steps or 0) * step_s, x, y), drawn)
        .properties(width=width - _SIDES_PX, height=_PANEL_PX)
        .properties(
            title=alt.TitleParams(
                f"{name(pair.row)}{f' · {pair.heading}' if width >= style.WIDE else ''}",
                subtitle=_subtitle(pair, width),
                limit=limit,
                frame="group",
                aria=False,
                subtitleColor=style.MUTED,
            )
        )
    )


def _subtitle(pair: Pair, width: int) -> list[str]:
    verdict = pair.verdict
    first = f"{verdict[:1].upper()}{verdict[1:]}"
    against = f"dashed: {name(pair.other)}"
    if width >= style.WIDE:
        return [f"{first}; {against}"]
    return [pair.heading, *textwrap.wrap(first, _NARROW_LETTERS), against]


def _crossing(pair: Pair, reach: float, at_s: float, x: Any, y: Any) -> list[Any]:
    """The step at which a row has caught up or fallen behind, with its interval as a strip."""
    import altair as alt

    paid = pair.paid
    if paid.steps is None or paid.low is None or paid.high is None:
        return []
    strip = [{"steps": min(paid.low, reach), "to": min(paid.high, reach)}]
    crossing = [{"steps": paid.steps, "value": at_s}]
    at = alt.Chart(values(crossing))
    return [
        alt.Chart(values(strip)).mark_rect(color=style.SHADE).encode(x=x, x2=alt.X2("to:Q")),
        at.mark_rule(color=style.INK, strokeDash=[4, 3]).encode(x=x),
        at.mark_point(
            size=60, filled=True, fill=style.PAPER, stroke=style.INK, strokeWidth=1.6, opacity=1
        ).encode(x=x, y=y),
    ]


def _tip(row: Row) -> str:
    return (
        f"{name(row)}: starts in {seconds(row['cold_start_s'])}, {seconds(row['median_s'])} a step"
    )


def _table(pairs: Sequence[Pair]) -> Section:
    rows = [each.row for each in pairs]
    others = [each.other for each in pairs]
    columns = (
        Column("measured", tuple(each.heading for each in pairs), groups=True, names=True),
        Column("row", tuple(one_line(row.case.row_name) for row in rows), names=True),
        Column("cold start", tuple(seconds(row["cold_start_s"]) for row in rows), right=True),
        Column("a step", tuple(seconds(row["median_s"]) for row in rows), right=True),
        Column("against", tuple(one_line(row.case.row_name) for row in others)),
        Column("its cold start", tuple(seconds(row["cold_start_s"]) for row in others), right=True),
        Column("its step", tuple(seconds(row["median_s"]) for row in others), right=True),
        Column("pays off", tuple(each.verdict for each in pairs)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for row in rows)
    return Section(columns=columns, lines=lines)
