"""The words and figures that all formats share, so that a row reads the same wherever it is read.

Rounding happens here and only here: the table itself holds full precision in SI units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.analyse.self_check import SelfMeasurement
from dlbench.analyse.statistics import Estimate
from dlbench.analyse.table import Report, Run
from dlbench.record.case import case_of
from dlbench.record.comparability import package_list
from dlbench.text import one_line, plural, why

Row = Mapping[str, Any]

LEGEND = "✓ verified against the float64 oracle   ! disturbed machine   ✗ not verified   – skipped"
INTERVALS = "[ ] 95 % interval over fresh processes"
MARKS = {"ok": "✓", "skipped": "–"}
STATUS_WORDS = {
    "unverified": "not ranked",
    "failed": "failed",
    "timeout": "timed out",
    "out_of_memory": "out of memory",
    "skipped": "skipped",
}
WAITING = "waiting for quiet"
"""The part of a run's time that is told even where there was none."""
_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def known(value: Any) -> bool:
    """Whether a cell of the table holds something: not None and not NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def rows_of(source: Report | Run) -> list[dict[str, Any]]:
    """The table of a report or of one of its runs as plain dictionaries, with None for whatever is
    unknown."""
    frame = source.frame
    names = [str(name) for name in frame.columns]
    # a column at a time: a frame's own rows take many times as long
    columns = [[_plain(value) for value in frame[name].tolist()] for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def mark(row: Row) -> str:
    """✓, ✗, – or, for figures of a disturbed machine, !."""
    return "!" if row["disturbed"] else MARKS.get(row["status"], "✗")


def title(run: Run) -> str:
    """What was measured, on which data, in one line."""
    header = run.header
    return " · ".join(
        [
            header.suite,
            f"{header.parameter_count:,} parameters",
            f"{si(header.training_flops)}FLOP/sample training",
            f"data: {one_line(header.data.source) or header.data.name}",
        ]
    )


def machine(run: Run) -> str:
    """Where it was measured, in one line; what could not be read is said to be unknown."""
    found = run.header.machine
    memory = (
        "memory unknown" if found.memory_bytes is None else f"{found.memory_bytes / 2**30:.0f} GiB"
    )
    cores = plural(found.usable_cores, "core")
    threads = sorted({case.threads for case in run.header.cases})
    parts = [f"{found.cpu or 'CPU unknown'}, {cores}, {memory}", ", ".join(found.gpus) or "no GPU"]
    if threads:
        parts.append(f"{', '.join(map(str, threads))} thread{'s' if threads != [1] else ''}")
    if run.peak_flops_per_s:
        rates = (f"{si(rate)}FLOP/s" for rate in run.peak_flops_per_s.values())
        parts.append(f"sgemm {', '.join(rates)}")
    return " · ".join(parts)


def median(row: Row) -> str:
    """``19.8 ms [19.6, 20.1]``, the interval in the unit of the median; empty without one."""
    return "" if row["median_s"] is None else _with_bounds(row, "median_s", "ci_low_s", "ci_high_s")


def seconds(value: float | None) -> str:
    """A time with three digits and its unit; empty when unknown."""
    if value is None:
        return ""
    unit, factor = _unit(value)
    return f"{digits(value / factor)} {unit}"


def samples(row: Row) -> str:
    """Samples a second."""
    value = row["samples_per_s"]
    return "" if value is None else digits(value)


def against(baseline: str) -> str:
    """What the column of speed-ups calls the baseline: on the CPU its backend alone."""
    return baseline.removesuffix(":cpu")


def speedup(row: Row) -> str:
    """``1.81× [1.78, 1.84]``; empty when there is no baseline to refer to."""
    if row["speedup"] is None:
        return ""
    return times(row["speedup"], row["speedup_low"], row["speedup_high"])


def times(value: float, low: float | None, high: float | None) -> str:
    """``1.81× [1.78, 1.84]``, or without an interval where there is none."""
    shown = "" if low is None or high is None else f" [{factor(low)}, {factor(high)}]"
    return f"{factor(value)}×{shown}"


def copies(rows: Sequence[Row], baseline: str) -> list[tuple[str, list[str]]]:
    """Columns about a device of its own, each a title with its cells: the copies, a step with them, and what the
    device and the framework's allocator saw. The cells of rows on the CPU are empty."""
    columns: dict[str, Callable[[Row], str]] = {
        "to device": lambda row: seconds(row["upload_s"]),
        "from device": lambda row: seconds(row["download_s"]),
        "with copies": _with_copies,
        f"vs {baseline} with copies": _speedup_with_copies,
        "device clock": lambda row: seconds(row["device_s"]),
        "device memory": lambda row: size(row["peak_device_memory_bytes"]),
    }
    return [
        (title, ["" if case_of(row).on_host else cell(row) for row in rows])
        for title, cell in columns.items()
    ]


