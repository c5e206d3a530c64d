"""The stages of a run, in their order: each takes the cases that are well so far, finds something out about them,
writes that down at once, and gives back those that are still well."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from dlbench.analyse.speedup import baseline_or_none
from dlbench.execute import results, side_by_side
from dlbench.execute.context import Context
from dlbench.execute.quiet_machine import Patience
from dlbench.execute.scheduler import Measured, Schedule, Turn, carry_out
from dlbench.execute.side_by_side import is_crowded
from dlbench.execute.tasks import Task
from dlbench.record.facts import VerifyResult
from dlbench.record.schema import Case, Peak, Process, Skip, Training, Verification, covering
from dlbench.worker.measurements import FITS, PEAK, TIMER, TRAIN, VERIFY
from dlbench.worker.supervisor import Ended

R = TypeVar("R")

Stage = Callable[[Context, Sequence[Case]], Sequence[Case]]


def verify(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Holds each configuration against the oracle, once for all of its scenarios, one after the other: frameworks whose
    threads spin at barriers take three times as long beside another."""
    well: list[Case] = []
    for backend in dict.fromkeys(case.backend for case in cases):
        own = [case for case in cases if case.backend == backend]
        for configuration in dict.fromkeys(case.configuration for case in own):
            sharing = [case for case in own if case.configuration == configuration]
            known = Task(Verification, configuration) in run.held.tasks
            well += sharing if known else _right(run, sharing)
        # the next one has the memory and the device for itself
        run.end_look(backend)
    # nothing of the oracle's goes on where something is timed, and nothing else lives there
    for reason in _waited(run, run.references.failures):
        run.observer.message(reason)
    run.living.close()
    return [case for case in cases if case in well]


def _right(run: Context, sharing: Sequence[Case]) -> Sequence[Case]:
    """The cases of a configuration that agree with the oracle. Where training goes wrong, inference is asked by
    itself: nothing that it needs may be."""
    whole = covering(sharing)
    failure = _waited(run, lambda: run.references.failure((whole.batch, whole.precision)))
    ended = failure or _verified(run, whole)
    found = results.verification(whole, ended)
    rest = [case for case in sharing if case.scenario != whole.scenario]
    if found.status != "ok" and rest and failure is None:
        alone = results.verification(rest[0], _verified(run, rest[0]))
        if alone.status == "ok":
            _tell(run, found, ended, [case for case in sharing if case not in rest])
            run.write(alone)
            return rest
    _tell(run, found, ended, sharing)
    return sharing if found.status == "ok" else ()


def _tell(
    run: Context, found: Verification, ended: Ended[VerifyResult], about: Sequence[Case]
) -> None:
    """Writes down what a verification found."""
    if ended.status != "skipped":
        run.write(found)
        return
    for case in about:
        run.write(Skip(case, ended.reason, ended.remedy))


def _waited(run: Context, wait: Callable[[], R]) -> R:
    """What the oracle's work has come to."""
    began_s = time.monotonic()
    run.observer.phase(None, None, "oracle")
    found = wait()
    run.account.add_seconds("verify", time.monotonic() - began_s)
    return found


def _verified(run: Context, case: Case) -> Ended[VerifyResult]:
    """What verification found, in the process that looked at the backend where that is well and fits."""
    worker, job = run.looked.get(case.backend), run.job(case)
    fits = worker and run.ask(worker, FITS, job, case).result
    if worker is None or not (fits and fits.fits):
        run.end_look(case.backend)
        worker = run.looked[case.backend] = run.living.enter_context(run.start(case))
    ended = run.ask(worker, VERIFY, job, case)
    others = [name for name in run.looked if name != case.backend]
    if others and is_crowded(ended, case):
        for name in others:
            run.end_look(name)
        return run.work(VERIFY, case)
    return ended


def measure_overheads(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Measures once what a timing costs, and how fast this machine multiplies matrices."""
    rounds, held = run.request.rounds, run.held
    there = {Task(Process, case, number + 1) for case in cases for number in range(rounds)}
    if held.tasks.issuperset(there):
        return cases
    if held.null_timing_ns is None:
        timer = run.work_without_backend(TIMER)
        if timer.result is None:
            run.observer.message(f"timer overhead unknown: {timer.reason}")
        else:
            run.null_timing_ns = timer.result.null_timing_ns
    threads = run.request.chosen_threads
    if Task(Peak, threads) not in held.tasks:
        peak = run.work_without_backend(PEAK)
        if peak.result is None:
            run.observer.message(f"SGEMM peak unknown: {peak.reason}")
        else:
            run.write(Peak(0, threads, peak.result.flops_per_s))
    return cases


def time_steps(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Times steps in rounds of fresh processes; a case of which one process went wrong is not gone on with."""
    request, held = run.request, run.held
    if not request.rounds or not cases:
        return cases
    rounds, target = request.all_rounds, request.target_interval
    # with a target, half of the time is for the rounds, and half for where they do not suffice
    share_s = round(request.budget_s / (rounds * (2 if target else 1)), 3)
    patience = Patience(request.patience_s, request.chosen_threads, run.observer.message)
    write_wait = functools.partial(results.wait, write=run.write)
    baseline = baseline_or_none(request.baseline, cases)
    schedule = Schedule(cases, baseline, patience, write_wait, held.processes)
    outlook = _Outlook(cases, rounds)

    def measure(turn: Turn) -> Sequence[Measured]:
        began_s = time.monotonic()
        measured = side_by_side.measure(run, share_s, turn)
        left_s = outlook.after(turn, time.monotonic() - began_s)
        if not request.epochs:
            run.observer.time_left(left_s)
        return measured

    try:
        carry_out(schedule.rounds(rounds), measure)
        if target:
            carry_out(schedule.narrow(target, rounds), measure)
    finally:
        run.account.add_waiting(patience.waited_s)
    return schedule.well


class _Outlook:
    """How long the rounds that are left will take, by those that were measured."""

    def __init__(self, cases: Sequence[Case], rounds: int) -> None:
        self._rounds = rounds
        self._left = dict.fromkeys((case.batch for case in cases), rounds)
        self._took_s: dict[int, list[float]] = {}

    def after(self, turn: Turn, took_s: float) -> float:
        """What is left (s) behind a turn; what will have to be measured again is not foreseen."""
        batch = turn.cases[0].batch
        self._left[batch] = max(0, self._rounds - turn.number)
        self._took_s.setdefault(batch, []).append(took_s)
        known = [each for took in self._took_s.values() for each in took]
        return sum(
            left * statistics.fmean(self._took_s.get(each, known))
            for each, left in self._left.items()
        )


def train(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Trains over whole epochs, where that was asked for."""
    epochs = run.request.epochs
    for case in cases if epochs else ():
        if case.scenario == "train" and Task(Training, case) not in run.held.tasks:
            run.write(results.training(case, epochs, run.work(TRAIN, case, epochs=epochs)))
    return cases


STAGES: Sequence[Stage] = (verify, measure_overheads, time_steps, train)
