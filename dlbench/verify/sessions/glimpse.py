"""A first impression of how long steps take, for who waits: from a session that was just verified, long before anything
is timed as it has to be. No figure of a row comes from it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from dlbench.contract import Session

_STEPS, _MOST_S = 5, 0.25


def glimpse(session: Session, batch: Any, *, trains: bool) -> dict[str, int]:
    """About how long a step takes (ns), by scenario: the median of a handful, as many as fit into a quarter of a second
    behind one that nobody counts.

    Parameters
    ----------
    batch : resident there.
    trains : whether the session trains. Where it is afterwards is nowhere that counts.
    """
    found = {"infer": _typical_ns(session, lambda: session.infer(batch))}
    if trains:
        found["train"] = _typical_ns(session, lambda: session.train_step(batch))
    return found


def _typical_ns(session: Session, step: Callable[[], Any]) -> int:
    taken: list[int] = []
    end_s = time.monotonic() + _MOST_S
    while len(taken) < 2 or (len(taken) <= _STEPS and time.monotonic() < end_s):
        begin_ns = time.perf_counter_ns()
        result = step()
        session.synchronize()
        taken.append(time.perf_counter_ns() - begin_ns)
        del result
    return round(statistics.median(taken[1:]))
