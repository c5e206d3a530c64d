"""A record in the JSON format of pytest-benchmark, for its command line and what else reads that.

A benchmark is a case and a round is a process, with the median of its steps: the rounds of that
format are what its statistics take as independent, and only processes are. What the format has no
place for stands under ``extra_info.dlbench``, from which `dlbench compare` reads it back.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.table import Report
from dlbench.compare.from_pytest_benchmark import extra_info
from dlbench.errors import UsageError
from dlbench.record.schema import Header


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """One JSON object.

    Raises
    ------
    UsageError : several records, for which the format has no place.
    """
    if len(report.runs) != 1:
        raise UsageError("a file of pytest-benchmark holds one record: write one for each")
    record = report.runs[0].record
    whole = {
        "machine_info": _machine(record.header),
        "commit_info": {"id": None, "time": None, "dirty": None, "branch": None, "project": None},
        "benchmarks": [
            _benchmark(outcome, record.header)
            for outcome in report.runs[0].outcomes
            if outcome.medians_s
        ],
        "datetime": record.header.created,
        "version": f"dlbench {record.header.dlbench}",
    }
    return json.dumps(whole, indent=4, ensure_ascii=False, allow_nan=False) + "\n"


def _machine(header: Header) -> dict[str, Any]:
    """The keys that pytest-benchmark writes, as far as a record knows them; the host has no
    name."""
    machine = header.machine
    system, _, release = machine.system.partition(" ")
    return {
        "node": "unknown",
        "machine": "unknown",
        "processor": machine.cpu or "unknown",
        "python_version": machine.python,
        "system": system,
        "release": release,
        "cpu": {"brand_raw": machine.cpu or "unknown", "count": machine.logical_cores},
    }


def _benchmark(outcome: Outcome, header: Header) -> dict[str, Any]:
    case, times_s = outcome.case, list(outcome.medians_s.values())
    return {
        "group": f"{case.suite}/{case.scenario}/{case.batch}",
        "name": case.label,
        "fullname": case.key,
        "params": None,
        "param": None,
        "extra_info": extra_info(outcome, header),
        "options": {
            "disable_gc": True,
            "timer": "perf_counter_ns",
            "min_rounds": len(times_s),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": True,
        },
        "stats": statistics(times_s),
    }


def statistics(times_s: list[float]) -> dict[str, Any]:
    """The figures that pytest-benchmark shows, of process medians (s), by its own definitions:
    quartiles by Hazen's rule, outliers a standard deviation from the mean or 1.5 iqr from a
    quartile."""
    data = np.sort(np.asarray(times_s, np.float64))
    count = len(data)
    q1, q3 = (float(np.quantile(data, share, method="hazen")) for share in (0.25, 0.75))
    mean, deviation = float(data.mean()), float(data.std(ddof=1)) if count > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    beyond = int(np.sum((data < low) | (data > high)))
    apart = int(np.sum(np.abs(data - mean) > deviation))
    return {
        "min": float(data[0]),
        "max": float(data[-1]),
        "mean": mean,
        "stddev": deviation,
        "rounds": count,
        "median": float(np.median(data)),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": apart,
        "outliers": f"{apart};{beyond}",
        "ld15iqr": float(data[data >= low][0]),
        "hd15iqr": float(data[data <= high][-1]),
        "ops": 1 / mean,
        "total": float(data.sum()),
        "data": times_s,
        "iterations": 1,
    }