def _with_copies(row: Row) -> str:
    if row["with_copies_s"] is None:
        return ""
    return _with_bounds(row, "with_copies_s", "with_copies_low_s", "with_copies_high_s")


def _speedup_with_copies(row: Row) -> str:
    value = row["speedup_with_copies"]
    names = ("speedup_with_copies_low", "speedup_with_copies_high")
    return "" if value is None else times(value, *(row[name] for name in names))


def size(value_bytes: float | None) -> str:
    """A number of bytes with three digits; empty when unknown."""
    if value_bytes is None:
        return ""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    for unit, one in units:
        if value_bytes >= one:
            return f"{digits(value_bytes / one)} {unit}"
    return f"{value_bytes:.0f} B"


def devices(rows: Sequence[Row]) -> list[str]:
    """What was observed of the devices that rows ran on, a line each."""
    told: dict[str, str] = {}
    for row in rows:
        facts = [
            row["device_name"],
            row["device_uuid"],
            row["cudnn"] and f"cuDNN {row['cudnn']}",
            row["tf32"] and f"TF32 {row['tf32']}",
            row["cudnn_benchmark"] and f"cudnn.benchmark {row['cudnn_benchmark']}",
        ]
        if not case_of(row).on_host and any(facts):
            who = f"{row['backend']}:{row['device']}"
            told.setdefault(who, f"{who}: {', '.join(one_line(fact) for fact in facts if fact)}")
    return list(told.values())


