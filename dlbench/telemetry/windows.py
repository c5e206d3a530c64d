"""The measured windows of a process, and what a trace says about them: which points count, means, differences, changes.

A process that takes turns with others has a window for each of its blocks, and what lies between them is others' time:
no value from there counts. Pure functions of the record. A trace that does not reach over the windows gives no figure
but the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dlbench.record.schema import Process, Trace

LEAST_POINTS = 3
"""Fewer points than this in all windows are too few for a mean."""
SLACK_PERIODS = 2


@dataclasses.dataclass(frozen=True)
class Window:
    """From before the first sampled step of a block until after its last, on the monotonic clock."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) * 1e-9


def windows_of(process: Process) -> tuple[Window, ...]:
    """The windows of a process in order, one for each of its blocks; none where nothing was timed.

    A process that took no turns has one window. Steps only are added up where the record does not say when the last one
    ended.
    """
    if process.started_ns is None or not process.timings_ns:
        return ()
    if process.block_steps:
        return tuple(map(Window, process.block_started_ns, process.block_ended_ns))
    end_ns = process.ended_ns or process.started_ns + sum(process.timings_ns)
    return (Window(process.started_ns, end_ns),)


def time_in(windows: Sequence[Window], t_ns: int) -> int:
    """How much of the windows (ns) lies before a time."""
    return sum(max(0, min(t_ns, each.end_ns) - each.start_ns) for each in windows)


def reaches_over(trace: Trace, windows: Sequence[Window], spacing_ns: int) -> bool:
    """Whether sampling went on from the first window to the last: the first and the last point lie within two
    `spacing_ns` of their ends."""
    slack_ns = SLACK_PERIODS * spacing_ns
    return bool(trace.t_ns) and (
        trace.t_ns[0] <= windows[0].start_ns + slack_ns
        and trace.t_ns[-1] >= windows[-1].end_ns - slack_ns
    )


def inside(trace: Trace, window: Window, averaged_over_ns: int = 0) -> Trace:
    """The points in the window, and of those that are means over the `averaged_over_ns` before them only the ones
    whose time lies in it wholly."""
    kept = [
        (t, value)
        for t, value in zip(trace.t_ns, trace.values, strict=True)
        if window.start_ns + averaged_over_ns <= t <= window.end_ns
    ]
    return _trace(kept)


def since_the_last(trace: Trace, window: Window) -> Trace:
    """The points of a trace whose values are means since the point before, as far as that time is in the window."""
    points = list(zip(trace.t_ns, trace.values, strict=True))
    return _trace(
        [
            points[i]
            for i in range(1, len(points))
            if points[i - 1][0] >= window.start_ns and points[i][0] <= window.end_ns
        ]
    )


def in_or_around(trace: Trace, window: Window) -> Trace:
    """The points in the window and the nearest one on either side: for what is read seldom and changes slowly."""
    times = np.array(trace.t_ns, np.int64)
    first = max(int(np.searchsorted(times, window.start_ns, "right")) - 1, 0)
    last = min(int(np.searchsorted(times, window.end_ns, "left")) + 1, len(times))
    return Trace(trace.t_ns[first:last], trace.values[first:last])


def rise(trace: Trace, window: Window, longest_ns: float = np.inf) -> float | None:
    """How much a steadily rising counter rose in the window, between points by proportion; None where the points do
    not enclose it, or those that do lie more than `longest_ns` away."""
    times = np.array(trace.t_ns, np.int64)
    first = int(np.searchsorted(times, window.start_ns, "right")) - 1
    last = int(np.searchsorted(times, window.end_ns, "left"))
    if first < 0 or last == len(times):
        return None
    if max(window.start_ns - times[first], times[last] - window.end_ns) > longest_ns:
        return None
    ends_ns = np.array([window.start_ns, window.end_ns]) - times[0]
    before, after = np.interp(ends_ns, times - times[0], trace.values)
    return float(after - before)


def changes(trace: Trace) -> list[int]:
    """Places of the points at which the value is another than at the point before."""
    return [i for i in range(1, len(trace.values)) if trace.values[i] != trace.values[i - 1]]


def typical_spacing_ns(trace: Trace) -> float:
    """The median time between points; 0 for fewer than two."""
    return float(np.median(np.diff(np.array(trace.t_ns)))) if len(trace.t_ns) > 1 else 0.0


def _trace(points: Sequence[tuple[int, float]]) -> Trace:
    return Trace(tuple(t for t, _ in points), tuple(value for _, value in points))
