"""Where the time of a step goes: the parts of the profiled rows side by side, all that adds up to the step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dlbench.analyse.table import Run
from dlbench.profile.estimates import Time
from dlbench.profile.layer_times import LayerTimes, Part, layer_times
from dlbench.record.schema import Profile
from dlbench.spec.workload import Workload, read_workload
from dlbench.text import listed, one_line, percent, seconds

from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values

if TYPE_CHECKING:
    pass

Profiled = tuple[Profile, Workload, LayerTimes]

HOW_TO_READ = (
    "The bars of a row add up to its step, with the call, the loss and the optimizer. Lines are 95 % "
    "intervals over rounds of one process. A bar to the left of 0 made the others faster: the backend does "
    "that part together with its neighbours."
)
_PARTS = {"call": "the call itself", "loss": "loss", "optimizer": "optimizer"}
_MOST_ROWS, _MOST_PARTS = 4, 24
_SIGNS = "■●▲◆"
_BAR_PX, _GAP_PX = 15, 10


def profiles(run: Run) -> list[Profiled]:
    """The steps of a record that were profiled, with their parts."""
    found = []
    for line in run.record.lines:
        if isinstance(line, Profile) and line.status == "ok":
            workload = read_workload(run.header.workload)
            found.append((line, workload, layer_times(line, workload)))
    return found


def figures(run: Run) -> Iterator[Figure]:
    """A figure for each scenario and batch size that was profiled."""
    alike: dict[tuple[str, int], list[Profiled]] = {}
    for each in profiles(run):
        case = each[0].case
        alike.setdefault((case.scenario, case.batch), []).append(each)
    for (scenario, batch), found in sorted(alike.items(), key=lambda each: each[0][0] != "train"):
        shown = found[:_MOST_ROWS]
        names = [row_name(each) for each in shown]
        whole = [
            f"{name}: {_interval(each[2].whole)}" for name, each in zip(names, shown, strict=True)
        ]
        notes = [HOW_TO_READ, *(_disturbed(each) for each in found if each[2].disturbed)]
        if len(found) > len(shown):
            notes.append(f"{len(shown)} of {len(found)} rows are drawn; the table has all of them.")
        yield Figure(
            name="layers",
            title=f"Where a step goes: {scenario}, batch {batch:,}",
            summary=f"Bars of the time of each part of a step. The whole step of {listed(whole)}.",
            draw=lambda width, shown=shown: _draw(shown, width),  # type: ignore[misc]
            table=_table(found),
            notes=tuple(notes),
        )


def row_name(each: Profiled) -> str:
    """What a profiled row is called in a chart."""
    case = each[0].case
    version = ".".join(each[0].version.split(".")[:2])
    told = [f"{case.backend} {version}".strip(), case.device, case.mode]
    told += [] if case.is_plain else [case.precision]
    return f"{'! ' * bool(each[2].disturbed)}{one_line(' · '.join(filter(None, told)))}"


def part_name(part: Part) -> str:
    """A layer by its name, and what else a step consists of."""
    own = f"{part.name} (what joins it)" if part.joins else part.name
    return one_line(_PARTS.get(part.kind, own))


def _disturbed(each: Profiled) -> str:
    return f"{row_name(each)} was disturbed ({each[2].disturbed}): rely on none of its bars, and profile it again."


def _interval(time: Time) -> str:
    return seconds(time.mean_s, time.low_s, time.high_s)


def _names(found: Sequence[Profiled]) -> list[str]:
    return list(dict.fromkeys(part_name(p) for _, _, times in found for p in times.parts))


def _draw(shown: Sequence[Profiled], width: int) -> Any:
    import altair as alt

    order = _names(shown)
    if len(order) > _MOST_PARTS:
        longest = {
            name: max(
                abs(p.time.mean_s) for _, _, t in shown for p in t.parts if part_name(p) == name
            )
            for name in order
        }
        kept = set(sorted(order, key=lambda name: -longest[name])[:_MOST_PARTS])
        order = [name for name in order if name in kept]
    who = [f"{_SIGNS[i]} {row_name(each)}" for i, each in enumerate(shown)]
    most = max(abs(p.time.mean_s) for _, _, t in shown for p in t.parts)
    one_s, unit = axes.unit_of(most)
    bars: list[dict[str, Any]] = []
    for number, (_, _, times) in enumerate(shown):
        for part in times.parts:
            if part_name(part) not in order:
                continue
            low, high = part.time.low_s / one_s, part.time.high_s / one_s
            finite = math.isfinite(low) and math.isfinite(high)
            bars.append(
                {
                    "part": part_name(part),
                    "who": who[number],
                    "value": part.time.mean_s / one_s,
                    "low": low if finite else None,
                    "high": high if finite else None,
                    "text": f"{_SIGNS[number]} {seconds(part.time.mean_s)}",
                    "end": max(part.time.mean_s / one_s, high if finite else 0, 0),
                    "tip": f"{who[number]}, {part_name(part)}: {_interval(part.time)}, "
                    f"{_share(part, times)} of the step",
                }
            )
    label_px = min(max(7 * max(map(len, order)), 60), width // 3)
    inner = width - label_px
    hues = alt.Scale(domain=who, range=list(style.SERIES[: len(who)]))
    columns = 2 if width >= style.WIDE else 1
    legend = alt.Legend(
        title=None, orient="top", columns=columns, labelLimit=axes.legend_limit(inner, columns)
    )
    y = alt.Y(
        "part:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelLimit=label_px - 8, labelColor=style.INK, ticks=False, domain=False),
        scale=alt.Scale(paddingInner=0.25, paddingOuter=0.1),
    )
    offset = alt.YOffset("who:N", sort=who, scale=alt.Scale(domain=who))
    reach = 1.32 if width >= style.WIDE else 1.7
    ends = [bar["low"] for bar in bars if bar["low"] is not None and bar["low"] > -most / one_s]
    least = min(0.0, *(bar["value"] for bar in bars), *ends)
    x = alt.X(
        "value:Q",
        title=f"time in a step, {unit}",
        scale=alt.Scale(domain=[least, reach * max(bar["end"] for bar in bars)], nice=False),
        axis=alt.Axis(labelExpr=axes.NUMBERS, tickCount=5, labelFlush=True),
    )
    data = alt.Chart(values(bars)).encode(y=y, yOffset=offset)
    known = alt.Chart(values([bar for bar in bars if bar["low"] is not None])).encode(
        y=y, yOffset=offset
    )
    zero = alt.Chart(values([{"zero": 0}])).mark_rule(color=style.INK).encode(x=alt.X("zero:Q"))
    return alt.layer(
        data.mark_bar(height=_BAR_PX - 2, fillOpacity=0.75, aria=True).encode(
            x=x,
            color=alt.Color("who:N", scale=hues, legend=legend),
            description=alt.Description("tip:N"),
        ),
        known.mark_rule(color=style.INK, strokeWidth=1.5, clip=True).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q")
        ),
        data.mark_text(align="left", dx=5, color=style.INK, fontSize=10).encode(
            x=alt.X("end:Q"), text=alt.Text("text:N")
        ),
        zero,
    ).properties(width=inner, height=alt.Step(_BAR_PX, **{"for": "offset"}))


def _share(part: Part, times: LayerTimes) -> str:
    share = part.time.mean_s / times.whole.mean_s
    return percent(share) if share >= 0 else f"-{percent(-share)}"


def _table(found: Sequence[Profiled]) -> Section:
    order = _names(found)
    columns = [Column("part", (*order, "all"), names=True)]
    for each in found:
        parts = {part_name(part): part for part in each[2].parts}
        cells = [_interval(parts[name].time) if name in parts else "" for name in order]
        shares = [_share(parts[name], each[2]) if name in parts else "" for name in order]
        columns.append(Column(row_name(each), (*cells, _interval(each[2].whole))))
        columns.append(Column("share", (*shares, ""), right=True))
    return Section(columns=tuple(columns), lines=(Line(),) * (len(order) + 1))
