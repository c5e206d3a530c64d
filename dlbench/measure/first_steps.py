"""A moment's steps of a session, for who waits: in a process that has just verified its backend, long before anything
is timed as it has to be. No figure of a finished table comes from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from dlbench.contract import Session
from dlbench.measure.timed_steps import WARMUP_SHARE, Clock, Steps
from dlbench.spec.workload import Weights


def first_steps(
    session: Session,
    batches: Sequence[Any],
    step: Literal["train", "infer"],
    initial: Weights,
    seconds: float,
    *,
    clock: Clock = time.perf_counter_ns,
    beat: Callable[[], None] = lambda: None,
) -> tuple[int, ...]:
    """What steps took (ns) in so many seconds, one at least, with the boundary of `dlbench.measure.timed_steps.Steps`.

    The very first, and those of a warm-up of half as long, are not among them. Where training leaves the weights
    is nowhere that counts.
    """
    steps = Steps(session, batches, step == "train", initial, clock, beat)
    steps.one()
    _take(steps, WARMUP_SHARE * seconds, clock)
    return _take(steps, seconds, clock)


def _take(steps: Steps, seconds: float, clock: Clock) -> tuple[int, ...]:
    end_ns = clock() + int(seconds * 1e9)
    taken_ns = [steps.one()]
    while clock() < end_ns:
        taken_ns.append(steps.one())
    return tuple(taken_ns)
