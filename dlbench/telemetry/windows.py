"""The measured window of a process, and what a trace says about it: which points count, means, differences, changes.

Pure functions of the record. A trace that does not reach over the window gives no figure but the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dlbench.record.schema import Process, Trace

LEAST_POINTS = 3
"""Fewer points than this in a window are too few for a mean."""
_SLACK_PERIODS = 2


@dataclasses.dataclass(frozen=True)
class Window:
    """From before the first sampled step of a process until after its last, on the monotonic clock."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) * 1e-9


def window_of(process: Process) -> Window | None:
    """The window of a process; None where nothing was timed.

    Steps only are added up where the record does not say when the last one ended.
    """
    if process.started_ns is None or not process.timings_ns:
        return None
    end_ns = process.ended_ns or process.started_ns + sum(process.timings_ns)
    return Window(process.started_ns, end_ns)


def reaches_over(trace: Trace, window: Window, spacing_ns: int) -> bool:
    """Whether the points cover the window, the first and the last within two `spacing_ns` of its ends."""
    slack_ns = _SLACK_PERIODS * spacing_ns
    return bool(trace.t_ns) and (
        trace.t_ns[0] <= window.start_ns + slack_ns and trace.t_ns[-1] >= window.end_ns - slack_ns
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


def rise(trace: Trace, window: Window) -> float | None:
    """How much a steadily rising counter rose in the window, between points by proportion; None where the points
    do not enclose it."""
    if len(trace.t_ns) < 2 or trace.t_ns[0] > window.start_ns or trace.t_ns[-1] < window.end_ns:
        return None
    ends_ns = np.array([window.start_ns, window.end_ns]) - trace.t_ns[0]
    before, after = np.interp(ends_ns, np.array(trace.t_ns) - trace.t_ns[0], trace.values)
    return float(after - before)


def changes(trace: Trace) -> list[int]:
    """Places of the points at which the value is another than at the point before."""
    return [i for i in range(1, len(trace.values)) if trace.values[i] != trace.values[i - 1]]


def typical_spacing_ns(trace: Trace) -> float:
    """The median time between points; 0 for fewer than two."""
    return float(np.median(np.diff(np.array(trace.t_ns)))) if len(trace.t_ns) > 1 else 0.0


def _trace(points: Sequence[tuple[int, float]]) -> Trace:
    return Trace(tuple(t for t, _ in points), tuple(value for _, value in points))
