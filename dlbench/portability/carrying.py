"""Trains a suite a short while on each backend, and runs the weights on every other one.

The weights go through a file as a user's would: written by `dlbench.weights`, and read again from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlbench.errors import DlbenchError
from dlbench.execute.materialise import Material, prepare
from dlbench.execute.probe import look_at
from dlbench.host.scratch import scratch
from dlbench.plan.cases import Planned, check, plan
from dlbench.plan.request import Request
from dlbench.portability.carried import Carried
from dlbench.record.case import Case
from dlbench.record.trained import CarriedResult
from dlbench.spec.workload import Weights
from dlbench.text import why
from dlbench.weights.saved import facts_of
from dlbench.weights.tensors import SUFFIX, read_weights, write_weights
from dlbench.worker.deadline import PHASE_FACTOR
from dlbench.worker.launch import Worker, launch_of
from dlbench.worker.measurements import CARRY, TRAIN
from dlbench.worker.supervisor import Ended

SAMPLES = 16
"""Whose logits are held against the oracle's."""


def carry_all(
    request: Request, steps: int, say: Callable[[str], None] = lambda text: None
) -> tuple[Carried, ...]:
    """Every pair of cases of a request, of which one is trained and one infers.

    Parameters
    ----------
    request : its suite, backends, batch size and data; of one epoch, in which is trained and inferred.
    steps : that each training takes, at the most: no more than an epoch has.
    say : told what goes on.

    Raises
    ------
    UsageError, DataError : the request cannot be carried out.
    """
    check(request)
    with scratch() as folder:
        say("preparing data and weights")
        material = prepare(request, folder)
        found = look_at(
            request.chosen_backends,
            threads=request.chosen_threads,
            open_session=False,
            limit_s=request.limit_s,
            pythons=request.pythons,
            on_look=lambda name: say(f"looking at {name}"),
        )
        planned = plan(request, found, material.training_samples)
        carrying = _Carrying(request, material, folder, planned, steps, say)
        return tuple(carrying.pairs())


@dataclasses.dataclass(frozen=True)
class _Trained:
    """What a training ended with, as workers read it: where its weights lie, and its own answers on the test part."""

    weights: Path
    answers: Path


@dataclasses.dataclass
class _Carrying:
    request: Request
    material: Material
    folder: Path
    planned: Planned
    steps: int
    say: Callable[[str], None]

    def pairs(self) -> Iterator[Carried]:
        problems = {
            case: why(each.reason, each.remedy) for case, each in self.planned.problems.items()
        }
        sources = [case for case in self.planned.cases if case.trains]
        targets = [case for case in self.planned.cases if not case.trains]
        trained: dict[Case, _Trained] = {}
        for case in sources:
            if case not in problems:
                self.say(f"training on {case.label}")
                ended = self._train(case)
                if isinstance(ended, _Trained):
                    trained[case] = ended
                else:
                    problems[case] = ended
        answers: dict[tuple[Case, Case], Ended[CarriedResult]] = {}
        for case in targets:
            if case not in problems:
                self.say(f"running on {case.label}")
                answers |= self._run(
                    case, {of: each for of, each in trained.items() if _comparable(of, case)}
                )
        for source, target in itertools.product(sources, targets):
            if not _comparable(source, target):
                continue
            if reason := problems.get(source) or problems.get(target, ""):
                yield Carried(source, target, reason)
            else:
                yield _pair(source, target, answers[source, target])

    def _train(self, case: Case) -> _Trained | str:
        """What a training ended with, or what went wrong."""
        raw = self.folder / "trained.npz"
        job = self.material.job(
            case.plan(self.request.seed),
            epochs=1,
            target_accuracy=None,
            weights_to=str(raw),
            most_samples=self.steps * case.batch,
        )
        with self._worker(case) as worker:
            ended = worker.ask(TRAIN, job)
        if ended.result is None:
            return ended.reason
        trained = ended.result.trained
        if trained.diverged_at is not None:
            return f"the loss is not finite in step {trained.diverged_at}"
        with np.load(raw) as arrays:
            weights: Weights = dict(arrays)
        number = len(list(self.folder.glob(f"carried-*{SUFFIX}")))
        file = self.folder / f"carried-{number}{SUFFIX}"
        facts = facts_of(
            case,
            workload_digest=self.material.workload.digest,
            steps=len(trained.losses),
            epochs=1,
            seed=self.request.seed,
            began_with=self.material.weights_digest,
        )
        try:
            write_weights(file, weights, facts)
            again = read_weights(file, self.material.workload)
        except DlbenchError as error:
            return str(error).replace(str(file), "its file")
        place = file.with_suffix(".npz")
        read: dict[str, Any] = dict(again)
        np.savez(place, **read)
        answers = file.with_suffix(".npy")
        np.save(answers, np.array(trained.answers, np.int64))
        return _Trained(place, answers)

    def _run(
        self, case: Case, trained: Mapping[Case, _Trained]
    ) -> dict[tuple[Case, Case], Ended[CarriedResult]]:
        """What a case gives at each of these weights, one after the other in a process; a fresh one where one ends."""
        found = {}
        with contextlib.ExitStack() as living:
            worker: Worker | None = None
            for source, ended_with in trained.items():
                worker = worker or living.enter_context(self._worker(case))
                job = self.material.job(case.plan(self.request.seed), samples=SAMPLES)
                given = {
                    "weights": str(ended_with.weights),
                    "trained_answers": str(ended_with.answers),
                }
                job = {**job, "files": job["files"] | given}
                ended = found[source, case] = worker.ask(CARRY, job)
                if ended.result is None:
                    worker = None
        return found

    def _worker(self, case: Case) -> Worker:
        limit_s = self.request.limit_s
        python = self.request.pythons.get(case.backend)
        return Worker(
            launch_of(case.backend, case.threads, limit_s, python, PHASE_FACTOR * limit_s)
        )


def _comparable(one: Case, other: Case) -> bool:
    """Whether two cases should give the same: other arithmetic gives other answers."""
    return (one.precision, one.batch) == (other.precision, other.batch)


def _pair(source: Case, target: Case, ended: Ended[CarriedResult]) -> Carried:
    result = ended.result
    if result is None:
        return Carried(source, target, ended.reason)
    if not result.answers:
        return Carried(source, target, "", result.logits)
    accuracy = 1 - len(result.wrong) / len(result.answers)
    near = len(result.near_ties)
    return Carried(source, target, "", result.logits, accuracy, len(result.others) - near, near)
