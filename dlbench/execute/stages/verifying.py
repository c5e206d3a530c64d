"""Verification as a stage: each configuration is held against the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.oracle_jobs import key_of, verifies_side_by_side
from dlbench.execute.side_by_side import is_crowded
from dlbench.execute.tasks import Task
from dlbench.record.facts import FirstSteps, VerifyResult
from dlbench.record.schema import Case, Configuration, Skip, Verification
from dlbench.record.sharing import covering
from dlbench.worker.measurements import FIRST, VERIFY, Job
from dlbench.worker.supervisor import Ended

R = TypeVar("R")

FIRST_S, FIRST_SHARE = 0.3, 0.05
"""How long the first steps of a scenario are taken, at most, and as a share of the time for sampling."""
_FIRST = ("infer", "train")
"""Scenarios of which some steps tell what their rows are about, in this order."""


def verify(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Holds each configuration against the oracle, once for all of its scenarios. One after the other: frameworks whose
    threads spin at barriers take three times as long beside another. Backends beside each other, one more than there
    are cores, where `verifies_side_by_side` says so, for which they are told not to spin."""
    well: list[Case] = []
    backends = list(dict.fromkeys(case.backend for case in cases))
    most = max(1, run.request.machine.usable_cores)
    with run.account.overlapping():
        for place, backend in enumerate(backends, 1):
            beside = [case for case in cases if case.backend in backends[place : place + most]]
            for sharing in _configurations(case for case in cases if case.backend == backend):
                known = Task(Verification, sharing[0].configuration) in run.held.tasks
                well += sharing if known else right(run, sharing, beside)
            # the next one has the memory and the device for itself
            run.end_look(backend)
    # nothing of the oracle's goes on where something is timed, and nothing else lives there
    for reason in waited(run, run.references.failures):
        run.observer.message(reason)
    run.living.close()
    return [case for case in cases if case in well]


def _configurations(cases: Iterable[Case]) -> list[list[Case]]:
    """The cases of each configuration."""
    found: dict[Configuration, list[Case]] = {}
    for case in cases:
        found.setdefault(case.configuration, []).append(case)
    return list(found.values())


def _begin(run: Context, case: Case, beside: Iterable[Case]) -> None:
    """Has the first configuration of other backends begun that are to be verified `beside` a case, where that can be
    done."""
    if not (case.on_host and verifies_side_by_side(run.request)):
        return
    for sharing in _configurations(beside):
        whole = covering(sharing)
        key = key_of(whole, run.request.suite.workload)
        if (
            whole.on_host
            and whole.backend not in run.begun
            and Task(Verification, whole.configuration) not in run.held.tasks
            and run.references.is_known(key)
            and run.references.failure(key) is None
        ):
            run.worker_for(whole).send(VERIFY, _job(run, whole))
            run.begun[whole.backend] = whole


def right(run: Context, sharing: Sequence[Case], beside: Sequence[Case] = ()) -> Sequence[Case]:
    """The cases of a configuration that agree with the oracle. Where training goes wrong, inference is asked by
    itself: nothing that it needs may be. Those `beside` are of backends that may be verified meanwhile."""
    whole = covering(sharing)
    key = key_of(whole, run.request.suite.workload)
    failure = waited(run, lambda: run.references.failure(key))
    ended = failure or _verified(run, whole, beside)
    found = results.verification(whole, ended)
    rest = [case for case in sharing if case.step != whole.step]
    if found.status != "ok" and rest and failure is None:
        alone = results.verification(rest[0], _verified(run, rest[0]))
        if alone.status == "ok":
            _tell(run, found, ended, [case for case in sharing if case not in rest])
            run.write(alone)
            return rest
    if found.status == "ok":
        found = msgspec.structs.replace(found, first_steps=_first_steps(run, whole, sharing))
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


def _first_steps(run: Context, case: Case, sharing: Sequence[Case]) -> dict[str, FirstSteps]:
    """Some steps of each scenario, by the process that has just verified it, so that who waits sees figures soon; none
    where nothing will be timed, or trials have told already."""
    request, worker = run.request, run.looked.get(case.backend)
    scenarios = [each for each in _FIRST if each in {other.scenario for other in sharing}]
    if worker is None or not scenarios or not request.rounds or request.best:
        return {}
    if case.input != "resident":
        return {}
    seconds = min(FIRST_S, FIRST_SHARE * request.budget_s)
    ended = run.ask(worker, FIRST, run.job(case, scenarios=scenarios, seconds=seconds), case)
    return ended.result.steps if ended.result else {}


def waited(run: Context, wait: Callable[[], R]) -> R:
    """What the oracle's work has come to."""
    began_s = time.monotonic()
    run.observer.phase(None, None, "oracle")
    found = wait()
    run.account.add_seconds("verify", time.monotonic() - began_s)
    return found


def _verified(run: Context, case: Case, beside: Sequence[Case] = ()) -> Ended[VerifyResult]:
    """What verification found, in the process that looked at the backend where that is well and fits."""
    job, is_begun = _job(run, case), run.begun.pop(case.backend, None) == case
    worker = (run.looked.get(case.backend) if is_begun else None) or run.worker_for(case)
    _begin(run, case, beside)
    ended = run.ask(worker, VERIFY, job, case)
    others = [name for name in run.looked if name != case.backend]
    if others and is_crowded(ended, case):
        for name in others:
            run.end_look(name)
        return run.work(VERIFY, case, has_given_weights=job["has_given_weights"])
    return ended


def _job(run: Context, case: Case) -> Job:
    """What is asked of a worker that verifies a case."""
    return run.job(case, has_given_weights=run.request.init_weights is not None)
