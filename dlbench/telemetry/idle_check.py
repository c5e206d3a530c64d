"""A look at GPUs on which nothing of this run is, to see whether they are at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from dlbench.host.cause import Cause, told
from dlbench.telemetry import device, gauges, processes
from dlbench.telemetry.causes import causes_at_rest
from dlbench.telemetry.log import Probe, Refused
from dlbench.telemetry.nvml import Hung, Nvml, answered, opened
from dlbench.telemetry.sampler import Sampler

_PERIOD_NS = 50_000_000


def glance(
    nvml: Nvml, find: Callable[[], device.Device], seconds: float
) -> tuple[Cause, ...] | None:
    """What disturbs a device in the next seconds; what the driver does not tell is no cause.

    Returns
    -------
    None where the driver did not come back; it is not to be asked again then.
    """

    def connect() -> list[Probe]:
        found = find()
        return [
            gauges.reasons_probe(nvml, found),
            processes.probe_without_worker(nvml, found),
        ]

    # in a thread, which can be left to itself
    sampler = Sampler(connect, _PERIOD_NS)
    sampler.start()
    time.sleep(seconds)
    sampler.stop()
    return causes_at_rest(sampler.log.traces()) if sampler.join() else None


def disturbed_devices(seconds: float) -> Iterator[str]:
    """What disturbs each GPU here and each of its slices, a sentence each; nothing of those at rest."""
    try:
        with opened() as nvml:
            for each in answered(lambda: device.all_devices(nvml)):
                causes = glance(nvml, lambda: each, seconds)  # noqa: B023
                if causes is None:
                    raise Hung(f"{each.uuid}: the driver does not answer")
                if causes:
                    yield f"{each.uuid}: {told(causes)}"
    except Hung as hung:
        yield hung.reason
    except Refused:
        # why is told with the telemetry
        return
