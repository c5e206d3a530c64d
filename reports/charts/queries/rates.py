"""What a server's latency does as more queries come: every rate that a search for the largest has tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Run
from dlbench.record.facts import RateTrial
from dlbench.text import digits, one_line, seconds

from ...tables.model import Column, Line, Section
from ..drawing import axes, style
from ..drawing.figure import Figure, values
from ..drawing.row_groups import name

HOW_TO_READ = (
    "A sign is a rate that a fresh process tried for a while: ● its latency was within the bound (the line across), "
    "○ beyond it, × it was given up, since too many queries were late already. The dashed line is the largest rate, "
    "the shaded strip its 95 % interval over processes."
)
_PANEL_PX = 190
_SIDES_PX = 80
_GIVEN_UP = "M-1,-1L1,1M-1,1L1,-1"

Tried = tuple[int, RateTrial]
"""A trial with the number of its process, from 1."""


def figures(run: Run) -> Iterator[Figure]:
    """A figure for each row whose largest rate was looked for."""
    for row in run.rows:
        tried = [
            (number, trial)
            for number, process in enumerate(row.outcome.processes, 1)
            for trial in process.rate_trials
            if trial.rate_per_s > 0
        ]
        if tried and row["status"] == "ok" and row["latency_bound_s"] is not None:
            yield _figure(row, tried)


def _figure(row: Row, tried: Sequence[Tried]) -> Figure:
    percent, bound = row["latency_percentile"], seconds(row["latency_bound_s"])
    rate, low, high = _largest(row)
    if rate is None:
        told = f"The largest rate cannot be told: {_why(row)}."
    elif row["disturbed"]:
        told = f"The largest rate cannot be told: {one_line(row['disturbance'] or 'disturbed')}."
    else:
        interval = "" if low is None or high is None else f" [{digits(low)}, {digits(high)}]"
        told = f"The largest rate is {digits(rate)} queries/s{interval}."
    trials = sorted(tried, key=lambda each: (each[1].rate_per_s, each[0]))
    columns = (
        Column("process", tuple(f"{number}" for number, _ in trials), right=True, names=True),
        Column("queries/s", tuple(digits(t.rate_per_s) for _, t in trials), right=True),
        Column("answered", tuple(f"{t.queries:,}" for _, t in trials), right=True),
        Column(f"p{percent}", tuple(_latency(t) for _, t in trials)),
        Column(f"within {bound}", tuple("yes" if t.within else "no" for _, t in trials)),
    )
    return Figure(
        name="rates",
        title=f"Latency by rate: {name(row)}",
        summary=f"p{percent} of queries against their rate, with a line at {bound}. {told}",
        draw=lambda width: _draw(row, trials, width),
        table=Section(columns=columns, lines=(Line(),) * len(trials)),
        notes=(told, HOW_TO_READ),
    )


def _why(row: Row) -> str:
    """What is told last of what a row's queries do not tell."""
    return one_line(row["too_few_queries"] or "").rpartition("; ")[2]


def _latency(trial: RateTrial) -> str:
    return "given up" if trial.percentile_ns is None else seconds(trial.percentile_ns * 1e-9)


def _largest(row: Row) -> tuple[float | None, float | None, float | None]:
    ends = ("", "_low", "_high")
    rate, low, high = (row[f"largest_rate{end}_per_s"] for end in ends)
    return rate, low, high


def _draw(row: Row, trials: Sequence[Tried], width: int) -> Any:
    import altair as alt

    bound_s = float(row["latency_bound_s"])
    latencies = [t.percentile_ns * 1e-9 for _, t in trials if t.percentile_ns]
    bottom, top = axes.span([bound_s, *latencies], 1.4)
    rate, low, high = (None,) * 3 if row["disturbed"] else _largest(row)
    known = [each for each in (rate, low, high) if each is not None]
    rates = [trial.rate_per_s for _, trial in trials]
    first, last = axes.span(axes.within([*rates, *known[:1]], known, 3.0), 1.1)
    x = alt.X("rate:Q", **axes.log(first, last, width, "queries/s (logarithmic)", axes.NUMBERS))
    percent = row["latency_percentile"]
    y = alt.Y("value:Q", **axes.log(bottom, top, 5 * 52, f"p{percent} (logarithmic)", axes.SECONDS))
    hue = style.OPEN if row["disturbed"] else style.SERIES[0]
    points = [
        {
            "rate": trial.rate_per_s,
            "value": top if trial.percentile_ns is None else trial.percentile_ns * 1e-9,
            "shape": _GIVEN_UP if trial.percentile_ns is None else "circle",
            "fill": hue if trial.within else style.PAPER,
            "lost": trial.percentile_ns is None,
            "tip": f"process {number}, {digits(trial.rate_per_s)} queries/s: {_latency(trial)}",
        }
        for number, trial in trials
    ]
    marks = [
        alt.Chart(values([p for p in points if p["lost"] is lost]))
        .mark_point(
            size=52,
            filled=True,
            opacity=1,
            strokeWidth=1.5,
            stroke=hue,
            yOffset=8 * lost,
            aria=True,
        )
        .encode(
            x=x,
            y=y,
            shape=alt.Shape("shape:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            description=alt.Description("tip:N"),
        )
        for lost in (False, True)
    ]
    limit = alt.Chart(values([{"value": bound_s}])).mark_rule(color=style.SLOWER, strokeWidth=1.6)
    behind: list[Any] = [limit.encode(y=y)]
    if rate is not None:
        at = alt.Chart(values([{"rate": rate}]))
        behind.append(at.mark_rule(color=style.INK, strokeDash=[4, 3]).encode(x=x))
    if low is not None and high is not None:
        strip = [{"rate": max(low, first), "to": min(high, last)}]
        shade = alt.Chart(values(strip)).mark_rect(color=style.SHADE)
        behind.insert(0, shade.encode(x=x, x2=alt.X2("to:Q")))
    return alt.layer(*behind, *marks).properties(width=width - _SIDES_PX, height=_PANEL_PX)
