"""A file of pytest-benchmark as a side of a comparison.

One such file comes from one process, however many rounds it has, so without more it is one
replication. Files that dlbench wrote carry the medians of all processes and are read in full.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dlbench.compare.sides import Measured, Side
from dlbench.errors import UsageError
from dlbench.wording import one_line

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


class _Benchmark(msgspec.Struct):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any] = {}


class _File(msgspec.Struct):
    benchmarks: list[_Benchmark]
    machine_info: dict[str, Any] | None = None


def side_of_pytest_benchmark(name: str, raw: bytes) -> Side:
    """The benchmarks of a file and the machine that it names.

    Raises
    ------
    UsageError : not such a file.
    """
    try:
        found = msgspec.json.decode(raw, type=_File)
        cases = tuple(_measured(benchmark) for benchmark in found.benchmarks)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{name}: neither a dlbench record nor a file of pytest-benchmark: {error}"
        ) from None
    machine = found.machine_info or {}
    ours = machine.get(OURS)
    if isinstance(ours, dict):
        facts, versions = (_words(ours.get(part)) for part in ("facts", "versions"))
        return Side(name, cases, facts, versions)
    return Side(name, cases, _facts(machine), _words({"python": machine.get("python_version")}))


def _measured(benchmark: _Benchmark) -> Measured:
    ours = benchmark.extra_info.get(OURS)
    if isinstance(ours, dict) and "key" in ours:
        case = msgspec.convert(ours, _Ours)
        return Measured(case.key, case.label, case.processes_s, case.conditions)
    return Measured(benchmark.fullname, benchmark.fullname, (benchmark.stats.median,))


def _facts(machine: dict[str, Any]) -> dict[str, str]:
    """The machine by pytest-benchmark's account, without its clock, which changes all the time, and
    without the host's name."""
    cpu = machine.get("cpu")
    cpu = cpu if isinstance(cpu, dict) else {}
    return _words(
        {
            "cpu": cpu.get("brand_raw"),
            "logical cores": cpu.get("count"),
            "architecture": machine.get("machine"),
            "system": machine.get("system"),
        }
    )


def _words(given: Any) -> dict[str, str]:
    """What is known of the given fields, as text."""
    if not isinstance(given, dict):
        return {}
    return {
        str(key): one_line(str(value)) for key, value in given.items() if value not in (None, "")
    }
