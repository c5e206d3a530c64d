"""The telemetry of a record as columns of the table: one value a case, and why it is missing where it is.

Computed from the record's lines and nothing else, over the measured windows of the case's processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.analyse.columns import TELEMETRY, Column, Row
from dlbench.analyse.turns import takes_turns
from dlbench.host.interference import over
from dlbench.record.schema import HOST, Case, Process, Telemetry
from dlbench.telemetry import quantities as q
from dlbench.telemetry.processes import NEIGHBOURS
from dlbench.text import digits, one_line, percent, size

TOO_SHORT = "window too short"
DIFFERS = 0.1
"""Energies by the counter and by power over time that are further apart are both shown."""


def _busy(row: Row) -> str:
    """Share of time with a kernel running, and from how many valid samples."""
    value, samples = row["utilization"], row["utilization_samples"]
    if value is None:
        return "" if samples is None else f"{TOO_SHORT} ({samples})"
    return f"{percent(value)} ({samples})"


def _joules(row: Row) -> str:
    """By the counter; by power over time beside it where that is all there is or where they differ."""
    counted, by_power = row["joules_per_1000"], row["joules_per_1000_by_power"]
    if counted is None:
        short = TOO_SHORT if _is_short(row, "energy counter") else ""
        return short if by_power is None else f"{digits(by_power)} J by power"
    if by_power is None or abs(counted - by_power) <= DIFFERS * max(counted, by_power):
        return f"{digits(counted)} J"
    return f"{digits(counted)} J by counter, {digits(by_power)} J by power"


def _throttle(row: Row) -> str:
    """``no``, or in which share of the samples and by what."""
    share = row["throttled"]
    if share is None:
        return TOO_SHORT if _is_short(row, "throttling") else ""
    return f"{percent(share)}: {row['throttle_reasons']}" if share else "no"


def _is_short(row: Row, name: str) -> bool:
    return name in (row["too_short"] or "").split(", ")


def _column(
    name: str,
    title: str,
    priority: int,
    form: Callable[[Any], str] = str,
    called: str = "",
    dtype: str = "float64",
    show: Callable[[Row], str] | None = None,
) -> Column:
    """A column of one figure, unless `show` says more; `called` is its name in `too_short`."""

    def figure(row: Row) -> str:
        if row[name] is None:
            return TOO_SHORT if called and _is_short(row, called) else ""
        return form(row[name])

    return Column(name, dtype, None, (TELEMETRY,), title, show=show or figure, priority=priority)


def _watts(value: float) -> str:
    return f"{digits(value)} W"


def _megahertz(value: float) -> str:
    return f"{value:,.0f} MHz"


def _cores(value: float) -> str:
    return f"{value:.2f}"


COLUMNS: tuple[Column, ...] = (
    _column("device_name", "GPU", 12, one_line, dtype="object"),
    Column("device_uuid"),
    # the share of time with a kernel running, from so many valid samples of a source (``gpm`` or ``driver``)
    _column("utilization", "GPU busy", 60, show=_busy),
    Column("utilization_samples"),
    Column("utilization_source"),
    _column("sm_activity", "SMs busy", 19, percent),
    _column("sm_occupancy", "warp occupancy", 3, percent),
    _column("tensor_activity", "tensor cores busy", 4, percent),
    _column("dram_activity", "DRAM busy", 11, percent),
    _column("fp32_activity", "FP32 busy", 2, percent),
    # the peak of the whole device, unless neighbours of the run had memory of it
    _column("device_memory_bytes", "GPU memory in use", 14, size, "device memory"),
    _column("power_instant_w", "power", 18, _watts, "power"),
    _column("power_average_w", "power, 1 s average", 6, _watts, "average power"),
    _column("power_usage_w", "power usage", 7, _watts, "power usage"),
    # energy per thousand samples by the counter, whose steps are energy_resolution_s apart
    _column("joules_per_1000", "J per 1,000 samples", 60, show=_joules),
    Column("joules_per_1000_by_power", "float64"),
    Column("energy_resolution_s", "float64"),
    # the share of the windows that steps take up, the rest being pauses
    _column("timed_share", "time in steps", 5, percent),
    _column("sm_clock_mhz", "SM clock", 17, _megahertz, "SM clock"),
    _column("memory_clock_mhz", "memory clock", 1, _megahertz, "memory clock"),
    _column("temperature_c", "max. temperature", 9, lambda value: f"{value:.0f} °C", "temperature"),
    # the share of samples in which something held the clocks down
    _column("throttled", "throttled", 20, show=_throttle),
    Column("throttle_reasons"),
    _column(
        "other_gpu_processes", "other GPU processes", 8, str, "other processes", dtype="object"
    ),
    _column("worker_cores", "CPU cores used", 16, _cores, "CPU use"),
    _column("other_cores", "by other processes", 15, _cores, "CPU use of others"),
    _column("peak_resident_bytes", "peak host memory", 13, size),
    Column("too_short"),
    Column("telemetry_unknown"),
)
"""`too_short` names what the windows are too short for, `telemetry_unknown` has the reasons of all else that is
missing."""

_GPM = {
    "sm_activity": "gpm_sm",
    "sm_occupancy": "gpm_occupancy",
    "tensor_activity": "gpm_tensor",
    "dram_activity": "gpm_dram",
    "fp32_activity": "gpm_fp32",
}


def cells(
    case: Case,
    timed: Sequence[Process],
    sampled: Sequence[Telemetry],
    planned: Sequence[Case],
) -> dict[str, Any]:
    """The values of a case from the processes that its figures are of, what was sampled beside them, and all cases of
    the run: `COLUMNS` or fewer."""
    unknown: dict[str, q.Unknown] = {}
    found: dict[str, Any] = _host(timed, sampled, unknown)
    besides = list(q.besides(timed, [line for line in sampled if line.source != HOST]))
    if besides:
        found |= _device(case, besides, planned, unknown)
    peaks = [p.peak_memory_bytes for p in timed if p.peak_memory_bytes is not None]
    peaks += [found["peak_resident_bytes"]] if found.get("peak_resident_bytes") else []
    found["peak_resident_bytes"] = max(peaks, default=None)
    too_short = [name for name, reason in unknown.items() if isinstance(reason, q.TooShort)]
    found["too_short"] = ", ".join(too_short) or None
    found["telemetry_unknown"] = _reasons(unknown) or None
    return found


def _host(
    timed: Sequence[Process], sampled: Sequence[Telemetry], unknown: dict[str, q.Unknown]
) -> dict[str, Any]:
    whole = over([process.during for process in timed if process.during is not None])
    if whole is not None and whole.own_cores is not None:
        if whole.window_s < q.LEAST_HOST_S:
            unknown["CPU use"] = unknown["CPU use of others"] = q.TooShort(
                f"{whole.window_s:.2g} s"
            )
            return {}
        return {"worker_cores": whole.own_cores, "other_cores": whole.other_cores}
    # earlier versions sampled the host too
    besides = list(q.besides(timed, [line for line in sampled if line.source == HOST]))
    if not besides:
        return {}
    return {
        "worker_cores": q.asked(lambda: q.cores(besides, "worker_cpu_s"), unknown, "CPU use"),
        "other_cores": q.asked(lambda: q.other_cores(besides), unknown, "CPU use of others"),
        "peak_resident_bytes": q.asked(lambda: q.largest(besides, "resident_bytes"), {}, ""),
    }


def _device(
    case: Case, besides: q.Besides, planned: Sequence[Case], unknown: dict[str, q.Unknown]
) -> dict[str, Any]:
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
        | _memory(case, besides, planned, unknown)
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


def _memory(
    case: Case, besides: q.Besides, planned: Sequence[Case], unknown: dict[str, q.Unknown]
) -> dict[str, Any]:
    """What is in use on the whole device is no figure of a process beside others of the run. The older way counts the
    driver's reserve as used, which is said rather than hidden."""
    if _had_neighbours(case, besides, planned):
        unknown["device memory"] = q.Unknown("other processes of the run were on the device too")
        return {}
    metric = "memory_used_bytes"
    older = "memory_used_and_reserved_bytes"
    if any(older in beside.telemetry.traces for beside in besides):
        metric = older
        unknown["device memory without the driver's reserve"] = q.Unknown(
            besides[0].telemetry.unavailable.get("memory_used_bytes", "not told apart")
        )
    value = q.asked(lambda: q.largest(besides, metric), unknown, "device memory")
    return {"device_memory_bytes": value}


def _had_neighbours(case: Case, besides: q.Besides, planned: Sequence[Case]) -> bool:
    """Whether others of the run were on the device; where the driver did not tell, whether any may have been."""
    in_turns = [beside for beside in besides if takes_turns(beside.process)]
    try:
        return bool(in_turns) and q.largest(in_turns, NEIGHBOURS) > 0
    except q.Unknown:
        return any(
            other.batch == case.batch
            and not other.on_host
            and other.configuration != case.configuration
            for other in planned
        )


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
    steps_ns = [
        ns for each in besides for ns in (*each.process.timings_ns, *each.process.reentry_ns)
    ]
    per_1000 = q.seconds(besides) / (len(steps_ns) * case.batch) * 1000
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
        energy["timed_share"] = sum(steps_ns) * 1e-9 / q.seconds(besides)
    return energy


def _reasons(unknown: Mapping[str, q.Unknown]) -> str:
    """What is missing and why, things with one reason together; what is only too short stands elsewhere."""
    together: dict[str, list[str]] = {}
    for name, reason in unknown.items():
        if not isinstance(reason, q.TooShort):
            together.setdefault(str(reason), []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in together.items())
