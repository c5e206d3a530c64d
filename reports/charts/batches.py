"""A sweep over batch sizes: samples a second and the time of a step, with what is won and lost against a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.columns import Row
from dlbench.analyse.crossover import Crossover, crossovers
from dlbench.analyse.table import Run
from dlbench.record.case import without
from dlbench.text import digits, listed, one_line, plural, seconds

from ..run import sweep
from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, at_px, values
from .drawing.row_groups import measured, name
from .speedups import verdict

if TYPE_CHECKING:
    import altair as alt

HOW_TO_READ = (
    "Against the baseline: ▲ faster, ▼ slower, ○ not told apart or not told at all, ■ the baseline itself. "
    "Bands are 95 % intervals; a shaded strip is where a crossover lies."
)
_SHAPES = {"faster": "triangle-up", "slower": "triangle-down", "baseline": "square"}
_MOST_LINES = 8
_MOST_BATCHES = 24
_PANEL_PX = 250

Series = dict[tuple[Any, ...], list[Row]]
Triple = tuple[float | None, float | None, float | None]
"""A value with the bounds of its interval."""


def _samples(row: Row) -> Triple:
    low, high = row["ci_low_s"], row["ci_high_s"]
    known = low is not None and high is not None
    batch = row.case.batch
    return row["samples_per_s"], batch / high if known else None, batch / low if known else None


def _step(row: Row) -> Triple:
    return row["median_s"], row["ci_low_s"], row["ci_high_s"]


_Told = Callable[[float | None, float | None, float | None], str]


def _rate(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return ""
    interval = "" if low is None or high is None else f" [{digits(low)}, {digits(high)}]"
    return f"{digits(value)} samples/s{interval}"


_KINDS: Mapping[str, tuple[str, Callable[[Row], Triple], _Told, str, str]] = {
    "throughput": ("Samples a second by batch size", _samples, _rate, axes.NUMBERS, "samples/s"),
    "latency": ("Time of a step by batch size", _step, seconds, axes.SECONDS, "a step"),
}


def figures(run: Run, names: Sequence[str] = tuple(_KINDS)) -> Iterator[Figure]:
    """Samples a second, and the time of a step, by batch size, one figure a scenario; none where there is one batch
    size."""
    rows = measured(run.rows)
    if len({row.case.batch for row in rows}) < 2:
        return
    found = crossovers(run.rows)
    for kind in names:
        for scenario in dict.fromkeys(row.case.scenario for row in rows):
            own: Series = {}
            for row in rows:
                if row.case.scenario == scenario:
                    own.setdefault(without(row.case, "batch"), []).append(row)
            own = {who: sorted(each, key=lambda row: row.case.batch) for who, each in own.items()}
            if max(map(len, own.values())) > 1:
                crossed = [c for c in found if c.case.scenario == scenario and not c.with_copies]
                yield _figure(kind, scenario, own, crossed)


def _figure(kind: str, scenario: str, every: Series, crossed: Sequence[Crossover]) -> Figure:
    title, value, told, labels, axis_title = _KINDS[kind]
    shown = {who: _thinned(rows) for who, rows in list(every.items())[:_MOST_LINES]}
    names = [_line_name(rows) for rows in shown.values()]
    some = [c for c in crossed if without(c.case, "batch") in shown]
    notes = [HOW_TO_READ]
    for each in some:
        who = one_line(each.case.row_name)
        notes.append(f"{who} is faster than {one_line(each.baseline)} {sweep.sentence(each)}.")
    if len(every) > len(shown):
        notes.append(f"{len(shown)} of {plural(len(every), 'row')} are drawn; the table has all.")
    if max(map(len, every.values())) > _MOST_BATCHES:
        notes.append(f"At most {_MOST_BATCHES} batch sizes of a row are drawn; the table has all.")
    return Figure(
        name=kind,
        title=f"{title}, {scenario}",
        summary=f"Lines of {axis_title} over batch sizes for {listed(names)}.",
        draw=lambda width: _draw(shown, names, some, value, told, (labels, axis_title), width),
        table=_table(every, value, told, axis_title),
        notes=tuple(notes),
    )


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """Rows of so many batch sizes as a line has room for, the first and the last among them."""
    count = len(rows)
    if count <= _MOST_BATCHES:
        return list(rows)
    places = {round(i * (count - 1) / (_MOST_BATCHES - 1)) for i in range(_MOST_BATCHES)}
    return [rows[place] for place in sorted(places)]


def _line_name(rows: Sequence[Row]) -> str:
    return name(rows[0]).removeprefix("! ")


def _draw(
    shown: Series,
    names: Sequence[str],
    crossed: Sequence[Crossover],
    value: Callable[[Row], Triple],
    told: _Told,
    axis: tuple[str, str],
    width: int,
) -> Any:
    import altair as alt

    points: list[dict[str, Any]] = []
    for who, rows in zip(names, shown.values(), strict=True):
        for row in rows:
            middle, low, high = value(row)
            verdicts = verdict(row) if row["speedup"] is not None else "no interval"
            tip = f"{who}, batch {row.case.batch:,}: {told(middle, low, high)}, {verdicts}"
            points.append(
                {
                    "who": who,
                    "batch": row.case.batch,
                    "value": middle,
                    "low": low,
                    "high": high,
                    "shape": _SHAPES.get(verdicts, "circle"),
                    "tip": tip,
                }
            )
    batches = sorted({point["batch"] for point in points})
    middles = [point["value"] for point in points]
    ends = [point[end] for point in points for end in ("low", "high") if point[end] is not None]
    low, high = axes.span(axes.within(middles, ends, 3.0), 1.25)
    data = alt.Chart(values(points))
    x = alt.X(
        "batch:Q",
        title="batch size (logarithmic)",
        scale=alt.Scale(
            type="log", base=2, domain=[batches[0] / 1.15, batches[-1] * 1.15], nice=False
        ),
        axis=alt.Axis(values=batches, labelExpr=axes.NUMBERS, grid=False, labelOverlap=True),
    )
    y = alt.Y("value:Q", **axes.log(low, high, 5 * 52, axis[1], axis[0]))
    legend = axes.lines_legend(width)
    colours, dashes = list(style.SERIES[: len(names)]), list(style.DASHES[: len(names)])
    hues = alt.Scale(domain=list(names), range=colours)
    colour = alt.Color("who:N", scale=hues, legend=legend)
    dash = alt.StrokeDash("who:N", scale=alt.Scale(domain=list(names), range=dashes), legend=legend)
    intervals = [p for p in points if p["low"] is not None and p["high"] is not None]
    band = alt.Chart(values(intervals)).mark_area(opacity=0.13, clip=True, line=False)
    return alt.layer(
        *_strips(crossed),
        band.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=colour),
        data.mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash),
        data.mark_point(
            size=75, filled=True, fill=style.PAPER, strokeWidth=1.8, opacity=1, aria=True
        ).encode(
            x=x,
            y=y,
            stroke=alt.Stroke("who:N", scale=hues, legend=None),
            shape=alt.Shape("shape:N", scale=None),
            description=alt.Description("tip:N"),
        ),
    ).properties(width=width, height=_PANEL_PX)


def _strips(crossed: Sequence[Crossover]) -> list[alt.Chart]:
    """Where crossovers lie, between a batch size that is lost and one that is won."""
    import altair as alt

    strips = [
        {"from": each.after, "to": each.faster_from}
        for each in crossed
        if each.after is not None and each.faster_from is not None
    ]
    unlike = [dict(each) for each in {tuple(strip.items()) for strip in strips}]
    unlike.sort(key=lambda strip: strip["from"])
    if not unlike:
        return []
    strip = alt.Chart(values(unlike)).mark_rect(color=style.SHADE)
    middles = [
        {"middle": math.sqrt(each["from"] * each["to"]), "text": "crossover"} for each in unlike
    ]
    text = alt.Chart(values(middles)).mark_text(baseline="top", dy=4, color=style.MUTED)
    return [
        strip.encode(x=alt.X("from:Q"), x2=alt.X2("to:Q")),
        text.encode(x=alt.X("middle:Q"), y=at_px("Y", 0), text=alt.Text("text:N")),
    ]


def _table(every: Series, value: Callable[[Row], Triple], told: _Told, title: str) -> Section:
    rows = [row for each in every.values() for row in each]
    verdicts = [verdict(row) if row["speedup"] is not None else "" for row in rows]
    columns = (
        Column("row", tuple(one_line(row.case.row_name) for row in rows), names=True, groups=True),
        Column("batch", tuple(f"{row.case.batch:,}" for row in rows), right=True, names=True),
        Column(title, tuple(told(*value(row)) for row in rows)),
        Column("against the baseline", tuple(verdicts)),
    )
    return Section(columns=columns, lines=(Line(),) * len(rows))
