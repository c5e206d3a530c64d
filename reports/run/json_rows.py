"""The table as one JSON object, for programs: `dlbench run … --format json | jq`.

Valid by RFC 8259: what is unknown or infinite is null.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from dlbench.analyse.crossover import crossovers
from dlbench.analyse.table import Report, Run
from dlbench.analyse.training.convergence import as_data, converged
from dlbench.record.case import columns

from ..profile.part_rows import layer_rows
from ..queries import offline
from ..trainings import by_class
from .conclusions import conclusions

SCHEMA = 1
"""Raised when a key changes its meaning or goes away; new keys do not raise it."""


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """An object with `schema`, `machine` (of the first run), `rows` (a key per column), `layers` (the parts of profiled
    steps), `crossovers` (a sweep's rows with a point per batch size), `offline` (the best batch size of each row, with
    the curve), `converge` (the trainings to a target, each with its curve), `by_class` (what each training took for
    which class), `tried` (with ``--best``, a mode each), `runs`, `readings`, `notes`."""
    runs = [_run(run) for run in report.runs]
    whole = {
        "schema": SCHEMA,
        "machine": runs[0]["machine"] if runs else None,
        "rows": [dict(row.cells) for row in report.rows],
        "layers": [row for run in report.runs for row in layer_rows(run)],
        "crossovers": [each for run in report.runs for each in _crossovers(run)],
        "offline": [each for run in report.runs for each in offline.data(run)],
        "converge": [each for run in report.runs for each in _converge(run)],
        "by_class": [each for run in report.runs for each in by_class.data(run)],
        "tried": [each for run in report.runs for each in _tried(run)],
        "runs": runs,
        "readings": conclusions(report),
        "notes": list(report.notes),
    }
    # numbers that are not finite become null
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _run(run: Run) -> dict[str, Any]:
    header: dict[str, Any] = msgspec.to_builtins(run.header)
    return {
        "record": run.name,
        **{key: value for key, value in header.items() if key not in ("kind", "cases", "schema")},
        "peak_flops_per_s": {str(threads): rate for threads, rate in run.peak_flops_per_s.items()},
        "parts": run.parts,
        "self_measurement": dataclasses.asdict(run.itself),
        "end": None
        if run.end is None
        else {k: v for k, v in msgspec.to_builtins(run.end).items() if k != "kind"},
    }


def _converge(run: Run) -> list[dict[str, Any]]:
    target, well = run.header.target_accuracy, {r.case for r in run.rows if r["status"] == "ok"}
    return [
        {"record": run.name, **columns(case), "target_accuracy": target, "trainings": trainings}
        for case, trainings in as_data(converged(run.record)).items()
        if case in well
    ]


def _tried(run: Run) -> list[dict[str, Any]]:
    why = {row.case: row["reason"] for row in run.rows if row["status"] != "ok"}
    return [
        {
            "record": run.name,
            **columns(each.case),
            "verdict": each.verdict,
            "median_s": each.median_s,
            "times_as_long": each.behind,
            "steps": len(each.process.timings_ns) if each.process else 0,
            "reason": why.get(each.case),
        }
        for each in run.tried
    ]


def _crossovers(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "record": run.name,
            **{name: value for name, value in columns(each.case).items() if name != "batch"},
            "baseline": each.baseline,
            "with_copies": each.with_copies,
            "points": [
                {**dataclasses.asdict(point), "verdict": point.verdict} for point in each.points
            ],
            "faster_from": each.faster_from,
            "after": each.after,
        }
        for each in crossovers(run.rows)
    ]
