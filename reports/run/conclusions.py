"""What a table says, in sentences: who is faster, by how much, and from which batch size on.

A difference is only stated where the interval excludes 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlbench.analyse.crossover import crossovers
from dlbench.analyse.table import Report, Run
from dlbench.record.case import HOST, Case, case_of
from dlbench.text import plural

from . import sweep, words

_NAMES = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "cupy": "CuPy"}


def readings(report: Report) -> list[str]:
    """The fastest verified row of each kind of device against the baseline; of a sweep over batch sizes, from
    which on each row of another kind of device than the baseline's is faster, or each where there is none."""
    sentences: list[str] = []
    for run in report.runs:
        prefix = f"{run.name}: " if len(report.runs) > 1 else ""
        found = list(_crossovers(run)) or list(_readings(run))
        sentences += [f"→ {prefix}{sentence}" for sentence in found]
    return sentences


def _crossovers(run: Run) -> Iterator[str]:
    found = crossovers(run.frame)
    if not found:
        return
    base = run.baseline.cases[0]
    chosen = [each for each in found if each.case.device_kind != base.device_kind] or found
    for each in chosen:
        ours, theirs = (
            f"{_name(case.backend)} on {_place(case.device, run)}" for case in (each.case, base)
        )
        verb = _verb(each.case.scenario)
        what = f"{ours} {verb} faster than {theirs}"
        if each.with_copies:
            what = f"With the copies, {what}"
        yield f"{what} {sweep.sentence(each)}."


def _name(backend: str) -> str:
    name, at, label = backend.partition("@")
    return f"{_NAMES.get(name, name)}{at}{label}"


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _verb(scenario: str) -> str:
    return "trains this network" if scenario == "train" else "runs inference with this network"


def _readings(run: Run) -> Iterator[str]:
    rows = [
        row for row in words.rows_of(run) if row["status"] == "ok" and row["speedup"] is not None
    ]
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if not run.baseline.has(case_of(row)):
            kind = _kind(row["device"])
            key = (row["scenario"], row["batch"], row["threads"], row["precision"], kind)
            if key not in groups or row["speedup"] > groups[key]["speedup"]:
                groups[key] = row
    for row in groups.values():
        yield _sentence(row, run.baseline.cases[0], _which(row, rows), run)


def _which(row: words.Row, rows: list[dict[str, Any]]) -> str:
    """What tells this comparison from the others, when there are several."""
    parts = []
    if len({other["batch"] for other in rows}) > 1:
        parts.append(f"at batch {row['batch']}")
    if len({other["threads"] for other in rows}) > 1:
        parts.append(f"with {plural(row['threads'], 'thread')}")
    return "".join(f" {part}" for part in parts)


def _sentence(row: words.Row, base: Case, which: str, run: Run) -> str:
    ours, theirs = map(_name, (row["backend"], base.backend))
    same_place = row["device"] == base.device
    here, there = (
        "" if same_place else f" on {_place(d, run)}" for d in (row["device"], base.device)
    )
    closing = f" on {_place(row['device'], run)}" if same_place else ""
    ratio, low, high = row["speedup"], row["speedup_low"], row["speedup_high"]
    verb = _verb(row["scenario"])
    if low is None or high is None or low <= 1 <= high:
        question = f"Whether {ours}{here} or {theirs}{there} {verb} faster{which}{closing}"
        rounds = "one process each" if low is None or high is None else "these rounds"
        return f"{question} cannot be told from {rounds}: {words.speedup(row)}."
    if ratio >= 1:
        return f"{ours} {verb}{here}{which} {_times(ratio)} as fast as {theirs}{there}{closing}."
    times = _times(1 / ratio)
    return f"{theirs} {verb}{there}{which} {times} as fast as {ours}{here}{closing}, the next."


def _times(ratio: float) -> str:
    if ratio < 1.095:
        return f"{ratio:.2f} times" if ratio >= 1.005 else f"{ratio:.3f} times"
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:,.0f} times"


def _place(device: str, run: Run) -> str:
    """Where that is; a GPU by its name where the run has several."""
    if _kind(device) == HOST:
        return "this CPU"
    gpus = {name for name in run.frame["device"] if _kind(name) == "cuda"}
    return "this GPU" if _kind(device) == "cuda" and len(gpus) == 1 else device
