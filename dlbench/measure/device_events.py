"""Times steps by the device's own clock, and what synchronising costs when there is nothing to wait for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlbench.contract import Session
from dlbench.measure.timed_steps import STEPS_FROM_INITIAL, Clock
from dlbench.spec.workload import Weights

_IDLE_SYNCHRONIZATIONS = 9
_DEVICE_STEPS_LEFT_OUT = 3
_DEVICE_STEPS_LONG_NS = 2_000_000_000


def time_device_steps(
    session: Session,
    batches: Sequence[Any],
    scenario: Literal["train", "infer"],
    initial: Weights,
) -> tuple[int, ...]:
    """How long steps take by the device's own clock (ns); none where the session has none.

    They are steps of their own, behind those that the wall clock timed: setting marks takes time
    too. Each begins on an idle device, so that what the device waits for the host is in it.
    """
    device_clock = session.device_clock
    if device_clock is None:
        return ()
    step = session.train_step if scenario == "train" else session.infer
    if scenario == "train":
        session.load(initial)
    durations_ns = []
    for number in range(STEPS_FROM_INITIAL):
        session.synchronize()
        begin = device_clock.mark()
        step(batches[number % len(batches)])
        end = device_clock.mark()
        session.synchronize()
        durations_ns.append(device_clock.between_ns(begin, end))
        if sum(durations_ns) > _DEVICE_STEPS_LONG_NS and number + 1 > _DEVICE_STEPS_LEFT_OUT:
            break
    # the first ones find cold caches and clocks
    return tuple(durations_ns[_DEVICE_STEPS_LEFT_OUT:] or durations_ns)


def time_idle_synchronize(session: Session, *, clock: Clock = time.perf_counter_ns) -> int:
    """How long `synchronize` takes with nothing to wait for (median, ns): a part of every timing that is no work."""
    session.synchronize()
    durations_ns = []
    for _ in range(_IDLE_SYNCHRONIZATIONS):
        begin = clock()
        session.synchronize()
        durations_ns.append(clock() - begin)
    return int(np.median(durations_ns))
