"""What device and host did beside the timing: samples over time, with the measured windows shaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Run
from dlbench.record.schema import HOST, Process, Telemetry, Trace
from dlbench.telemetry.windows import windows_of
from dlbench.text import digits, listed, one_line, size

from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.bands import Bands
from .drawing.figure import Figure, values
from .drawing.row_groups import measured, name

if TYPE_CHECKING:
    pass

HOW_TO_READ = (
    "Shaded: the blocks of steps that were timed. What lies between them is the time of other rows."
)
HOST_NOTE = (
    "Each bar is one process while it was timed: the cores that it had, that other processes had, and that "
    "the hypervisor took."
)


class _Panel(NamedTuple):
    title: str
    metrics: tuple[str, ...]
    one: float
    unit: str


_PANELS = (
    _Panel("GPU busy", ("gpm_graphics", "utilization"), 0.01, "%"),
    _Panel(
        "GPU memory in use", ("memory_used_bytes", "memory_used_and_reserved_bytes"), 2**30, "GiB"
    ),
    _Panel("power", ("power_instant_w", "power_average_w", "power_usage_w"), 1, "W"),
    _Panel("SM clock", ("sm_clock_mhz",), 1, "MHz"),
)
"""What is drawn of a device: the first of the metrics that it has, in a unit."""
_MOST_POINTS, _MOST_WINDOWS, _MOST_ROWS = 240, 60, 6
_PANEL_PX = 90
_HOST_PARTS = ("this process", "other processes", "the hypervisor")


def figures(run: Run) -> Iterator[Figure]:
    """The samples of each row's device, for a process each, and what each process had of the host's cores."""
    rows = measured(run.rows)
    devices = [row for row in rows if any(_is_device(line) for line in row.outcome.beside)]
    for row in devices[:_MOST_ROWS]:
        found = _device(row, len(devices))
        if found is not None:
            yield found
    hosted = _host(rows)
    if hosted is not None:
        yield hosted


def _is_device(line: Telemetry) -> bool:
    return line.source != HOST and bool(line.traces)


def _device(row: Row, among: int) -> Figure | None:
    """Of the row's first process with samples."""
    lines = [line for line in row.outcome.beside if _is_device(line)]
    pairs = (
        (process, line)
        for process in row.outcome.processes
        for line in lines
        if (line.round, line.attempt) == (process.round, process.attempt)
    )
    pair = next(((p, line) for p, line in pairs if windows_of(p)), None)
    if pair is None:
        return None
    process, line = pair
    shown = [
        (panel, line.traces[metric])
        for panel in _PANELS
        if (metric := next((m for m in panel.metrics if m in line.traces), None))
    ]
    if not shown:
        return None
    label = one_line(f"{row.case.label}, round {process.round}")
    notes = [HOW_TO_READ]
    if among > _MOST_ROWS:
        notes.append(f"The first {_MOST_ROWS} of {among} rows on devices are drawn.")
    rest = [f"{one_line(k)}: {one_line(why)}" for k, why in line.unavailable.items()]
    notes += [f"Not available: {'; '.join(rest[:6])}."] if rest else []
    return Figure(
        name="telemetry",
        title=f"{one_line(line.device_name) or 'Device'} beside {label}",
        summary=f"Lines over time of {listed([panel.title for panel, _ in shown])}.",
        draw=lambda width: _draw_device(shown, process, width),
        table=_device_table(shown, process),
        notes=tuple(notes),
    )


