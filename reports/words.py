"""The words and figures that all formats share, so that a row reads the same wherever it is read.

Rounding happens here and only here: the table itself holds full precision in SI units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dlbench.baseline import split_baseline
from dlbench.table import Report, Run
from dlbench.wording import one_line, plural, why

Row = Mapping[str, Any]

LEGEND = "✓ verified against the float64 oracle   ✗ not verified   – skipped"
INTERVALS = "[ ] 95 % interval over fresh processes"
MARKS = {"ok": "✓", "skipped": "–"}
STATUS_WORDS = {
    "unverified": "not ranked",
    "failed": "failed",
    "timeout": "timed out",
    "out_of_memory": "out of memory",
    "skipped": "skipped",
}
_NAMES = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "cupy": "CuPy"}
_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def known(value: Any) -> bool:
    """Whether a cell of the table holds something: not None and not NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def rows_of(source: Report | Run) -> list[dict[str, Any]]:
    """The table of a report or of one of its runs as plain dictionaries, with None for whatever is
    unknown."""
    return [
        {str(column): _plain(value) for column, value in row.items()}
        for row in source.frame.to_dict("records")
    ]


def mark(row: Row) -> str:
    """✓, ✗ or –."""
    return MARKS.get(row["status"], "✗")


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


def speedup(row: Row) -> str:
    """``1.81× [1.78, 1.84]``; empty when there is no baseline to refer to."""
    if row["speedup"] is None:
        return ""
    bounds = (row["speedup_low"], row["speedup_high"])
    shown = "" if None in bounds else f" [{factor(bounds[0])}, {factor(bounds[1])}]"
    return f"{factor(row['speedup'])}×{shown}"


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
    return f"{row['backend']}:{row['device']}/{row['scenario']}/{row['batch']}"


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """What should be known before a row with figures is quoted."""
    return [
        f"! {label(row)}: {one_line(row['reason'])}"
        for row in rows
        if row["status"] == "ok" and row["reason"]
    ]


def accounting(run: Run) -> str:
    """Where the wall time went, what a timing itself costs, and where the record is, in one
    line."""
    end = run.end
    if end is None:
        return f"cut off before its end · {run.path}"
    spent = ", ".join(
        f"{name} {_whole(value)}" for name, value in end.seconds.items() if value >= 0.05
    )
    parts = [f"{_whole(end.wall_s)} s: {spent}" if spent else f"{_whole(end.wall_s)} s"]
    if end.status == "interrupted":
        parts.insert(0, "interrupted")
    if end.null_timing_ns is not None:
        parts.append(f"null test {seconds(end.null_timing_ns * 1e-9)} a timing")
    return " · ".join([*parts, run.path])


def readings(report: Report) -> list[str]:
    """What the table says, in sentences: the fastest verified row of each kind of device against
    the baseline.

    A difference is only stated when the interval excludes 1.
    """
    return [sentence for run in report.runs for sentence in _readings(report, run)]


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


def _readings(report: Report, run: Run) -> Iterator[str]:
    rows = [row for row in rows_of(run) if row["status"] == "ok" and row["speedup"] is not None]
    base = report.baseline
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if f"{row['backend']}:{row['device']}" != base:
            kind = row["device"].partition(":")[0]
            key = (row["scenario"], row["batch"], row["threads"], row["precision"], kind)
            if key not in groups or row["speedup"] > groups[key]["speedup"]:
                groups[key] = row
    prefix = f"{run.name}: " if len(report.runs) > 1 else ""
    for row in groups.values():
        yield f"→ {prefix}{_sentence(row, base, _which(row, rows))}"


def _which(row: Row, rows: list[dict[str, Any]]) -> str:
    """What tells this comparison from the others, when there are several."""
    parts = []
    if len({other["batch"] for other in rows}) > 1:
        parts.append(f"at batch {row['batch']}")
    if len({other["threads"] for other in rows}) > 1:
        parts.append(f"with {plural(row['threads'], 'thread')}")
    return "".join(f" {part}" for part in parts)


def _sentence(row: Row, base: str, which: str) -> str:
    base_backend, base_device = split_baseline(base)
    ours, theirs = (_NAMES.get(name, name) for name in (row["backend"], base_backend))
    same_place = row["device"] == base_device
    here, there = ("" if same_place else f" on {_place(d)}" for d in (row["device"], base_device))
    closing = f" on {_place(row['device'])}" if same_place else ""
    ratio, low, high = row["speedup"], row["speedup_low"], row["speedup_high"]
    verb = (
        "trains this network" if row["scenario"] == "train" else "runs inference with this network"
    )
    if low is None or high is None or low <= 1 <= high:
        question = f"Whether {ours}{here} or {theirs}{there} {verb} faster{which}{closing}"
        rounds = "one process each" if low is None or high is None else "these rounds"
        return f"{question} cannot be told from {rounds}: {speedup(row)}."
    if ratio >= 1:
        return f"{ours} {verb}{here}{which} {_times(ratio)} as fast as {theirs}{there}{closing}."
    times = _times(1 / ratio)
    return f"{theirs} {verb}{there}{which} {times} as fast as {ours}{here}{closing}, the next."


def _times(ratio: float) -> str:
    if ratio < 1.095:
        return f"{ratio:.2f} times" if ratio >= 1.005 else f"{ratio:.3f} times"
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:,.0f} times"


def _place(device: str) -> str:
    return "this CPU" if device == "cpu" else "this GPU" if device.startswith("cuda") else device


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
    value = value.item() if hasattr(value, "item") else value
    return value if known(value) else None
