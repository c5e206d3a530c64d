"""What on a GPU disturbed a process while it was timed: others on the device, and clocks that were held down."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.record import Process, Telemetry
from dlbench.telemetry import quantities as q
from dlbench.wording import plural

THROTTLED_SHARE = 0.05
"""Of the samples, in how many something may hold the clocks down: one reading at a change of clocks is none."""


def device_causes(process: Process, sampled: Sequence[Telemetry]) -> tuple[str, ...]:
    """The causes in words, from what was sampled beside the process; what is unknown accuses nobody."""
    besides = list(q.besides([process], [line for line in sampled if line.source == "nvml"]))
    if not besides:
        return ()
    found = []
    others = q.asked(lambda: q.largest(besides, "other_processes"), {}, "")
    if others:
        found.append(f"{plural(int(others), 'other process')} on the device")
    try:
        share, names = q.throttled(besides)
    except q.Unknown:
        share, names = 0.0, []
    if share > THROTTLED_SHARE:
        found.append(f"{', '.join(names)} held the clocks down {100 * share:.0f} % of the time")
    return tuple(found)
