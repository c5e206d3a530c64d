"""One quantity each from the traces of a case's processes: a figure, or why there is none.

A figure covers every process of the case or it is none; what short windows cannot tell is `TooShort`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dlbench.record.schema import Process, Telemetry, Trace
from dlbench.telemetry import windows as w
from dlbench.text import plural

SECOND_NS = 1_000_000_000
"""Over which the driver averages power."""
STILL_S = 1.0
"""A counter that does not move for longer (or ten times its usual step) is stuck."""
LEAST_SPANS = 10
"""A difference between two points is taken for exact to a tenth when so many sampling periods lie between."""
LEAST_HOST_S = 0.2
"""Processor time is counted in steps of 10 ms, 5 % of this."""

SLOWING = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""Bits of the clocks' event reasons that mean a clock below what it could be; idling and settings are none."""


class Unknown(Exception):
    """There is no figure, and why."""


class TooShort(Unknown):
    """The windows are too short for one."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """A process that was timed, and what one source sampled beside it."""

    process: Process
    windows: tuple[w.Window, ...]
    telemetry: Telemetry

    def trace(self, metric: str) -> Trace:
        """The trace of a metric, which covers the windows.

        Raises
        ------
        Unknown : it does not.
        """
        found = self.telemetry.traces.get(metric)
        if found is None:
            raise Unknown(self.telemetry.unavailable.get(metric, "nothing was read"))
        spacing_ns = max(self.telemetry.period_ns, int(w.typical_spacing_ns(found)))
        if not w.reaches_over(found, self.windows, spacing_ns):
            whole = "the samples do not cover the measured window"
            raise Unknown(self.telemetry.unavailable.get(metric, whole))
        return found

    def inside(self, metric: str, averaged_over_ns: int = 0) -> list[Part]:
        """The points of a metric in each window; see `windows.inside`."""
        trace = self.trace(metric)
        return [(each, w.inside(trace, each, averaged_over_ns)) for each in self.windows]

    def near(self, metric: str) -> list[Part]:
        """The same of what is read seldom and changes slowly: the nearest points beside a window too, unless those may
        be of others' turns."""
        if self.process.block_steps:
            return self.inside(metric)
        trace = self.trace(metric)
        return [(each, w.in_or_around(trace, each)) for each in self.windows]

    @property
    def longest_ns(self) -> float:
        """How far apart two readings may lie to be of one turn."""
        return w.SLACK_PERIODS * self.telemetry.period_ns if self.process.block_steps else np.inf


Part = tuple[w.Window, Trace]
Besides = Sequence[Beside]


def seconds(besides: Besides) -> float:
    """The length of all windows together."""
    return sum(window.seconds for beside in besides for window in beside.windows)


def typical(besides: Besides, metric: str) -> float:
    """The mean over time of what changes slowly; see `Beside.near`."""
    return _mean([part for beside in besides for part in beside.near(metric)], besides)


def mean(besides: Besides, metric: str, averaged_over_ns: int = 0) -> float:
    """The mean over time; see `windows.inside` for `averaged_over_ns`."""
    parts = [part for beside in besides for part in beside.inside(metric, averaged_over_ns)]
    return _mean(parts, besides)


def share(besides: Besides, metric: str) -> tuple[float, int]:
    """The mean of values that are themselves means since the point before, and how many of them lie in the
    windows."""
    valid: list[float] = []
    for beside in besides:
        if metric in beside.telemetry.unavailable:
            beside.trace(metric)
        valid += _valid(beside, metric)
    _enough(len(valid), besides)
    return float(np.mean(valid)), len(valid)


def valid_samples(besides: Besides, metric: str) -> int:
    """How many points `share` may use."""
    return sum(len(_valid(beside, metric)) for beside in besides)


def _valid(beside: Beside, metric: str) -> list[float]:
    trace = beside.telemetry.traces.get(metric, Trace((), ()))
    return [value for window in beside.windows for value in w.since_the_last(trace, window).values]


def largest(besides: Besides, metric: str) -> float:
    """The largest value in a window or just beside it; see `Beside.near`."""
    values = _values(besides, metric)
    if not values:
        raise TooShort(f"no sample in {seconds(besides):.2g} s")
    return max(values)


@dataclasses.dataclass(frozen=True)
class CountedPower:
    """Mean power (W) by the energy counter, and the time between its steps (s)."""

    watts: float
    resolution_s: float


