"""A point's record: read where it is there, completed where it was cut off, made where it is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlbench.api.carrying_out import Work, carry_out, new_run, rest_of
from dlbench.execute.events import Observer
from dlbench.plan.request import Request
from dlbench.record.schema import Record

Watching = Callable[[], contextlib.AbstractContextManager[Observer]]
"""Makes what has an observer of one run."""


def record_of(
    request: Request, path: Path, watching: Watching, say: Callable[[str], None]
) -> Record:
    """The record of a request in `path`.

    Raises
    ------
    UsageError, DataError : it cannot be carried out, or what is there is of something else.
    KeyboardInterrupt : somebody interrupted it; what was measured is kept.
    """
    if not path.exists() or not path.stat().st_size:
        return _carried_out(new_run(request, path), watching, say)
    with rest_of(path, _said(request), request.baseline) as (record, work):
        return record if work is None else _carried_out(work, watching, say)


def _said(request: Request) -> dict[str, Any]:
    """What the record that is there has to be of."""
    return {
        "suite": request.suite,
        "data_dir": request.data_dir,
        "pythons": dict(request.pythons),
        "backends": request.chosen_backends,
        "scenarios": request.chosen_scenarios,
        "batches": request.chosen_batches,
        "threads": request.chosen_threads,
        "patience_s": request.patience_s,
        "limit_s": request.limit_s,
    } | {
        name: getattr(request, name)
        for name in ("seed", "rounds", "budget_s", "epochs", "target_accuracy", "energy")
    }


def _carried_out(work: Work, watching: Watching, say: Callable[[str], None]) -> Record:
    # that others use the machine is said once, and not before each point
    finished = carry_out(work, watching(), say, quiet=True)
    if finished is None or finished.interrupted:
        raise KeyboardInterrupt
    return finished.record
