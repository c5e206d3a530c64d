"""Timing as stages: what the harness itself costs, and steps in rounds of fresh processes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Mapping, Sequence

from dlbench.analyse.speedup import baseline_or_none
from dlbench.execute import results, side_by_side
from dlbench.execute.context import Context
from dlbench.execute.quiet_machine import Patience
from dlbench.execute.scheduler import Measured, Schedule, Turn, carry_out
from dlbench.execute.tasks import Task
from dlbench.record.schema import Case, Peak, Process
from dlbench.record.shards import own_rounds
from dlbench.worker.measurements import PEAK, TIMER


def measure_overheads(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Measures once what a timing costs, and how fast this machine multiplies matrices."""
    request, held = run.request, run.held
    there = {
        Task(Process, case, number)
        for case in cases
        if case.has_steps
        for number in own_rounds(request.shard, case.batch, request.rounds)
    }
    if held.tasks.issuperset(there):
        return cases
    threads = request.chosen_threads
    with run.workers_without_backend() as workers:
        if held.null_timing_ns is None:
            timer = run.ask(workers, TIMER, {}, None)
            if timer.result is None:
                run.observer.message(f"timer overhead unknown: {timer.reason}")
            else:
                run.null_timing_ns = timer.result.null_timing_ns
        if Task(Peak, threads) not in held.tasks:
            peak = run.ask(workers, PEAK, {}, None)
            if peak.result is None:
                run.observer.message(f"SGEMM peak unknown: {peak.reason}")
            else:
                run.write(Peak(0, threads, peak.result.flops_per_s))
    return cases


def time_steps(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Times steps in rounds of fresh processes; a case of which one process went wrong is not gone on with."""
    if not run.request.rounds:
        return cases
    steps = [case for case in cases if case.has_steps]
    well = _time(run, steps) if steps else ()
    return [case for case in cases if case in well or not case.has_steps]


def _time(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    request, held = run.request, run.held
    rounds, target = request.all_rounds, request.target_interval
    # with a target, half of the time is for the rounds, and half for where they do not suffice
    share_s = round(request.budget_s / (rounds * (2 if target else 1)), 3)
    patience = Patience(request.patience_s, request.chosen_threads, run.observer.message)
    write_wait = functools.partial(results.wait, write=run.write)
    baseline = baseline_or_none(request.baseline, cases)
    schedule = Schedule(cases, baseline, patience, write_wait, held.processes)
    outlook = _Outlook(
        {case.batch: own_rounds(request.shard, case.batch, rounds) for case in cases}
    )

    def measure(turn: Turn) -> Sequence[Measured]:
        began_s = time.monotonic()
        measured = side_by_side.measure(run, share_s, turn)
        left_s = outlook.after(turn, time.monotonic() - began_s)
        if not request.epochs:
            run.observer.time_left(left_s)
        return measured

    try:
        carry_out(schedule.rounds(rounds, request.shard), measure)
        if target:
            carry_out(schedule.narrow(target, rounds), measure)
    finally:
        run.account.add_waiting(patience.waited_s)
    return schedule.well


class _Outlook:
    """How long the rounds that are left will take, by those that were measured."""

    def __init__(self, rounds: Mapping[int, Sequence[int]]) -> None:
        """By batch size, the numbers of the rounds that there are."""
        self._rounds = rounds
        self._left = {batch: len(numbers) for batch, numbers in rounds.items()}
        self._took_s: dict[int, list[float]] = {}

    def after(self, turn: Turn, took_s: float) -> float:
        """What is left (s) behind a turn; what will have to be measured again is not foreseen."""
        batch = turn.cases[0].batch
        self._left[batch] = sum(number > turn.number for number in self._rounds[batch])
        self._took_s.setdefault(batch, []).append(took_s)
        known = [each for took in self._took_s.values() for each in took]
        return sum(
            left * statistics.fmean(self._took_s.get(each, known))
            for each, left in self._left.items()
        )
