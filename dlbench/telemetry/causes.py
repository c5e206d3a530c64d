"""What on a GPU disturbed a process while it was timed: others on the device, and clocks that were held down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dlbench.host.cause import Cause, Kind
from dlbench.record.schema import HOST, Process, Telemetry, Trace
from dlbench.telemetry import processes
from dlbench.telemetry import quantities as q

THROTTLED_SHARE = 0.05
"""Of the samples, in how many something may hold the clocks down: one reading at a change of clocks is none."""


def device_causes(process: Process, sampled: Sequence[Telemetry]) -> tuple[Cause, ...]:
    """The causes, from what was sampled beside the process; what is unknown is none."""
    besides = list(q.besides([process], [line for line in sampled if line.source != HOST]))
    if not besides:
        return ()
    others = q.asked(lambda: q.largest(besides, processes.METRIC), {}, "")
    try:
        held_down = q.throttled(besides)
    except q.Unknown:
        held_down = 0.0, []
    return tuple(_causes(others, *held_down))


def causes_at_rest(traces: Mapping[str, Trace]) -> tuple[Cause, ...]:
    """The same from a look at a device on which nothing of this run is: who was on it at last, and what held its
    clocks down on the way."""
    nothing = Trace((), ())
    counted = traces.get(processes.METRIC, nothing).values
    reasons = [int(value) for value in traces.get("clock_event_reasons", nothing).values]
    held_down: tuple[float, list[str]] = q.slowing(reasons) if reasons else (0.0, [])
    return tuple(_causes(counted[-1] if counted else None, *held_down))


def _causes(others: float | None, share: float, names: Sequence[str]) -> Iterator[Cause]:
    if others:
        yield Cause(Kind.DEVICE_SHARED, others)
    if share > THROTTLED_SHARE:
        yield Cause(Kind.CLOCKS_HELD_DOWN, share, what=", ".join(names))
