"""The telemetry of a record as columns of the table: one value a case, and why it is missing where it is.

Computed from the record's lines and nothing else; figures are SI, formatting belongs to the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.record.schema import Case, Process, Telemetry
from dlbench.telemetry import quantities as q

COLUMNS: Mapping[str, str] = {
    "device_name": "object",
    "device_uuid": "object",
    "utilization": "float64",
    "utilization_samples": "object",
    "utilization_source": "object",
    "sm_activity": "float64",
    "sm_occupancy": "float64",
    "tensor_activity": "float64",
    "dram_activity": "float64",
    "fp32_activity": "float64",
    "device_memory_bytes": "float64",
    "power_instant_w": "float64",
    "power_average_w": "float64",
    "power_usage_w": "float64",
    "joules_per_1000": "float64",
    "joules_per_1000_by_power": "float64",
    "energy_resolution_s": "float64",
    "timed_share": "float64",
    "sm_clock_mhz": "float64",
    "memory_clock_mhz": "float64",
    "temperature_c": "float64",
    "throttled": "float64",
    "throttle_reasons": "object",
    "other_gpu_processes": "object",
    "worker_cores": "float64",
    "other_cores": "float64",
    "peak_resident_bytes": "float64",
    "too_short": "object",
    "telemetry_unknown": "object",
}
"""Columns and how pandas holds them; NaN and None are unknown, never 0.

All are over the measured windows of the case's processes. `utilization` is the share of time with a kernel running,
from `utilization_samples` valid samples of `utilization_source` (``gpm`` or ``driver``); the activities are GPM's
shares. `device_memory_bytes` is the peak of the whole device. `joules_per_1000` is energy per thousand samples of
the workload by the counter, whose steps are `energy_resolution_s` apart, and `joules_per_1000_by_power` by power
over time; `timed_share` is the share of the windows that the timed steps take up, the rest being pauses.
`temperature_c` is the highest. `throttled` is the share of samples in which something held the clocks
down. `worker_cores` and `other_cores` are CPUs in use. `too_short` names what the windows are too short for,
`telemetry_unknown` has the reasons of all else that is missing.
"""

_GPM = {
    "sm_activity": "gpm_sm",
    "sm_occupancy": "gpm_occupancy",
    "tensor_activity": "gpm_tensor",
    "dram_activity": "gpm_dram",
    "fp32_activity": "gpm_fp32",
}


def cells(case: Case, timed: Sequence[Process], sampled: Sequence[Telemetry]) -> dict[str, Any]:
    """The cells of a case from the processes that its figures are of, and what was sampled beside them: `COLUMNS` or
    fewer."""
    unknown: dict[str, q.Unknown] = {}
    found: dict[str, Any] = {}
    for source, read in (("host", _host), ("nvml", _device)):
        lines = [line for line in sampled if line.source == source]
        besides = list(q.besides(timed, lines))
        if besides:
            found |= read(case, besides, unknown)
    peaks = [p.peak_memory_bytes for p in timed if p.peak_memory_bytes is not None]
    peaks += [found["peak_resident_bytes"]] if found.get("peak_resident_bytes") else []
    found["peak_resident_bytes"] = max(peaks, default=None)
    too_short = [name for name, reason in unknown.items() if isinstance(reason, q.TooShort)]
    found["too_short"] = ", ".join(too_short) or None
    found["telemetry_unknown"] = _reasons(unknown) or None
    return found


def _host(case: Case, besides: q.Besides, unknown: dict[str, q.Unknown]) -> dict[str, Any]:
    return {
        "worker_cores": q.asked(lambda: q.cores(besides, "worker_cpu_s"), unknown, "CPU use"),
        "other_cores": q.asked(lambda: q.other_cores(besides), unknown, "CPU use of others"),
        "peak_resident_bytes": q.asked(lambda: q.largest(besides, "resident_bytes"), {}, ""),
    }


def _device(case: Case, besides: q.Besides, unknown: dict[str, q.Unknown]) -> dict[str, Any]:
    def ask(name: str, call: Callable[[], float]) -> float | None:
        return q.asked(call, unknown, name)

    lines = [beside.telemetry for beside in besides]
    one = len({line.device_uuid for line in lines}) == 1
    found: dict[str, Any] = {
        "device_name": lines[0].device_name or None if one else None,
        "device_uuid": lines[0].device_uuid or None if one else None,
        "power_instant_w": ask("power", lambda: q.mean(besides, "power_instant_w")),
        "power_average_w": ask(
            "average power", lambda: q.mean(besides, "power_average_w", q.SECOND_NS)
        ),
        "sm_clock_mhz": ask("SM clock", lambda: q.typical(besides, "sm_clock_mhz")),
        "memory_clock_mhz": ask("memory clock", lambda: q.typical(besides, "memory_clock_mhz")),
        "temperature_c": ask("temperature", lambda: q.largest(besides, "temperature_c")),
        "other_gpu_processes": ask(
            "other processes", lambda: int(q.largest(besides, "other_processes"))
        ),
    }
    if any("power_usage_w" in line.traces for line in lines):
        found["power_usage_w"] = ask(
            "power usage", lambda: q.mean(besides, "power_usage_w", q.SECOND_NS)
        )
    return (
        found
        | _utilization(besides, unknown)
        | _memory(besides, unknown)
        | _throttled(besides, unknown)
        | _energy(case, besides, found, unknown)
    )


def _utilization(besides: q.Besides, unknown: dict[str, q.Unknown]) -> dict[str, Any]:
    """From the device's own counters where it has them, and from the driver's samples otherwise."""
    gpm_less: dict[str, q.Unknown] = {}
    found: dict[str, Any] = {
        column: q.asked(lambda metric=metric: q.share(besides, metric)[0], gpm_less, column)  # type: ignore[misc]
        for column, metric in _GPM.items()
    }
    if gpm_less:
        unknown["SM activity"] = next(iter(gpm_less.values()))
    reasons: list[q.Unknown] = []
    for source, metric in (("gpm", "gpm_graphics"), ("driver", "utilization")):
        try:
            value, samples = q.share(besides, metric)
        except q.Unknown as reason:
            reasons.append(reason)
            if isinstance(reason, q.TooShort):
                samples = q.valid_samples(besides, metric)
                found["utilization_samples"] = max(samples, found.get("utilization_samples", 0))
            continue
        shown = {"utilization": value, "utilization_samples": samples}
        return found | shown | {"utilization_source": source}
    short = (reason for reason in reasons if isinstance(reason, q.TooShort))
    unknown["utilization"] = next(short, reasons[-1])
    return found


def _memory(besides: q.Besides, unknown: dict[str, q.Unknown]) -> dict[str, Any]:
    """The older way counts the driver's reserve as used, which is said rather than hidden."""
    metric = "memory_used_bytes"
    older = "memory_used_and_reserved_bytes"
    if any(older in beside.telemetry.traces for beside in besides):
        metric = older
        unknown["device memory without the driver's reserve"] = q.Unknown(
            besides[0].telemetry.unavailable.get("memory_used_bytes", "not told apart")
        )
    value = q.asked(lambda: q.largest(besides, metric), unknown, "device memory")
    return {"device_memory_bytes": value}


