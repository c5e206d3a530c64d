"""The table as one JSON object, for programs: `dlbench run … --format json | jq`.

Valid by RFC 8259: what is unknown or infinite is null.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from dlbench.table import Report, Run

from . import words

SCHEMA = 1
"""Raised when a key changes its meaning or goes away; new keys do not raise it."""


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """An object with `schema`, `machine` (of the first run), `rows` (a key per column), `runs`,
    `readings`, `notes`."""
    runs = [_run(run) for run in report.runs]
    whole = {
        "schema": SCHEMA,
        "machine": runs[0]["machine"] if runs else None,
        "rows": words.rows_of(report),
        "runs": runs,
        "readings": words.readings(report),
        "notes": list(report.notes),
    }
    return json.dumps(_finite(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _run(run: Run) -> dict[str, Any]:
    header: dict[str, Any] = msgspec.to_builtins(run.header)
    return {
        "record": run.name,
        **{key: value for key, value in header.items() if key not in ("kind", "cases", "schema")},
        "peak_flops_per_s": {str(threads): rate for threads, rate in run.peak_flops_per_s.items()},
        "end": None
        if run.end is None
        else {k: v for k, v in msgspec.to_builtins(run.end).items() if k != "kind"},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