def _thinned(trace: Trace, begin_ns: int, one: float) -> list[dict[str, float]]:
    step = max(len(trace.t_ns) // _MOST_POINTS, 1)
    pairs = list(zip(trace.t_ns, trace.values, strict=True))[::step]
    return [{"t": (t - begin_ns) * 1e-9, "value": value / one} for t, value in pairs]


def _draw_device(shown: Sequence[tuple[_Panel, Trace]], process: Process, width: int) -> Any:
    import altair as alt

    windows = windows_of(process)
    begin_ns = windows[0].start_ns
    shades = [
        {"from": (w.start_ns - begin_ns) * 1e-9, "to": (w.end_ns - begin_ns) * 1e-9}
        for w in windows[:_MOST_WINDOWS]
    ]
    span_s = [(t - begin_ns) * 1e-9 for _, trace in shown for t in trace.t_ns]
    span = [min(0.0, *span_s), max(shades[-1]["to"], *span_s)]
    panels = []
    for number, (panel, trace) in enumerate(shown):
        last = number == len(shown) - 1
        x = alt.X(
            "t:Q",
            title="seconds since the first timed step" if last else None,
            scale=alt.Scale(domain=span, nice=False),
            axis=alt.Axis(
                labels=last,
                ticks=last,
                labelExpr=axes.NUMBERS,
                tickCount=6,
                labelFlush=True,
                grid=False,
            ),
        )
        y = alt.Y(
            "value:Q",
            title=panel.unit,
            scale=alt.Scale(zero=True, nice=True),
            axis=alt.Axis(tickCount=3, labelExpr=axes.NUMBERS),
        )
        shade = alt.Chart(values(shades)).mark_rect(color=style.SHADE)
        line = alt.Chart(values(_thinned(trace, begin_ns, panel.one)))
        panels.append(
            alt.layer(
                shade.encode(
                    x=alt.X("from:Q", scale=alt.Scale(domain=span, nice=False)), x2=alt.X2("to:Q")
                ),
                line.mark_line(
                    color=style.SERIES[0], strokeWidth=1.6, interpolate="step-after"
                ).encode(x=x, y=y),
            ).properties(
                width=width - 60,
                height=_PANEL_PX,
                title=alt.TitleParams(
                    panel.title,
                    fontWeight="normal",
                    fontSize=style.SMALL,
                    frame="group",
                    aria=False,
                ),
            )
        )
    return alt.vconcat(*panels, spacing=6)


def _device_table(shown: Sequence[tuple[_Panel, Trace]], process: Process) -> Section:
    windows = windows_of(process)
    inside = [
        [
            value / panel.one
            for t, value in zip(trace.t_ns, trace.values, strict=True)
            if any(w.start_ns <= t <= w.end_ns for w in windows)
        ]
        for panel, trace in shown
    ]
    columns = (
        Column("measured", tuple(panel.title for panel, _ in shown), names=True),
        Column("unit", tuple(panel.unit for panel, _ in shown)),
        Column("samples in the windows", tuple(f"{len(each):,}" for each in inside), right=True),
        *(
            Column(title, tuple(digits(of(each)) if each else "" for each in inside), right=True)
            for title, of in (("least", min), ("mean", _mean), ("most", max))
        ),
    )
    return Section(columns=columns, lines=(Line(),) * len(shown))


def _mean(found: Sequence[float]) -> float:
    return sum(found) / len(found)


def _host(rows: Sequence[Row]) -> Figure | None:
    """The cores of each process' window."""
    bars: list[dict[str, Any]] = []
    for row in rows[: 2 * _MOST_ROWS]:
        for process in row.outcome.processes:
            seen = process.during
            if seen is None or seen.own_cores is None:
                continue
            label = f"{name(row)} · {one_line(row.case.scenario)} {row.case.batch:,}"
            parts = (seen.own_cores, seen.other_cores or 0.0, seen.stolen_cores or 0.0)
            bars += [
                {
                    "who": label,
                    "round": process.round,
                    "part": part,
                    "value": value,
                    "order": number,
                    "tip": f"{label}, round {process.round}: {part} had {value:.2f} cores",
                }
                for number, (part, value) in enumerate(zip(_HOST_PARTS, parts, strict=True))
            ]
    if not bars:
        return None
    own = [bar["value"] for bar in bars if bar["part"] == _HOST_PARTS[0]]
    return Figure(
        name="host",
        title="Cores in use while each process was timed",
        summary=f"Stacked bars, one a process. Timed processes had {digits(min(own))} to {digits(max(own))} cores.",
        draw=lambda width: _draw_host(bars, width),
        table=_host_table(rows),
        notes=(HOST_NOTE,),
    )


def _draw_host(bars: list[dict[str, Any]], width: int) -> Any:
    import altair as alt

    bands, placed = Bands(), []
    rounds = max(
        len({b["round"] for b in bars if b["who"] == who}) for who in {b["who"] for b in bars}
    )
    thick = max(min(16 // rounds, 8), 3)
    for who in dict.fromkeys(bar["who"] for bar in bars):
        own = [bar for bar in bars if bar["who"] == who]
        numbers = sorted({bar["round"] for bar in own})
        mean = _mean([bar["value"] for bar in own if bar["order"] == 0])
        place = bands.add(who, f"{mean:.2f} cores")
        for bar in own:
            at = numbers.index(bar["round"])
            begin = sum(
                b["value"] for b in own if b["round"] == bar["round"] and b["order"] < bar["order"]
            )
            placed.append(
                bar | {"row": place, "at": at, "begin": begin, "end": begin + bar["value"]}
            )
    layout = bands.layout(width)
    legend = alt.Legend(title=None, orient="top", columns=3 if layout.roomy else 1)
    hues = alt.Scale(
        domain=list(_HOST_PARTS), range=[style.SERIES[0], style.SERIES[1], style.SERIES[3]]
    )
    x = alt.X("begin:Q", **axes.linear("cores"))
    marks = [
        alt.Chart(values([bar for bar in placed if bar["at"] == at]))
        .mark_bar(
            height=thick - 1,
            yOffset=layout.down + (at - (rounds - 1) / 2) * thick,
            aria=True,
        )
        .encode(
            x=x,
            x2=alt.X2("end:Q"),
            y=layout.y,
            color=alt.Color("part:N", scale=hues, legend=legend),
            description=alt.Description("tip:N"),
        )
        for at in range(min(rounds, 16))
    ]
    return layout.chart(*marks)


def _host_table(rows: Sequence[Row]) -> Section:
    timed = [(row, process) for row in rows for process in row.outcome.processes if process.during]
    seen = [process.during for _, process in timed if process.during]

    def cores(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    columns = (
        Column("row", tuple(one_line(row.case.label) for row, _ in timed), names=True, groups=True),
        Column("round", tuple(str(process.round) for _, process in timed), right=True, names=True),
        Column(_HOST_PARTS[0], tuple(cores(each.own_cores) for each in seen), right=True),
        Column(_HOST_PARTS[1], tuple(cores(each.other_cores) for each in seen), right=True),
        Column(_HOST_PARTS[2], tuple(cores(each.stolen_cores) for each in seen), right=True),
        Column(
            "peak memory",
            tuple(size(p.peak_memory_bytes) if p.peak_memory_bytes else "" for _, p in timed),
            right=True,
        ),
    )
    return Section(columns=tuple(c for c in columns if any(c.cells)), lines=(Line(),) * len(timed))