def _throttled(besides: q.Besides, unknown: dict[str, q.Unknown]) -> dict[str, Any]:
    try:
        share, names = q.throttled(besides)
    except q.Unknown as reason:
        unknown["throttling"] = reason
        return {}
    return {"throttled": share, "throttle_reasons": ", ".join(names) or None}


def _energy(
    case: Case, besides: q.Besides, found: Mapping[str, Any], unknown: dict[str, q.Unknown]
) -> dict[str, Any]:
    """Mean power times the windows' length, over the samples that the steps in them worked on."""
    steps = sum(len(beside.process.timings_ns) for beside in besides)
    per_1000 = q.seconds(besides) / (steps * case.batch) * 1000
    powers = (found.get(f"power_{kind}_w") for kind in ("instant", "average", "usage"))
    watts = next((power for power in powers if power is not None), None)
    energy: dict[str, Any] = {}
    if watts is not None:
        energy["joules_per_1000_by_power"] = watts * per_1000
    try:
        counted = q.counted_power(besides)
        energy["joules_per_1000"] = counted.watts * per_1000
        energy["energy_resolution_s"] = counted.resolution_s
    except q.Unknown as reason:
        unknown["energy counter"] = reason
    if energy:
        timed_ns = sum(sum(beside.process.timings_ns) for beside in besides)
        energy["timed_share"] = timed_ns * 1e-9 / q.seconds(besides)
    return energy


def _reasons(unknown: Mapping[str, q.Unknown]) -> str:
    """What is missing and why, things with one reason together; what is only too short stands elsewhere."""
    together: dict[str, list[str]] = {}
    for name, reason in unknown.items():
        if not isinstance(reason, q.TooShort):
            together.setdefault(str(reason), []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in together.items())
