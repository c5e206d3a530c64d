"""The words and figures of telemetry, for all formats: what device and host did while the timings were taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlbench.text import one_line

from . import words

DIFFERS = 0.1
"""Energies by the counter and by power over time that are further apart are both shown."""
TOO_SHORT = "too short to say"
HEADING = "telemetry over the measured windows"
LEFT_OUT_FIRST = (
    "memory clock",
    "fp32",
    "warps",
    "tensor",
    "in steps",
    "power, 1 s average",
    "power usage",
    "others on it",
    "hottest",
    "DRAM",
    "GPU",
    "peak memory",
    "GPU memory",
    "others' cores",
    "cores",
    "throttled",
    "SM clock",
    "power",
    "SMs busy",
)
"""What a narrow terminal does without, the least important first."""
_MIB, _GIB = 2**20, 2**30


def cells(rows: Sequence[words.Row]) -> dict[str, list[str]]:
    """A cell of each row by column title; columns without a single entry are left out."""
    columns = {title: [cell(row) for row in rows] for title, cell in _COLUMNS.items()}
    return {title: column for title, column in columns.items() if any(column)}


def notes(rows: Sequence[words.Row]) -> list[str]:
    """Why what is missing is missing, a sentence for each reason that rows share."""
    who: dict[str, list[str]] = {}
    for row in rows:
        if row["telemetry_unknown"]:
            who.setdefault(one_line(row["telemetry_unknown"]), []).append(words.label(row))
    return [f"not known of {', '.join(labels)}: {why}" for why, labels in who.items()]


def device(row: words.Row) -> str:
    """The device's own name."""
    return one_line(row["device_name"] or "")


def busy(row: words.Row) -> str:
    """Share of time with a kernel running, and from how many valid samples."""
    samples = row["utilization_samples"]
    if row["utilization"] is None:
        return "" if samples is None else f"{TOO_SHORT} ({samples})"
    return f"{words.percent(row['utilization'])} ({samples})"


def joules(row: words.Row) -> str:
    """Energy per thousand samples by the counter; what power over time says beside it where that is all there is or
    where they differ."""
    counted, by_power = row["joules_per_1000"], row["joules_per_1000_by_power"]
    if counted is None:
        short = TOO_SHORT if "energy counter" in (row["too_short"] or "").split(", ") else ""
        return short if by_power is None else f"{words.digits(by_power)} J by power"
    if by_power is None or abs(counted - by_power) <= DIFFERS * max(counted, by_power):
        return f"{words.digits(counted)} J"
    return f"{words.digits(counted)} J by counter, {words.digits(by_power)} J by power"


def throttled(row: words.Row) -> str:
    """``no``, or in which share of the samples and by what."""
    share = row["throttled"]
    if share is None:
        return ""
    return f"{words.percent(share)}: {row['throttle_reasons']}" if share else "no"


def _figure(column: str, shown: Callable[[float], str], name: str = "") -> Callable[..., str]:
    """The cell of a column that is one figure; `name` is what `too_short` calls it."""

    def cell(row: words.Row) -> str:
        value = row[column]
        if value is None:
            return TOO_SHORT if name and name in (row["too_short"] or "").split(", ") else ""
        return shown(value)

    return cell


def _bytes(value: float) -> str:
    return f"{words.digits(value / _GIB)} GiB" if value >= _GIB else f"{value / _MIB:.0f} MiB"


def _watts(value: float) -> str:
    return f"{words.digits(value)} W"


def _megahertz(value: float) -> str:
    return f"{value:,.0f} MHz"


def _cores(value: float) -> str:
    return f"{value:.2f}"


_COLUMNS: dict[str, Callable[..., str]] = {
    "GPU": device,
    "GPU busy": busy,
    "SMs busy": _figure("sm_activity", words.percent),
    "warps": _figure("sm_occupancy", words.percent),
    "tensor": _figure("tensor_activity", words.percent),
    "fp32": _figure("fp32_activity", words.percent),
    "DRAM": _figure("dram_activity", words.percent),
    "J per 1,000": joules,
    "in steps": _figure("timed_share", words.percent),
    "power": _figure("power_instant_w", _watts, "power"),
    "power, 1 s average": _figure("power_average_w", _watts, "average power"),
    "power usage": _figure("power_usage_w", _watts, "power usage"),
    "GPU memory": _figure("device_memory_bytes", _bytes),
    "SM clock": _figure("sm_clock_mhz", _megahertz, "SM clock"),
    "memory clock": _figure("memory_clock_mhz", _megahertz, "memory clock"),
    "hottest": _figure("temperature_c", lambda value: f"{value:.0f} °C"),
    "throttled": throttled,
    "others on it": _figure("other_gpu_processes", str),
    "cores": _figure("worker_cores", _cores, "CPU use"),
    "others' cores": _figure("other_cores", _cores, "CPU use of others"),
    "peak memory": _figure("peak_resident_bytes", _bytes),
}
