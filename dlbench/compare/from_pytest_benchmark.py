"""A file of pytest-benchmark as a side of a comparison.

One such file comes from one process, however many rounds it has, so without more it is one
replication. Files that dlbench wrote carry the medians of all processes and are read in full.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec

from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.statistics import case_estimate
from dlbench.compare.sides import Measured, Side
from dlbench.errors import UsageError
from dlbench.record import door
from dlbench.record.comparability import facts_of, versions_of
from dlbench.record.file import UNREADABLE
from dlbench.record.schema import Header
from dlbench.text import one_line, shortened

_SHORTEST_S, _LONGEST_S = 1e-12, 1e8

OURS = "dlbench"
"""The key under which dlbench's own files keep what the format has no place for."""


class _Stats(msgspec.Struct):
    median: float


class _Ours(msgspec.Struct):
    """What a file of dlbench's says of a case."""

    key: str
    label: str
    processes_s: tuple[float, ...]
    conditions: dict[str, str]
    facts: dict[str, str]
    versions: dict[str, str]


class _Benchmark(msgspec.Struct):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any] = {}


class _File(msgspec.Struct):
    benchmarks: list[_Benchmark]
    machine_info: dict[str, Any] | None = None


def extra_info(outcome: Outcome, header: Header) -> dict[str, Any]:
    """What a benchmark's ``extra_info`` says of a case with figures, times in seconds.

    For readers: `verified`, `precision`, `device`, and `interval_s`, the 95 % interval over processes.
    Under `OURS` is what makes the case whole again.
    """
    case, times_s = outcome.case, tuple(outcome.medians_s.values())
    interval = case_estimate(times_s).interval
    ours = _Ours(
        case.key,
        case.label,
        times_s,
        case.conditions,
        facts_of(header),
        versions_of(header),
    )
    return {
        "verified": outcome.verified,
        "precision": case.precision,
        "device": case.device,
        "interval_s": [interval.low, interval.high] if interval else None,
        OURS: msgspec.to_builtins(ours),
    }


def side_of_pytest_benchmark(name: str, raw: bytes) -> Side:
    """The benchmarks of a file and the machine that it names.

    Raises
    ------
    UsageError : not such a file.
    """
    try:
        found = _decoded(door.clean(raw))
        ours = [
            msgspec.convert(benchmark.extra_info[OURS], _Ours)
            if OURS in benchmark.extra_info
            else None
            for benchmark in found.benchmarks
        ]
    except UNREADABLE as error:
        why = shortened(one_line(str(error)), 300)
        raise UsageError(
            f"{name}: neither a dlbench record nor a file of pytest-benchmark: {why}"
        ) from None
    cases = tuple(map(_measured, found.benchmarks, ours))
    whose = next(filter(None, ours), None)
    if whose is not None:
        return Side(name, cases, whose.facts, whose.versions)
    machine = found.machine_info or {}
    return Side(name, cases, _facts(machine), _words({"python": machine.get("python_version")}))


def _decoded(raw: bytes) -> _File:
    """A file's content, also with the words for numbers that JSON has not got: Python writes a standard deviation of a
    single round as NaN."""
    try:
        return msgspec.json.decode(raw, type=_File)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(raw.decode("utf-8-sig")), _File)


def _measured(benchmark: _Benchmark, ours: _Ours | None) -> Measured:
    if ours is None:
        one = Measured(benchmark.fullname, benchmark.fullname, (benchmark.stats.median,))
    else:
        one = Measured(ours.key, ours.label, ours.processes_s, ours.conditions)
    wrong = next((each for each in one.processes_s if not _SHORTEST_S <= each <= _LONGEST_S), None)
    if wrong is None:
        return one
    return dataclasses.replace(one, processes_s=(), problem=f"a median of {wrong:g} s is no time")


def _facts(machine: dict[str, Any]) -> dict[str, str]:
    """The machine by pytest-benchmark's account, without its clock, which changes all the time, and
    without the host's name."""
    cpu = machine.get("cpu")
    cpu = cpu if isinstance(cpu, dict) else {}
    return _words(
        {
            # older files of that tool say it without "raw"
            "cpu": cpu.get("brand_raw") or cpu.get("brand"),
            "logical cores": cpu.get("count"),
            "architecture": machine.get("machine"),
            "system": machine.get("system"),
        }
    )


def _words(given: dict[str, Any]) -> dict[str, str]:
    """What is known of the given fields, as text."""
    return {
        str(key): one_line(str(value)) for key, value in given.items() if value not in (None, "")
    }