def environments(run: Run) -> list[str]:
    """What is installed where workers ran, a line each; nothing where it is the same for all backends."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for backend, found in run.header.environments.items():
        numpy = found.packages.get("numpy", "unknown")
        names.setdefault((found.python, numpy, package_list(found)), []).append(backend)
    if len(names) < 2:
        return []
    return [
        f"environment of {', '.join(backends)}: Python {python}, NumPy {numpy}, {listed}"
        for (python, numpy, listed), backends in names.items()
    ]


def share(row: Row) -> str:
    """Share of the matrix-product rate."""
    return "" if row["share_of_peak"] is None else percent(row["share_of_peak"])


def largest_error(row: Row) -> str:
    """The largest relative error of all comparisons with the oracle."""
    return "" if row["max_relative_error"] is None else f"{row['max_relative_error']:.1e}"


def near_ties(row: Row) -> str:
    """How many branches (a relu's zero, a pooling tie) lay within reach of rounding in the
    verification."""
    return "" if row["ambiguous_branches"] is None else f"{row['ambiguous_branches']:,}"


def accuracy(row: Row) -> str:
    """Share of right answers on the test part, to two decimals of a percent."""
    return "" if row["test_accuracy"] is None else f"{100 * row['test_accuracy']:.2f} %"


def loss(row: Row) -> str:
    """Mean loss of the last epoch's steps."""
    return "" if row["final_loss"] is None else f"{row['final_loss']:.4g}"


def trouble(row: Row) -> str:
    """Why a row has no figures, and how to get them, on one line."""
    said = why(row["reason"] or "", row["remedy"] or "")
    return said if row["status"] == "skipped" else f"{STATUS_WORDS[row['status']]}: {said}"


def label(row: Row) -> str:
    """What a row is called in a sentence."""
    return case_of(row).label


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """What should be known before a row with figures is quoted; the same of several rows in one sentence."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "ok" and row["reason"]:
            said.setdefault(one_line(row["reason"]), []).append(label(row))
        if row["disturbance"]:
            kind = (
                "disturbed" if row["disturbed"] else "figures from a machine at rest, after others"
            )
            text = f"{kind}: {one_line(row['disturbance'])}"
            said.setdefault(text, []).append(label(row))
    return [f"! {', '.join(labels)}: {what}" for what, labels in said.items()]


def accounting(run: Run) -> str:
    """Where the wall time went, what a timing itself costs, and where the record is, in one
    line."""
    end = run.end
    if end is None:
        return f"cut off before its end · {run.path}"
    spent = ", ".join(
        f"{name} {_whole(value)}"
        for name, value in end.seconds.items()
        if value >= 0.05 or name == WAITING
    )
    parts = [f"{_whole(end.wall_s)} s: {spent}" if spent else f"{_whole(end.wall_s)} s"]
    if end.status == "interrupted":
        parts.insert(0, "interrupted")
    parts += _itself(run.itself)
    if run.parts > 1:
        parts.append(f"resumed {plural(run.parts - 1, 'time')}")
    return " · ".join([*parts, run.path])


def _itself(seen: SelfMeasurement) -> list[str]:
    """What the harness measured of itself; nothing where nothing was timed."""
    if seen.watched is None:
        return []
    null = seen.null_timing_s
    parts = [f"null test {'unknown' if null is None else seconds(null) + ' a timing'}"]
    sampling = seen.sampling
    if sampling is not None:
        of = "telemetry of the host" if seen.device_sampled else "telemetry"
        parts.append(f"{of} {_change(sampling)}")
    if seen.sampler_share is not None:
        parts.append(f"sampler {percent(seen.sampler_share)} of a core")
    if seen.clock_ratios is None:
        parts.append("no device clock")
    else:
        least, most = (f"{ratio:.2f}" for ratio in seen.clock_ratios)
        parts.append(f"device clock / wall {least if least == most else f'{least} to {most}'}")
    if not seen.watched:
        parts.append("who else used the machine is unknown")
    return parts


def _change(seen: Estimate) -> str:
    """``+0.1 % [-0.4, +0.6]`` for a ratio near 1."""
    bounds = [] if seen.interval is None else [seen.interval.low, seen.interval.high]
    value, *shown = (f"{100 * (ratio - 1):+.1f}" for ratio in (seen.value, *bounds))
    return f"{value} %" + (f" [{', '.join(shown)}]" if shown else "")


def si(value: float) -> str:
    """A number with three digits and the SI prefix of its unit: ``71.6 M`` for 71.6 million."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{digits(value / size)} {prefix}"
    return f"{digits(value)} "


_HUGE = 1e12


def digits(value: float) -> str:
    """At least three significant digits, no exponent, thousands grouped: ``0.0123``, ``19.8``,
    ``3,232``."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "?"
    if abs(value) >= _HUGE:
        return f"{value:.0e}"
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = min(max(0, 2 - math.floor(math.log10(abs(rounded or value)))), 12)
    return f"{rounded if decimals else value:,.{decimals}f}"


def factor(value: float) -> str:
    """A ratio with two decimals, or three digits where that says more."""
    return f"{value:.2f}" if 0.1 <= value < 100 else digits(value)


def percent(value: float) -> str:
    """A share as a percentage; one decimal below 10 %."""
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"


def _with_bounds(row: Row, value: str, low: str, high: str) -> str:
    unit, scale = _unit(row[value])
    shown = f"{digits(row[value] / scale)} {unit}"
    if row[low] is None or row[high] is None:
        return shown
    return f"{shown} [{digits(row[low] / scale)}, {digits(row[high] / scale)}]"


def _unit(value_s: float) -> tuple[str, float]:
    return next(((unit, size) for unit, size in _UNITS if abs(value_s) >= size), _UNITS[-1])


def _whole(value_s: float) -> str:
    return f"{value_s:.0f}" if value_s >= 0.95 else f"{value_s:.1f}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    value = value.item() if hasattr(value, "item") else value
    return value if known(value) else None
