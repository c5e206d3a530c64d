"""What on a GPU disturbed a process while it was timed: others on the device, and clocks that were held down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dlbench.record.schema import HOST, Process, Telemetry, Trace
from dlbench.telemetry import processes
from dlbench.telemetry import quantities as q
from dlbench.text import plural

THROTTLED_SHARE = 0.05
"""Of the samples, in how many something may hold the clocks down: one reading at a change of clocks is none."""


def device_causes(process: Process, sampled: Sequence[Telemetry]) -> tuple[str, ...]:
    """The causes in words, from what was sampled beside the process; what is unknown accuses nobody."""
    besides = list(q.besides([process], [line for line in sampled if line.source != HOST]))
    if not besides:
        return ()
    others = q.asked(lambda: q.largest(besides, processes.METRIC), {}, "")
    try:
        held_down = q.throttled(besides)
    except q.Unknown:
        held_down = 0.0, []
    return tuple(_told(others, *held_down))


def causes_at_rest(traces: Mapping[str, Trace]) -> tuple[str, ...]:
    """The same from a look at a device on which nothing of this run is: who was on it at last, and what held its
    clocks down on the way."""
    nothing = Trace((), ())
    counted = traces.get(processes.METRIC, nothing).values
    reasons = [int(value) for value in traces.get("clock_event_reasons", nothing).values]
    held_down: tuple[float, list[str]] = q.slowing(reasons) if reasons else (0.0, [])
    return tuple(_told(counted[-1] if counted else None, *held_down))


def _told(others: float | None, share: float, names: Sequence[str]) -> Iterator[str]:
    if others:
        yield f"{plural(int(others), 'other process')} on the device"
    if share > THROTTLED_SHARE:
        yield f"{', '.join(names)} held the clocks down {100 * share:.0f} % of the time"
