"""How many times as fast as the baseline each row is: bars with intervals, each round of fresh processes a dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.columns import BADGE, Row
from dlbench.analyse.statistics import ratios_by_round
from dlbench.analyse.table import Run
from dlbench.record.case import HOST
from dlbench.text import factor, is_told, listed, one_line, seconds, times

from ..run import words
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import Figure, values
from .drawing.row_groups import Group, drawn, groups, measured, name, not_drawn

if TYPE_CHECKING:
    pass

VERDICTS = {
    "baseline": style.OPEN,
    "faster": style.FASTER,
    "slower": style.SLOWER,
    "not told apart": style.OPEN,
    "no interval": style.OPEN,
    "disturbed": style.OPEN,
    "baseline disturbed": style.OPEN,
}
"""What an interval says of a row against the baseline, and in which colour that is drawn."""
_THICK = 13
HOW_TO_READ = (
    "A bar ends at the speed-up, the line across its end is the 95 % interval, and each dot is one round, a "
    "pair of fresh processes that took turns. A bar whose line crosses 1× is not told apart from the "
    "baseline. The interval is of that pair of rows alone; the sentences at the top have wider ones, which "
    "hold for all rows compared at once."
)


def verdict(row: Row) -> str:
    """One of `VERDICTS`; nothing is concluded from a disturbed row, nor over one."""
    low, high = row["speedup_low"], row["speedup_high"]
    if row["baseline"] == row.case.row_name:
        return "baseline"
    if row["disturbed"]:
        return "disturbed"
    if row["baseline_disturbed"]:
        return "baseline disturbed"
    if low is None or high is None:
        return "no interval"
    return "faster" if low > 1 else "slower" if high < 1 else "not told apart"


def figure(run: Run, *, among: Sequence[Row] | None = None) -> Figure | None:
    """The speed-ups of a record's rows; None where there is no baseline with figures, or nothing to hold against it."""
    every = run.rows if among is None else among
    rows = [row for row in measured(every) if row["speedup"] is not None]
    if not any(verdict(row) != "baseline" for row in rows):
        return None
    base = one_line(run.baseline.name.removesuffix(f":{HOST}"))
    found = groups(rows)
    shown = drawn(found)
    rounds = {row.case: _rounds(run, row) for _, some in shown for row in some}
    title = f"Speed-up over {base}"
    return Figure(
        name="speedup",
        title=title,
        summary=_summary(shown, base),
        draw=lambda width: _draw(shown, rounds, base, width),
        table=_table(found, run),
        notes=(HOW_TO_READ, *words.badges(rows), *not_drawn(every, shown)),
    )


def _rounds(run: Run, row: Row) -> tuple[float, ...]:
    case = run.baseline.of(row.case)
    base = next((each.outcome for each in run.rows if each.case == case), None)
    if base is None or case == row.case:
        return ()
    return ratios_by_round(base.timed, row.outcome.timed)


def _draw(
    shown: Sequence[Group], rounds: dict[Any, tuple[float, ...]], base: str, width: int
) -> Any:
    import altair as alt

    bands, bars, dots = Bands(), [], []
    for heading, rows in shown:
        bands.heading(heading)
        for row in rows:
            place = bands.add(name(row), figures(row))
            verdicts = verdict(row)
            bars.append(
                {
                    "row": place,
                    "value": row["speedup"],
                    "low": row["speedup_low"],
                    "high": row["speedup_high"],
                    "colour": VERDICTS[verdicts],
                    "doubtful": _is_doubtful(row),
                    "tip": f"{heading}: {name(row)}, {figures(row)}; a step {_step(row)}",
                }
            )
            dots += [{"row": place, "value": each} for each in rounds[row.case]]
    middles = [1.0, *(bar["value"] for bar in bars), *(dot["value"] for dot in dots)]
    ends = [bar[end] for bar in bars for end in ("low", "high") if bar[end] is not None]
    low, high = axes.span(axes.within(middles, ends))
    layout = bands.layout(width)
    title = f"times as fast as {base}"
    title += " (logarithmic; to the right of 1× is faster)" if layout.roomy else ""
    x = alt.X("value:Q", **axes.log(low, high, width, title))
    colour = alt.Color("colour:N", scale=None)
    bar = alt.Chart(values(bars)).encode(y=layout.y, x=x, x2=alt.datum(1), color=colour)
    one = alt.Chart(values([{"one": 1}])).mark_rule(color=style.INK, strokeWidth=1.2)
    return layout.chart(
        bar.mark_bar(height=_THICK, yOffset=layout.down, fillOpacity=0.28, strokeWidth=1.2)
        .transform_filter("!datum.doubtful")
        .encode(stroke=alt.Stroke("colour:N", scale=None)),
        bar.mark_bar(
            height=_THICK, yOffset=layout.down, filled=False, strokeWidth=1.2, strokeDash=[3, 2]
        ).transform_filter("datum.doubtful"),
        *layout.interval(bars, low, high),
        layout.dots(dots),
        layout.tips(bars),
        behind=[one.encode(x=alt.X("one:Q"))],
    )


def figures(row: Row) -> str:
    """``1.81× [1.78, 1.84] faster``, with ``≠fp32`` behind it where the baseline is of another precision; or that
    and why it cannot be told."""
    if verdict(row) in ("disturbed", "baseline disturbed"):
        return f"cannot be told: {verdict(row)}"
    if not is_told(row["speedup_low"], row["speedup_high"]):
        return times(row["speedup"], row["speedup_low"], row["speedup_high"])
    other = (row["speedup_badge"] or "").rpartition(" ")[2]
    told = times(row["speedup"], row["speedup_low"], row["speedup_high"])
    return one_line(f"{told} {verdict(row)}{f' {BADGE}{other}' if other else ''}")


def _is_doubtful(row: Row) -> bool:
    disturbed = row["disturbed"] or row["baseline_disturbed"]
    return disturbed or not is_told(row["speedup_low"], row["speedup_high"])


def _step(row: Row) -> str:
    return seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])


def _summary(shown: Sequence[Group], base: str) -> str:
    told = []
    for heading, rows in shown:
        sound = [row for row in rows if not _is_doubtful(row)]
        if sound:
            best = max(sound, key=lambda row: float(row["speedup"]))
            told.append(f"{heading}: {name(best)} is at {times(best['speedup'])}")
    highest = f" The highest of {listed(told)}." if told else " Nothing can be told of any."
    return f"Bars of how many times as fast as {base} each row is.{highest}"


def _table(found: Sequence[Group], run: Run) -> Section:
    rows = [(heading, row) for heading, some in found for row in some]
    rounds = [_rounds(run, row) for _, row in rows]
    every = [row for _, row in rows]
    columns = (
        Column("measured", tuple(heading for heading, _ in rows), groups=True, names=True),
        Column("row", tuple(one_line(row.case.row_name) for row in every), names=True),
        Column("speed-up", tuple(map(figures, every))),
        Column("a step", tuple(map(_step, every))),
        Column("rounds", tuple(", ".join(map(factor, each)) for each in rounds)),
    )
    lines = tuple(Line(words.mark(row), words.style(row)) for row in every)
    return Section(columns=tuple(c for c in columns if any(c.cells)), lines=lines)
