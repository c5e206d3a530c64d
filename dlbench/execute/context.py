"""What the stages of a run share: what was asked for, what was made for it, who listens, and where the record is."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from dlbench.contract import Device
from dlbench.execute.events import Observer
from dlbench.execute.materialise import Material
from dlbench.execute.oracle_jobs import References
from dlbench.execute.tasks import Held
from dlbench.execute.wall_time import Account
from dlbench.plan.request import Request
from dlbench.record.file import Writer
from dlbench.record.schema import Case, Line
from dlbench.telemetry.watch import Watcher
from dlbench.worker.deadline import PHASE_FACTOR
from dlbench.worker.launch import Successors, Worker, launch_of
from dlbench.worker.measurements import FITS, Job, Measurement
from dlbench.worker.supervisor import Ended

R = TypeVar("R")


def _unheard(number: int, accuracy: float | None, train_s: float) -> None:
    """A job without a case trains nothing."""


@dataclasses.dataclass
class Context:
    """One run.

    Attributes
    ----------
    request, material, references : what was asked for, and what was made for it.
    observer, account : who is told what goes on, and how long it takes.
    writer : takes the lines of the record.
    held : what an earlier part of the run has found out.
    device_of : the device of a case; known once there is a plan.
    watcher : samples devices beside measuring processes; nothing until the plan is known.
    null_timing_ns : what a timing costs, once that is measured.
    looked, living : by backend, the process in which it was looked at and is verified; and what ends these.
    begun : by backend, the case that this process has begun to verify already.
    crowded : by batch size, why the processes of a round do not fit beside each other.
    untrained : cases of which the training went wrong.
    """

    request: Request
    material: Material
    references: References
    observer: Observer
    account: Account
    writer: Writer
    held: Held
    watcher: Watcher = dataclasses.field(default_factory=lambda: Watcher(0.0, lambda case: ""))
    device_of: Callable[[Case], Device] = lambda case: Device(case.device, "")
    null_timing_ns: float | None = None
    looked: dict[str, Worker] = dataclasses.field(default_factory=dict)
    living: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    begun: dict[str, Case] = dataclasses.field(default_factory=dict)
    crowded: dict[int, str] = dataclasses.field(default_factory=dict)
    untrained: set[Case] = dataclasses.field(default_factory=set)

    def write(self, line: Line) -> None:
        """Puts a line into the record at once."""
        self.writer.write(line)
        self.observer.line(line)

    def job(self, case: Case, **options: Any) -> Job:
        """What a worker needs to know to measure something of a case."""
        return self.material.job(case.plan(self.request.seed), **options)

    def start(self, case: Case, budget_s: float = 0.0, epochs: int = 1) -> Worker:
        """A fresh worker for a case, with time for so many seconds of sampling or epochs of training at once."""
        limit_s = self.request.limit_s + 2 * budget_s
        python, phase_s = self.request.pythons.get(case.backend), PHASE_FACTOR * limit_s * epochs
        return Worker(launch_of(case.backend, case.threads, limit_s, python, phase_s))

    def ask(
        self,
        worker: Worker | Successors,
        measurement: Measurement[R],
        job: Job,
        case: Case | None,
        number: int | None = None,
    ) -> Ended[R]:
        """Has a worker measure something of a case, in round `number`."""
        tell = functools.partial(self.observer.phase, case, number)
        on_epoch = functools.partial(self.observer.epoch, case) if case else _unheard
        ended = worker.ask(measurement, job, on_phase=tell, on_epoch=on_epoch)
        self.account.add(measurement, ended.result)
        return ended

    def work(self, measurement: Measurement[R], case: Case, **options: Any) -> Ended[R]:
        """Has a fresh worker measure something of a case."""
        with self.start(case) as worker:
            return self.ask(worker, measurement, self.job(case, **options), case)

    def worker_for(self, case: Case) -> Worker:
        """The process that looked at a case's backend where that is well and fits, else a fresh one in its place."""
        worker = self.looked.get(case.backend)
        if worker is None or not self.fits(worker, case):
            self.end_look(case.backend)
            worker = self.looked[case.backend] = self.living.enter_context(self.start(case))
        return worker

    def fits(self, worker: Worker, case: Case) -> bool:
        """Whether a process in which a backend is imported may go on with a case of it."""
        found = self.ask(worker, FITS, self.job(case), case).result
        return found is not None and found.fits

    def end_look(self, backend: str) -> None:
        """Ends the process in which a backend was looked at, if it still lives."""
        worker = self.looked.pop(backend, None)
        if worker is not None:
            worker.close()

    def workers_without_backend(self) -> Successors:
        """What measures something of the harness or the machine, with the run's threads."""
        return Successors(launch_of(None, self.request.chosen_threads, self.request.limit_s))
