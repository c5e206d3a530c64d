"""What the device's own counters tell, on Hopper and later: how much of it worked, not only whether something did.

A value is the mean over the time between two samples of the counters, which must not be less than 0.1 s. It is not
much more either, so that it fits into the turn of a process.
"""

from __future__ import annotations

from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, clock_ns, timed
from dlbench.telemetry.nvml import Nvml

METRICS = {
    "gpm_graphics": 1,
    "gpm_sm": 2,
    "gpm_occupancy": 3,
    "gpm_tensor": 5,
    "gpm_dram": 10,
    "gpm_fp32": 12,
}
"""NVML_GPM_METRIC_… as shares: time with any kernel, SMs busy, warps active of the most there can be, SMs in
tensor operations, DRAM bandwidth, SMs in float32 operations."""

_LEAST_NS = 100_000_000


def probe(nvml: Nvml, device: Device) -> Probe:
    """Reads the counters and gives the means since the last time."""
    samples: list[object] = []
    wanted = dict(METRICS)
    # when the first of the samples was filled
    taken_ns: int | None = None

    def read(log: Log) -> None:
        nonlocal taken_ns
        if not samples:
            support = nvml.ask("nvmlGpmQueryDeviceSupport", device.parent)
            if not support.isSupportedDevice:
                raise Refused("this device has no such counters; Hopper and later have")
            allocate()
        if taken_ns is None:
            taken_ns, _ = timed(lambda: take(samples[0]))
            return
        if clock_ns() - taken_ns < _LEAST_NS:
            return
        now_ns, _ = timed(lambda: take(samples[1]))
        means = nvml.lib.c_nvmlGpmMetricsGet_t()
        means.version = nvml.lib.NVML_GPM_METRICS_GET_VERSION
        means.numMetrics = len(wanted)
        means.sample1, means.sample2 = samples
        for place, number in enumerate(wanted.values()):
            means.metrics[place].metricId = number
        nvml.ask("nvmlGpmMetricsGet", means)
        samples.reverse()
        taken_ns = now_ns
        for place, metric in enumerate(list(wanted)):
            code = means.metrics[place].nvmlReturn
            if code == nvml.lib.NVML_SUCCESS:
                log.add(metric, now_ns, means.metrics[place].value / 100)
            elif (refusal := nvml.refusal(code, "nvmlGpmMetricsGet")).for_good:
                log.lose(metric, refusal.reason)
                del wanted[metric]

    def allocate() -> None:
        """Both samples, or none."""
        try:
            for _ in range(2):
                samples.append(nvml.ask("nvmlGpmSampleAlloc"))
        except Refused:
            close()
            raise

    def take(sample: object) -> None:
        if device.gpu_instance is None:
            nvml.ask("nvmlGpmSampleGet", device.handle, sample)
        else:
            nvml.ask("nvmlGpmMigSampleGet", device.parent, device.gpu_instance, sample)

    def close() -> None:
        while samples:
            try:
                nvml.ask("nvmlGpmSampleFree", samples.pop())
            except Refused:
                continue

    return Probe(tuple(METRICS), read, _LEAST_NS, close)
