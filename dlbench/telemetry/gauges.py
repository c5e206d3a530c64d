"""What the driver tells at once: memory, power, energy, clocks, temperature, and what holds the clocks down.

Each is asked for apart from the others, in the newest way first and then in older ones; what an older way
means otherwise has another name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, timed
from dlbench.telemetry.nvml import Nvml

POWER_FIELDS = {"power_average_w": 185, "power_instant_w": 186}
"""NVML_FI_DEV_POWER_AVERAGE (over the last second) and NVML_FI_DEV_POWER_INSTANT."""

_FIELD_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


def _same(value: Any) -> float:
    return float(value)


def _thousandth(value: Any) -> float:
    return float(value) / 1000


def _used(memory: Any) -> float:
    return float(memory.used)


@dataclasses.dataclass(frozen=True)
class _Way:
    """One way to ask for a metric."""

    metric: str
    function: str
    arguments: tuple[Any, ...] = ()
    value: Callable[[Any], float] = _same


def probes(nvml: Nvml, device: Device) -> list[Probe]:
    """All of them, in the order in which a pass reads them."""
    lib = nvml.lib
    ways = [
        (
            _Way("memory_used_bytes", "nvmlDeviceGetMemoryInfo", (lib.nvmlMemory_v2,), _used),
            # the older structure counts what the driver keeps for itself as used
            _Way("memory_used_and_reserved_bytes", "nvmlDeviceGetMemoryInfo", (), _used),
        ),
        (_Way("energy_j", "nvmlDeviceGetTotalEnergyConsumption", (), _thousandth),),
        (_Way("sm_clock_mhz", "nvmlDeviceGetClockInfo", (lib.NVML_CLOCK_SM,)),),
        (_Way("memory_clock_mhz", "nvmlDeviceGetClockInfo", (lib.NVML_CLOCK_MEM,)),),
        (
            _Way("temperature_c", "nvmlDeviceGetTemperatureV", (lib.NVML_TEMPERATURE_GPU,)),
            _Way("temperature_c", "nvmlDeviceGetTemperature", (lib.NVML_TEMPERATURE_GPU,)),
        ),
        (
            _Way("clock_event_reasons", "nvmlDeviceGetCurrentClocksEventReasons"),
            _Way("clock_event_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
        ),
    ]
    return [_power(nvml, device), *(_gauge(nvml, device, *each) for each in ways)]


def _gauge(nvml: Nvml, device: Device, *ways: _Way) -> Probe:
    left = list(ways)

    def read(log: Log) -> None:
        while True:
            way = left[0]
            try:
                t_ns, value = timed(
                    lambda: nvml.ask(way.function, device.handle, *way.arguments)  # noqa: B023
                )
            except Refused as refused:
                if len(left) == 1 or refused.code not in nvml.missing_codes:
                    raise
                # what this driver has not got now it will not have later
                if way.metric != left[1].metric:
                    log.lose(way.metric, refused.reason)
                del left[0]
                probe.metrics = (left[0].metric,)
                continue
            log.add(way.metric, t_ns, way.value(value))
            return

    probe = Probe((ways[0].metric,), read)
    return probe


def _power(nvml: Nvml, device: Device) -> Probe:
    """Both powers in one call; where the driver has neither, the one without a name of its own."""
    fields = dict(POWER_FIELDS)

    def read(log: Log) -> None:
        if fields:
            read_fields(log)
        probe.metrics = tuple(fields) or ("power_usage_w",)
        if not fields:
            function = "nvmlDeviceGetPowerUsage"
            t_ns, value = timed(lambda: nvml.ask(function, device.handle))
            log.add("power_usage_w", t_ns, _thousandth(value))

    def read_fields(log: Log) -> None:
        function = "nvmlDeviceGetFieldValues"
        try:
            t_ns, found = timed(lambda: nvml.ask(function, device.handle, list(fields.values())))
        except Refused as refused:
            if refused.code not in nvml.missing_codes:
                raise
            for metric in fields:
                log.lose(metric, refused.reason)
            fields.clear()
            return
        for metric, field in zip(list(fields), found, strict=True):
            if field.nvmlReturn == nvml.lib.NVML_SUCCESS:
                watts = _thousandth(getattr(field.value, _FIELD_VALUES[field.valueType]))
                log.add(metric, t_ns, watts)
                continue
            refusal = nvml.refusal(field.nvmlReturn, f"{function} {fields[metric]}")
            if refusal.for_good:
                log.lose(metric, refusal.reason)
                del fields[metric]

    probe = Probe(tuple(fields), read)
    return probe
