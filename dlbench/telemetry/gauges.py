"""What the driver tells at once: memory, power, energy, clocks, temperature, and what holds the clocks down.

Each is asked for apart from the others, in the newest way first and then in older ones; what an older way
means otherwise has another name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, clock_ns, timed
from dlbench.telemetry.nvml import Nvml

FIELDS = {"power_average_w": 185, "power_instant_w": 186, "energy_j": 83}
"""NVML_FI_DEV_POWER_AVERAGE (over the last second), NVML_FI_DEV_POWER_INSTANT (mW both) and
NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION (mJ): what changes fast, in one call."""

_SLOW_NS = 250_000_000
"""The others change slowly, and each costs as much as the fields together."""

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


_REASONS = (
    _Way("clock_event_reasons", "nvmlDeviceGetCurrentClocksEventReasons"),
    _Way("clock_event_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
)


def probes(nvml: Nvml, device: Device) -> list[Probe]:
    """All of them, in the order in which a pass reads them."""
    lib = nvml.lib
    ways = [
        (
            _Way("memory_used_bytes", "nvmlDeviceGetMemoryInfo", (lib.nvmlMemory_v2,), _used),
            # the older structure counts what the driver keeps for itself as used
            _Way("memory_used_and_reserved_bytes", "nvmlDeviceGetMemoryInfo", (), _used),
        ),
        (_Way("sm_clock_mhz", "nvmlDeviceGetClockInfo", (lib.NVML_CLOCK_SM,)),),
        (_Way("memory_clock_mhz", "nvmlDeviceGetClockInfo", (lib.NVML_CLOCK_MEM,)),),
        (
            _Way("temperature_c", "nvmlDeviceGetTemperatureV", (lib.NVML_TEMPERATURE_GPU,)),
            _Way("temperature_c", "nvmlDeviceGetTemperature", (lib.NVML_TEMPERATURE_GPU,)),
        ),
        _REASONS,
    ]
    slow = [_gauge(nvml, device, *each, every_ns=_SLOW_NS) for each in ways]
    return [*energy_probes(nvml, device), *slow]


def energy_probes(nvml: Nvml, device: Device) -> list[Probe]:
    """Energy and power alone."""
    fields = dict(FIELDS)
    return [_fields(nvml, device, fields), *_without_fields(nvml, device, fields)]


def reasons_probe(nvml: Nvml, device: Device) -> Probe:
    """What holds the clocks down, by itself."""
    return _gauge(nvml, device, *_REASONS)


def _gauge(nvml: Nvml, device: Device, *ways: _Way, every_ns: int = 0) -> Probe:
    left = list(ways)

    def read(log: Log) -> None:
        while True:
            way = left[0]
            try:
                t_ns, value = timed(lambda: nvml.ask(way.function, device.handle, *way.arguments))  # noqa: B023
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

    probe = Probe((ways[0].metric,), read, every_ns)
    return probe


def _fields(nvml: Nvml, device: Device, fields: dict[str, int]) -> Probe:
    """The fields in one call; those that the driver refuses are taken out of `fields`."""
    function = "nvmlDeviceGetFieldValues"
    found: Any = ()

    def ask() -> None:
        """Asks into the same array each time: making one is most of what the call costs."""
        nonlocal found
        if len(found) != len(fields):
            found = nvml.ask(function, device.handle, list(fields.values()))
        elif code := nvml.lib.nvmlLib.nvmlDeviceGetFieldValues(device.handle, len(found), found):
            raise nvml.refusal(code, function)

    def read(log: Log) -> None:
        if not fields:
            return
        try:
            begin_ns = clock_ns()
            ask()
            t_ns = (begin_ns + clock_ns()) // 2
        except Refused as refused:
            if refused.code not in nvml.missing_codes:
                raise
            for metric in list(fields):
                lose(log, metric, refused)
            return
        for metric, field in zip(list(fields), found, strict=True):
            if not field.nvmlReturn:
                watts_or_joules = getattr(field.value, _FIELD_VALUES[field.valueType]) / 1000
                log.add(metric, t_ns, watts_or_joules)
                continue
            refusal = nvml.refusal(field.nvmlReturn, f"{function} {fields[metric]}")
            if refusal.for_good:
                lose(log, metric, refusal)

    def lose(log: Log, metric: str, refusal: Refused) -> None:
        del fields[metric]
        if metric != "energy_j":
            log.lose(metric, refusal.reason)

    return Probe(tuple(fields), read)


def _without_fields(nvml: Nvml, device: Device, fields: dict[str, int]) -> Iterator[Probe]:
    """Energy, and the power whose kind depends on the device, asked for by themselves where there is no such field."""
    energy = _Way("energy_j", "nvmlDeviceGetTotalEnergyConsumption", (), _thousandth)
    power = _Way("power_usage_w", "nvmlDeviceGetPowerUsage", (), _thousandth)
    yield _unless(("energy_j",), fields, _gauge(nvml, device, energy))
    yield _unless(("power_average_w", "power_instant_w"), fields, _gauge(nvml, device, power))


def _unless(there: Sequence[str], fields: Mapping[str, int], probe: Probe) -> Probe:
    """The probe, read only where none of these fields is."""

    def read(log: Log) -> None:
        if not any(metric in fields for metric in there):
            probe.read(log)

    return Probe(probe.metrics, read)
