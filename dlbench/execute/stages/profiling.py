"""Where the time of a step goes, as a stage.

The ladders of all rows of a scenario and batch size are open side by side, each in a process of its own, and take turns
round by round: what the machine does to one it does to the others, so that two rows are compared round by round.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.contract import NO_SPANS
from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.ladder_turns import processes_of, take_turns
from dlbench.execute.side_by_side import Crowded, is_crowded, make_sure_of_room
from dlbench.execute.tasks import Task
from dlbench.record.facts import BlockResult, Primitive, ProfileResult, StepSpans
from dlbench.record.schema import Case, Profile
from dlbench.worker.launch import Worker
from dlbench.worker.measurements import FINISH_LADDER, OPEN_LADDER, PRIMITIVES, SPANS, TIME_LADDER
from dlbench.worker.supervisor import Ended


def profile(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Times the ladder of each case, where that was asked for."""
    if not run.request.profile_s:
        return cases
    steps = (case for case in cases if case.has_steps)
    left = [case for case in steps if Task(Profile, case) not in run.held.tasks]
    left.sort(key=_work)
    for _, together in itertools.groupby(left, key=_work):
        crowded = _side_by_side(run, list(together))
        for case in crowded:
            _side_by_side(run, [case])
    return cases


def _work(case: Case) -> tuple[str, int]:
    return case.scenario, case.batch


def _side_by_side(run: Context, cases: Sequence[Case]) -> list[Case]:
    """Times ladders in turns, in one process of each after another, and writes down what they took; the cases that did
    not fit beside the others."""
    crowded: list[Case] = []
    timed: dict[Case, list[Ended[ProfileResult]]] = {case: [] for case in cases}
    for _ in range(processes_of(run.request.profile_s)):
        for case, ended in list(_one_process_each(run, timed)):
            if ended is None:
                crowded.append(case)
                del timed[case]
            elif ended.result is None:
                run.write(results.profile(case, [ended]))
                del timed[case]
            else:
                timed[case].append(ended)
    for case, processes in timed.items():
        offered = any(each.result and each.result.offers_spans for each in processes)
        spans = _spans(run, case) if offered else StepSpans(reason=NO_SPANS)
        run.write(results.profile(case, processes, _primitives(run, case), spans))
    return crowded


def _one_process_each(
    run: Context, timed: Mapping[Case, Sequence[Ended[ProfileResult]]]
) -> Iterator[tuple[Case, Ended[Any] | None]]:
    """How a process of each case ended beside the others'; None where it did not fit."""
    share_s = run.request.profile_s / processes_of(run.request.profile_s)
    open_: dict[Case, Worker] = {}
    with contextlib.ExitStack() as living:
        for case in timed:
            try:
                make_sure_of_room(list(open_.values()))
            except Crowded:
                yield case, None
                continue
            worker = living.enter_context(run.start(case, share_s * len(timed)))
            job = run.job(case, inside=run.request.profile_inside)
            opened = run.ask(worker, OPEN_LADDER, job, case)
            if opened.result is not None:
                worker.sleep()
                open_[case] = worker
            else:
                yield case, None if open_ and is_crowded(opened, case) else opened

        def time_round(case: Case, worker: Worker, number: int) -> Ended[BlockResult]:
            before = sum(len(each.result.round_ended_ns) for each in timed[case] if each.result)
            return run.ask(worker, TIME_LADDER, {}, case, before + number)

        for case, ended in take_turns(open_, share_s * len(open_), time_round).items():
            del open_[case]
            yield case, ended
        for case, worker in open_.items():
            worker.wake()
            yield case, run.ask(worker, FINISH_LADDER, {}, case)
            worker.close()


def _primitives(run: Context, case: Case) -> Sequence[Primitive]:
    """What oneDNN did in a step, where the backend computes by it; none where that could not be asked, since a profile
    is one without it too."""
    found = run.work(PRIMITIVES, case).result if case.on_host else None
    return found.primitives if found else ()


def _spans(run: Context, case: Case) -> StepSpans:
    """What steps say of themselves, where the backend lets them; a profile is one without it too."""
    ended = run.work(SPANS, case)
    return ended.result.spans if ended.result else StepSpans(reason=ended.reason)