def counted_power(besides: Besides, metric: str = "energy_j") -> CountedPower:
    """Power between the first and the last step of the energy counter in each window.

    A step is seen up to one sampling period late, so the time between two is known to that.
    """
    joules, between_ns, spacing_ns = 0.0, 0, 0.0
    steps_ns: list[int] = []
    for beside in besides:
        trace = beside.trace(metric)
        changes = w.changes(trace)
        own_ns: list[int] = []
        for window in beside.windows:
            # one that is seen after a rest was taken at any time in it
            steps = [
                i
                for i in changes
                if window.start_ns <= trace.t_ns[i] <= window.end_ns
                and window.start_ns - trace.t_ns[i - 1] <= beside.longest_ns
            ]
            if len(steps) > 1:
                first, last = steps[0], steps[-1]
                own_ns += np.diff([trace.t_ns[i] for i in steps]).tolist()
                risen = trace.values[last] - trace.values[first]
                if risen < 0:
                    raise Unknown("the counter went back")
                joules += risen
                between_ns += trace.t_ns[last] - trace.t_ns[first]
                spacing_ns += w.typical_spacing_ns(trace)
        _moves(trace, changes, beside.windows, float(np.median(own_ns)) if own_ns else 0.0)
        steps_ns += own_ns
    if not between_ns or between_ns < LEAST_SPANS * spacing_ns:
        steps_seen = plural(len(steps_ns), "whole step")
        raise TooShort(f"{steps_seen} of the counter in {seconds(besides):.2g} s")
    return CountedPower(joules / (between_ns * 1e-9), float(np.median(steps_ns)) * 1e-9)


def _moves(
    trace: Trace, changes: Sequence[int], windows: Sequence[w.Window], usual_ns: float
) -> None:
    """Makes sure that a counter is not stuck, by the time in windows alone; that it has moved between two of them
    counts."""
    start_ns, end_ns = windows[0].start_ns, windows[-1].end_ns
    moved = [trace.t_ns[i] for i in changes if start_ns <= trace.t_ns[i] <= end_ns]
    still_ns = max(np.diff([w.time_in(windows, t) for t in (start_ns, *moved, end_ns)]))
    if still_ns > max(STILL_S * 1e9, 10 * usual_ns):
        raise Unknown(f"the counter did not move for {still_ns * 1e-9:.1f} s")


def throttled(besides: Besides, metric: str = "clock_event_reasons") -> tuple[float, list[str]]:
    """The share of samples in which something held the clocks down, and what."""
    points = list(map(int, _values(besides, metric)))
    _enough(len(points), besides)
    return slowing(points)


def slowing(points: Sequence[int]) -> tuple[float, list[str]]:
    """The share of event reasons (one or more) in which something held the clocks down, and what."""
    names = [name for bit, name in SLOWING.items() if any(point & bit for point in points)]
    return sum(bool(point & sum(SLOWING)) for point in points) / len(points), names


def cores(besides: Besides, metric: str) -> float:
    """Processors' worth of a cumulative processor time."""
    whole_s = seconds(besides)
    if whole_s < LEAST_HOST_S:
        raise TooShort(f"{whole_s:.2g} s")
    total = 0.0
    for beside in besides:
        trace = beside.trace(metric)
        for window in beside.windows:
            risen = w.rise(trace, window, beside.longest_ns)
            if risen is None:
                raise Unknown("the samples do not cover the measured window")
            total += risen
    return total / whole_s


def other_cores(besides: Besides) -> float:
    """Processors used by everything but the worker."""
    busy, own = cores(besides, "busy_cpu_s"), cores(besides, "worker_cpu_s")
    # steps of 10 ms and two clocks: a tenth less is no contradiction
    if busy < 0.9 * own - 0.05:
        raise Unknown("the system's counters show less than the worker used")
    return max(0.0, busy - own)


def asked(ask: Callable[[], float], unknown: dict[str, Unknown], name: str) -> float | None:
    """A figure, or None with its reason in `unknown`."""
    try:
        return ask()
    except Unknown as reason:
        unknown[name] = reason
        return None


def besides(processes: Sequence[Process], lines: Sequence[Telemetry]) -> Iterator[Beside]:
    """The processes that were timed, each with the line that was sampled beside it, where there is one."""
    by_process = {(line.round, line.attempt): line for line in lines}
    for process in processes:
        windows, line = w.windows_of(process), by_process.get((process.round, process.attempt))
        if windows and line is not None:
            yield Beside(process, windows, line)


def _enough(points: int, besides: Besides) -> None:
    if points < w.LEAST_POINTS:
        raise TooShort(f"{plural(points, 'sample')} in {seconds(besides):.2g} s")


def _values(besides: Besides, metric: str) -> list[float]:
    """All values of `Beside.near`."""
    return [
        value for beside in besides for _, points in beside.near(metric) for value in points.values
    ]


def _mean(parts: Sequence[Part], besides: Besides) -> float:
    """The mean over time, each window that has points counting by its length."""
    _enough(sum(len(points.t_ns) for _, points in parts), besides)
    told = [(window.seconds, over_time(points)) for window, points in parts if points.t_ns]
    return float(np.average([value for _, value in told], weights=[long for long, _ in told]))


def over_time(trace: Trace) -> float:
    """The mean of the straight lines between the points."""
    if len(trace.t_ns) == 1:
        return trace.values[0]
    long_ns = np.diff(np.array(trace.t_ns))
    values = np.array(trace.values)
    return float(np.sum(long_ns * (values[1:] + values[:-1]) / 2) / np.sum(long_ns))
