"""Times what is left of a step once it has been synchronised: nothing, where a synchronised step is a finished one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from dlbench.contract import Session
from dlbench.measure.timed_steps import LEAST_STEPS, Clock

_SETTLINGS = 7
_SETTLING_LONG_NS = 100_000_000


@dataclasses.dataclass(frozen=True)
class Settling:
    """What is left of a step when it has been synchronised (medians, ns).

    `step_ns` is a step on a batch of the timed loop, synchronised; `read_ns` one on a batch never seen before,
    until its outcome has been read; `copy_ns` reading the same outcome once more.
    """

    step_ns: float
    read_ns: float
    copy_ns: float


def time_settling(
    session: Session,
    resident: Any,
    fresh: Callable[[], Any],
    scenario: Literal["train", "infer"],
    *,
    clock: Clock = time.perf_counter_ns,
) -> Settling:
    """Times steps whose outcome is read against steps that are only synchronised, in turn.

    Parameters
    ----------
    resident : a batch of the timed loop.
    fresh : uploads a batch that the session has not seen.
    """
    trains = scenario == "train"
    step = session.train_step if trains else session.infer
    steps_ns: list[int] = []
    reads_ns: list[int] = []
    copies_ns: list[int] = []
    while len(steps_ns) < _SETTLINGS:
        begin = clock()
        step(resident)
        session.synchronize()
        steps_ns.append(clock() - begin)
        batch = fresh()
        session.synchronize()
        begin = clock()
        result = step(batch)
        session.weights() if trains else session.download(result)
        reads_ns.append(clock() - begin)
        begin = clock()
        session.weights() if trains else session.download(result)
        copies_ns.append(clock() - begin)
        if sum(steps_ns) > _SETTLING_LONG_NS and len(steps_ns) >= LEAST_STEPS:
            break
    medians = (float(np.median(each)) for each in (steps_ns, reads_ns, copies_ns))
    return Settling(*medians)
