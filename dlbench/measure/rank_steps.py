"""What ranks cost each other: steps as they are timed, and steps in which none waits for another, off the timed ones.

Both are taken in turns, so that what the machine does to one it does to the other. A rank's own clock tells its steps
alone: what the slowest takes longer than the fastest is their spread, and what a step takes longer than the slowest
alone is what communication costs that computation does not hide.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from dlbench.contract import RanksSession
from dlbench.record.facts import RankSteps
from dlbench.spec.workload import Weights

_TURNS = 5
_TURN_S = 0.1
_LEAST, _MOST = 4, 200
"""Steps of a turn."""


def time_ranks(
    session: RanksSession, batches: Sequence[Any], weights: Weights, step_s: float
) -> RankSteps:
    """Times both; the session is at `weights` afterwards.

    Parameters
    ----------
    batches : resident ones, which are gone through in their order.
    step_s : what a step takes, about (s).
    """
    steps = int(min(max(_TURN_S / max(step_s, 1e-9), _LEAST), _MOST))
    together_ns: list[int] = []
    alone_ns: list[list[int]] = []
    for turn in range(_TURNS):
        batch = batches[turn % len(batches)]
        # the first of a turn meets what the other kind of step has left
        session.train_step(batch)
        session.synchronize()
        for _ in range(steps):
            began_ns = time.perf_counter_ns()
            session.train_step(batch)
            session.synchronize()
            together_ns.append(time.perf_counter_ns() - began_ns)
        by_rank = session.alone_ns(batch, steps + 1)
        alone_ns = alone_ns or [[] for _ in by_rank]
        for own, found in zip(alone_ns, by_rank, strict=True):
            own += map(int, found[1:])
        # ranks that went their own ways are of one mind again
        session.load(weights)
    return RankSteps(tuple(together_ns), tuple(map(tuple, alone_ns)))
