"""Measures a pair: a process of each version, alive side by side, that take turns in short blocks of steps.

What the machine does to one block it does to its neighbour, so a pair of living processes scatters a third as much as
two that ran one after the other. See `dlbench.execute.side_by_side`, which does the same for the rows of a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from dlbench.execute.side_by_side import SPINNING_CORES, Crowded, blocks_of, is_crowded
from dlbench.gate.pairs import Arm
from dlbench.record.facts import MeasureResult
from dlbench.record.schema import Case
from dlbench.worker.launch import Launch, Worker
from dlbench.worker.measurements import BLOCK, FINISH, OPEN, REST, WARM_UP, Job
from dlbench.worker.supervisor import Ended

BLOCK_S = 0.005
"""A turn, or a single step where that takes longer. What other guests of a machine do comes and goes within tens of
milliseconds, so the shorter the turns, the more alike is what two neighbours meet."""


def measure(
    case: Case,
    arms: Sequence[Arm],
    launches: Mapping[Arm, Launch],
    jobs: Mapping[Arm, Job],
    share_s: float,
) -> dict[Arm, Ended[MeasureResult]]:
    """Times both.

    Parameters
    ----------
    case : what is timed.
    arms : which warms up first, and has the first block.
    launches, jobs : what to start, and what it needs to know.
    share_s : time for sampling of each (s).

    Returns
    -------
    How each ended; an arm that is not there was not asked any more, since the other went wrong.

    Raises
    ------
    Crowded : one of them found no memory, or no device for itself.
    """
    with contextlib.ExitStack() as living:
        workers: dict[Arm, Worker] = {}
        typical_s = 0.0
        for arm in arms:
            workers[arm] = living.enter_context(Worker(launches[arm]))
            # both start at once: what a start takes is nobody's figure here
            workers[arm].send(OPEN, {**jobs[arm], "by_itself": False})
        opened = {arm: workers[arm].ask(OPEN, jobs[arm]) for arm in arms}
        for arm in arms:
            warm = workers[arm].ask(WARM_UP, {**jobs[arm], "budget_s": share_s})
            if warm.result is None:
                found = _wrong(warm if opened[arm].result else opened[arm])
                if is_crowded(found, case):
                    raise Crowded(found.reason)
                return {arm: found}
            typical_s = max(typical_s, warm.result.typical_s)
        # the one that was first has waited while the other warmed up
        rested = workers[arms[0]].ask(REST, jobs[arms[0]])
        workers[arms[1]].ask(REST, jobs[arms[1]])
        spins = bool(rested.result and (rested.result.idle_cores or 0.0) > SPINNING_CORES)
        # as many for both: the first step of a turn is slower than the others, and by time alone the slower version
        # would have fewer of these
        steps = max(1, round(BLOCK_S / typical_s))
        blocks = blocks_of(share_s, typical_s, BLOCK_S, steps)
        job = {"seconds": share_s / blocks, "least": steps, "most": steps}
        for number in range(blocks):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                workers[arm].wake()
                ended = workers[arm].ask(BLOCK, job)
                if ended.result is None:
                    return {arm: _wrong(ended)}
                if spins:
                    workers[arm].sleep()
        finished = {}
        for arm in arms:
            workers[arm].wake()
            finished[arm] = workers[arm].ask(FINISH, jobs[arm])
        return finished


def _wrong(ended: Ended[Any]) -> Ended[MeasureResult]:
    """How something on the way went wrong, as the outcome of it all."""
    told = ended.status, ended.reason, ended.remedy
    return Ended(*told, output=ended.output, wall_s=ended.wall_s, missing=ended.missing)
