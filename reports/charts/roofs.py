"""Layers under the roofs that were measured with them: how many operations a byte, and how many operations a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dlbench.analyse.table import Run
from dlbench.profile.roofline import Placed, Roofs, placed, roofs
from dlbench.text import digits, listed, one_line, percent, size

from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values
from .layers import Profiled, profiles, row_name

if TYPE_CHECKING:
    import altair as alt

HOW_TO_READ = (
    "A layer under the flat roof is bound by arithmetic, one under a slanted roof by moving data; the roofs "
    "were measured with the same backend in the same rounds. Bytes are the least that must be moved. A layer "
    "above a roof needs fewer operations than are counted (Winograd's convolution), or shares memory with its "
    "neighbours."
)
_PANEL_PX = 300
_BOUNDS = {"arithmetic": "products", "memory": "memory", "calls": "calls"}


def figures(run: Run) -> Iterator[Figure]:
    """A figure for each profiled step whose roofs were measured."""
    for each in profiles(run):
        profile, workload, times = each
        found, under = placed(profile, workload, times), roofs(profile)
        dots = {one_line(name): at for name, at in found.items() if at.flops and at.moved_bytes}
        if not dots or under is None:
            continue
        case = profile.case
        rest = [one_line(name) for name, at in found.items() if not at.flops]
        notes = [HOW_TO_READ]
        notes += [f"Without products, so not drawn: {listed(rest)}."] if rest else []
        notes += [f"! disturbed: {times.disturbed}"] if times.disturbed else []
        nearest = max(dots, key=lambda name: dots[name].share)
        yield Figure(
            name="roofline",
            title=f"Roofline of {row_name(each)}: {case.scenario}, batch {case.batch:,}",
            summary=(
                f"Layers by operations a byte and operations a second. {nearest} comes nearest to its roof, with "
                f"{percent(dots[nearest].share)} of it."
            ),
            draw=lambda width, dots=dots, under=under: _draw(dots, under, width),  # type: ignore[misc]
            table=_table(each, found),
            notes=tuple(notes),
        )


def _draw(dots: dict[str, Placed], under: Roofs, width: int) -> Any:
    import altair as alt

    points: list[dict[str, Any]] = [
        {
            "x": at.flops / at.moved_bytes,
            "y": at.flops_per_s,
            "name": name,
            "tip": f"{name}: {digits(at.flops_per_s / 1e9)} GFLOP/s, {percent(at.share)} of its roof, "
            f"bound by {_BOUNDS[at.bound]}",
        }
        for name, at in dots.items()
    ]
    top, rates = (
        under.flops_per_s[0],
        {moved: under.bytes_per_s(moved).middle for moved, _ in under.copies[0]},
    )
    slants = _slants(rates)
    knees = [top / rate for _, rate in slants]
    left, right = axes.span([*(p["x"] for p in points), *knees], 2.0)
    low = min(p["y"] for p in points) / 2
    high = max(top, *(p["y"] for p in points)) * 1.9
    names = [f"products: {digits(top / 1e9)} GFLOP/s"]
    names += [f"copies of {size(moved)}: {digits(rate / 1e9)} GB/s" for moved, rate in slants]
    ends = [[(min(knees), top), (right, top)]]
    ends += [[(x, x * rate) for x in (max(left, low / rate), top / rate)] for _, rate in slants]
    lines = [
        {"roof": name, "x": x, "y": y}
        for name, each in zip(names, ends, strict=True)
        for x, y in each
    ]
    x = alt.X(
        "x:Q", **axes.log(left, right, width, "operations a byte (logarithmic)", axes.NUMBERS)
    )
    y = alt.Y("y:Q", **axes.log(low, high, 6 * 52, "GFLOP/s", "format(datum.value / 1e9, ',~r')"))
    legend = alt.Legend(
        title="roofs", orient="bottom", columns=3 if width >= style.WIDE else 1, symbolSize=300
    )
    dashes = alt.Scale(domain=names, range=list(style.DASHES[: len(names)]))
    return alt.layer(
        alt.Chart(values(lines))
        .mark_line(color=style.SLOWER, strokeWidth=1.8)
        .encode(x=x, y=y, strokeDash=alt.StrokeDash("roof:N", scale=dashes, legend=legend)),
        alt.Chart(values(points))
        .mark_point(size=70, filled=True, color=style.SERIES[0], opacity=1, aria=True)
        .encode(x=x, y=y, description=alt.Description("tip:N")),
        *_labels(points, x, y, left, right),
    ).properties(width=width - 50, height=_PANEL_PX)


def _slants(rates: dict[float, float]) -> list[tuple[float, float]]:
    """The copies that went at the highest rate (in a cache) and at the lowest (in memory)."""
    fastest, slowest = max(rates, key=lambda m: rates[m]), min(rates, key=lambda m: rates[m])
    return [(each, rates[each]) for each in dict.fromkeys((fastest, slowest))]


def _labels(
    points: list[dict[str, Any]], x: Any, y: Any, left: float, right: float
) -> list[alt.Chart]:
    import altair as alt

    middle = (left * right) ** 0.5
    sides: dict[Any, list[dict[str, Any]]] = {
        "left": [p for p in points if p["x"] <= middle],
        "right": [p for p in points if p["x"] > middle],
    }
    return [
        alt.Chart(values(some))
        .mark_text(align=align, dx=8 if align == "left" else -8, dy=1, color=style.INK, limit=140)
        .encode(x=x, y=y, text=alt.Text("name:N"))
        for align, some in sides.items()
        if some
    ]


def _table(each: Profiled, found: dict[str, Placed]) -> Section:
    at = list(found.values())
    columns = (
        Column("layer", tuple(map(one_line, found)), names=True),
        Column("operations", tuple(f"{p.flops:,.0f}" for p in at), right=True),
        Column("bytes at the least", tuple(size(p.moved_bytes) for p in at), right=True),
        Column(
            "operations a byte",
            tuple(digits(p.flops / p.moved_bytes) if p.moved_bytes else "" for p in at),
            right=True,
        ),
        Column(
            "GFLOP/s", tuple(digits(p.flops_per_s / 1e9) if p.flops else "" for p in at), right=True
        ),
        Column("of its roof", tuple(percent(p.share) for p in at), right=True),
        Column("bound by", tuple(_BOUNDS[p.bound] for p in at)),
    )
    return Section(columns=columns, lines=(Line(),) * len(at))
