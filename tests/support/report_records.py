"""Synthetic records for charts and pages: many rows, long names, intervals that are missing, values far apart, strings
that would be markup."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import numpy as np
from record_makers import Make, make_case, make_process, make_record, make_verification

from dlbench.record import schema as r
from dlbench.record.facts import RateTrial, Surroundings
from dlbench.spec.scenarios import Load

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"'`&amp;{{7*7}}{% x %}<!--\u202e\x1b[31m"
)
LONG = "a-backend-with-a-name-that-is-far-longer-than-anybody-would-ever-give-one"


def many(
    rows: int = 3,
    *,
    batches: tuple[int, ...] = (64,),
    long: bool = False,
    wild: bool = False,
    rounds: int = 3,
    scenarios: tuple[Any, ...] = ("train", "infer"),
) -> r.Record:
    """A record of so many rows a scenario and batch size; numpy first, each further one 10 % slower, the fourth
    unsteady.

    `wild` has one that is a thousand times as fast, and a single round leaves no interval.
    """
    noise = np.random.default_rng(0)
    lines: list[r.Line] = []
    cases = []
    for scenario in scenarios:
        for batch in batches:
            for number in range(rows):
                name = f"{LONG if long else 'backend'}{number}" if number else "numpy"
                mode = "" if number == 0 else "some-mode"
                case = make_case(name, scenario=scenario, batch=batch, mode=mode)
                cases.append(case)
                lines.append(make_verification(case, version="12.3.4"))
                slope = 0.8 if len(batches) == 1 else 0.8 - 0.12 * number
                step_s = 0.03 * (batch / 64) ** slope * (1 + 0.1 * number)
                step_s /= 1000 if wild and number == 2 else 1
                scatter = 0.3 if number == 3 else 0.02
                lines += [
                    make_process(case, k, step_s * math.exp(noise.normal(0, scatter)))
                    for k in range(rounds)
                ]
    return Make.measured(cases, lines, rounds=rounds)


def watched(record: r.Record) -> r.Record:
    """The same with who else used the machine, the starts of processes, and samples of a device of its own."""
    lines: list[r.Line] = []
    for line in record.lines:
        if isinstance(line, r.Process):
            seconds = {
                "interpreter": 0.3,
                "import": 2.0,
                "device": 0.2,
                "open": 0.4,
                "warm-up": 1.0,
            }
            seen = Surroundings(2.0, 0.02, 0.01, 0.0, 0.0, 0.0, 3.0, 2, 2, None, 3e9, 1.8)
            line = msgspec.structs.replace(
                line, seconds=seconds, during=seen, started_ns=10**9, ended_ns=3 * 10**9
            )
            if not line.case.on_host:
                lines.append(_samples(line))
        lines.append(line)
    return r.Record(record.header, tuple(lines))


def queried(rows: int = 2, *, queries: int = 130, wild: bool = False) -> r.Record:
    """So many rows of single queries, each of three processes; the second has too few of them for its p99, and a `wild`
    third one takes a thousand times as long."""
    noise = np.random.default_rng(0)
    cases = [
        make_case(f"backend{n}" if n else "numpy", scenario="latency", batch=1) for n in range(rows)
    ]
    lines: list[r.Line] = [make_verification(case, version="12.3.4") for case in cases]
    for number, case in enumerate(cases):
        typical_ns = 2e6 * (1000 if wild and number == 2 else 1)
        count = 40 if number == 1 else queries
        for k in range(3):
            spread = np.exp(np.abs(noise.normal(0, 0.2, count)))
            times = tuple(int(each) for each in typical_ns * spread)
            lines.append(make_process(case, k, typical_ns * 1e-9, timings_ns=times))
    return Make.measured(cases, lines, rounds=3)


def served(largest_per_s: float = 100.0, *, enough: bool = True) -> r.Record:
    """A server whose largest rate within 20 ms was looked for; where the budget was not `enough`, without one."""
    case = make_case("numpy", scenario="server", batch=1)
    lines: list[r.Line] = [make_verification(case)]
    for k in range(3):
        trials = (
            RateTrial(largest_per_s / 2, 400, 5_000_000, True),
            RateTrial(largest_per_s + k, 400, 19_000_000, True),
            RateTrial(largest_per_s * 1.1, 400, 30_000_000, False),
            RateTrial(largest_per_s * 2, 400, None, False),
        )
        few = (RateTrial(60.0, 12, None, False),)
        times = tuple(4_000_000 + 997 * ((37 * i + k) % 400) for i in range(400))
        fields: dict[str, Any] = {
            "timings_ns": times,
            "waited_ns": (0,) * len(times),
            "block_steps": (len(times),),
            "block_started_ns": (1_000_000,),
            "block_ended_ns": (4_001_000_000,),
            "started_ns": 1_000_000,
            "ended_ns": 4_001_000_000,
            "rate_per_s": largest_per_s,
            "rate_trials": trials if enough else few,
        }
        lines.append(make_process(case, k, 0.004, **fields))
    return Make.measured([case], lines, load=Load(bound_s=0.02), rounds=3)


def compiled(import_s: float, step_s: float, *, rounds: int = 4, busy: bool = False) -> r.Record:
    """PyTorch eager, which imports in 2 s and takes 30 ms a step, and compiled, which takes as long as is said; one of
    them beside others where these are `busy`."""
    modes = {"eager": (2.0, 0.030), "compile": (import_s, step_s)}
    cases = {make_case("torch", mode=mode, scenario="train"): mode for mode in modes}
    lines: list[r.Line] = [make_verification(case, version="2.13.0") for case in cases]
    lines += [
        make_process(case, k, modes[mode][1] * (1 + 0.002 * ((7 * k + len(mode)) % 5)))
        for k in range(rounds)
        for case, mode in cases.items()
    ]
    record = watched(Make.measured(list(cases), lines, rounds=rounds))
    return r.Record(
        record.header,
        tuple(
            _started(line, modes[cases[line.case]][0], busy and cases[line.case] == "compile")
            if isinstance(line, r.Process)
            else line
            for line in record.lines
        ),
    )


def _started(line: r.Process, import_s: float, busy: bool) -> r.Process:
    seen = Surroundings(2.0, 1.5, 0.0, 0, 0, 0, 0, 2, 2, None, 3e9, 1.0) if busy else line.during
    return msgspec.structs.replace(line, seconds=line.seconds | {"import": import_s}, during=seen)


def with_gpu() -> r.Record:
    """numpy on the host and cupy on a GPU, watched."""
    cases = [make_case("numpy"), make_case("cupy", "cuda", mode="graph")]
    lines: list[r.Line] = [make_verification(case) for case in cases]
    lines += [
        make_process(case, k, s)
        for k in range(3)
        for case, s in zip(cases, (0.03, 0.002), strict=True)
    ]
    return watched(Make.measured(cases, lines))


def _samples(process: r.Process) -> r.Telemetry:
    times = tuple(range(900_000_000, 3_100_000_000, 50_000_000))

    def trace(middle: float) -> r.Trace:
        return r.Trace(times, tuple(middle * (1 + 0.1 * math.sin(t)) for t in range(len(times))))

    traces = {
        "utilization": trace(0.8),
        "memory_used_bytes": trace(2.0**31),
        "power_instant_w": trace(300.0),
        "sm_clock_mhz": trace(1500.0),
    }
    return r.Telemetry(
        case=process.case,
        round=process.round,
        source="nvml",
        period_ns=50_000_000,
        started_ns=times[0],
        ended_ns=times[-1],
        device_uuid="GPU-1",
        device_name="NVIDIA H200",
        traces=traces,
    )


def hostile() -> r.Record:
    """A record whose every string is `HOSTILE`, as far as its form allows."""
    record = watched(make_record(epochs=2))
    return msgspec.structs.replace(
        record,
        header=_poisoned(record.header),
        lines=tuple(map(_poisoned, record.lines)),
    )


_KEPT = {"status", "kind", "scenario", "source"}


def _poisoned(value: Any, name: str = "") -> Any:
    """The value with all its texts made hostile; a case keeps what tells it from others."""
    if isinstance(value, r.Case):
        told = {each: f"{getattr(value, each)}{HOSTILE}" for each in ("suite", "backend", "mode")}
        return msgspec.structs.replace(value, **told)
    if isinstance(value, msgspec.Struct):
        fields = {
            field: _poisoned(getattr(value, field), field)
            for field in value.__struct_fields__
            if field not in _KEPT
        }
        return msgspec.structs.replace(value, **fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            f.name: _poisoned(getattr(value, f.name), f.name) for f in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changed)
    if isinstance(value, str):
        return f"{value}{HOSTILE}"
    if isinstance(value, dict) and name in (
        "facts",
        "packages",
        "libraries",
        "titles",
        "environments",
    ):
        return {f"{key}{HOSTILE}": _poisoned(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_poisoned(each) for each in value)
    return value
