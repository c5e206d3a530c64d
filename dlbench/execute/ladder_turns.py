"""Has ladders take turns round by round, all having as many rounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from dlbench.execute import results
from dlbench.record.facts import ProfileResult
from dlbench.record.schema import Case, Profile
from dlbench.worker.launch import Launch, Worker
from dlbench.worker.measurements import FINISH_LADDER, OPEN_LADDER, TIME_LADDER, Job
from dlbench.worker.supervisor import Ended

Key = TypeVar("Key", bound=Hashable)

LADDER_S = 9.0
"""Time for a ladder, if `MOST_ROUNDS` take as long; where there is more, further processes have as much each, since
those of the same code differ, and more rounds in one do not help with that."""
LEAST_ROUNDS, MOST_ROUNDS = 8, 20
"""With fewer, Student's intervals are wide for their number; more would take longer than they narrow."""


def processes_of(budget_s: float) -> int:
    """In how many processes, one after the other, a ladder is timed for `budget_s` seconds."""
    return max(1, round(budget_s / LADDER_S))


def take_turns(
    workers: Mapping[Key, Worker],
    budget_s: float,
    ask: Callable[[Key, Worker, int], Ended[Any]] = lambda key, worker, number: worker.ask(
        TIME_LADDER, {}
    ),
) -> dict[Key, Ended[Any]]:
    """Times rounds for `budget_s` seconds in all; every other round goes through the ladders backwards.

    Parameters
    ----------
    workers : those that have opened a ladder, asleep.
    ask : has a worker time the round of that number.

    Returns
    -------
    How those ended that went wrong on the way; the others are asleep again.
    """
    living, wrong = dict(workers), {}
    end_s = time.monotonic() + budget_s
    for number in range(1, MOST_ROUNDS + 1):
        for key in list(living)[:: 1 if number % 2 else -1]:
            living[key].wake()
            ended = ask(key, living[key], number)
            if ended.result is None:
                del living[key]
                wrong[key] = ended
            else:
                living[key].sleep()
        if not living or (number >= LEAST_ROUNDS and time.monotonic() > end_s):
            break
    return wrong


def profile(
    case: Case, launches: Mapping[Key, Launch], jobs: Mapping[Key, Job], budget_s: float = LADDER_S
) -> dict[Key, Profile]:
    """Profiles one case in several environments in turns, `budget_s` seconds each. Where that goes wrong in one, only
    what went wrong is told."""
    processes = processes_of(budget_s)
    timed: dict[Key, list[Ended[ProfileResult]]] = {key: [] for key in launches}
    for _ in range(processes):
        ended = _one_process_each(launches, jobs, budget_s / processes)
        wrong = {key: each for key, each in ended.items() if each.result is None}
        if wrong:
            return {key: results.profile(case, [each]) for key, each in wrong.items()}
        for key, each in ended.items():
            timed[key].append(each)
    return {key: results.profile(case, each) for key, each in timed.items()}


def _one_process_each(
    launches: Mapping[Key, Launch], jobs: Mapping[Key, Job], budget_s: float
) -> dict[Key, Ended[Any]]:
    """How a process of each ended; what went wrong alone, where something did."""
    workers: dict[Key, Worker] = {}
    with contextlib.ExitStack() as living:
        for key, launch in launches.items():
            workers[key] = living.enter_context(Worker(launch))
            opened = workers[key].ask(OPEN_LADDER, jobs[key])
            if opened.result is None:
                return {key: opened}
            workers[key].sleep()
        wrong = take_turns(workers, budget_s * len(workers))
        if wrong:
            return wrong
        found = {}
        for key, worker in workers.items():
            worker.wake()
            found[key] = worker.ask(FINISH_LADDER, {})
        return found
