"""The share of time in which a kernel ran, from the buffer that the driver fills by itself.

Finer than nvmlDeviceGetUtilizationRates and cheaper: the driver stamps each sample with its time, so the buffer
need only be read before it runs over.
"""

from __future__ import annotations

import time

from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, clock_ns
from dlbench.telemetry.nvml import Nvml

METRIC = "utilization"
_EVERY_NS = 1_000_000_000
_OLDEST_NS = 60_000_000_000
_NEWEST_NS = 1_000_000_000


def probe(nvml: Nvml, device: Device) -> Probe:
    """Reads what is new in the buffer. A sample is the share of time since the one before it."""
    last_us = 0

    def read(log: Log) -> None:
        nonlocal last_us
        function, kind = "nvmlDeviceGetSamples", nvml.lib.NVML_GPU_UTILIZATION_SAMPLES
        try:
            _, samples = nvml.ask(function, device.handle, kind, last_us)
        except Refused as refused:
            if refused.code in nvml.empty_codes:
                return
            raise
        # the driver stamps with the time of day (µs)
        offset_ns, now_ns = time.time_ns() - clock_ns(), clock_ns()
        new = sorted((s.timeStamp, s.sampleValue.uiVal) for s in samples if s.timeStamp > last_us)
        if not new:
            return
        newest_ns = 1000 * new[-1][0] - offset_ns
        if not now_ns - _OLDEST_NS < newest_ns < now_ns + _NEWEST_NS:
            raise Refused(f"the times of the samples are of another clock ({function})")
        # at first the buffer is full of what was before; its last sample is where the next begins
        for stamp_us, percent in new if last_us else new[-1:]:
            log.add(METRIC, 1000 * stamp_us - offset_ns, percent / 100)
        last_us = new[-1][0]

    return Probe((METRIC,), read, _EVERY_NS)
