"""What the stages of a run share: what was asked for, what was made for it, who listens, and where the record is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from dlbench.execute.events import Observer
from dlbench.execute.materialise import Material
from dlbench.execute.oracle_jobs import References
from dlbench.execute.tasks import Held
from dlbench.execute.wall_time import Account
from dlbench.plan.request import Request
from dlbench.record.file import Writer
from dlbench.record.schema import Case, Line
from dlbench.telemetry.watch import Watch, Watcher
from dlbench.worker.deadline import PHASE_FACTOR
from dlbench.worker.launch import Launch, launch_of, run_worker
from dlbench.worker.measurements import Measurement
from dlbench.worker.supervisor import Ended

R = TypeVar("R")


@dataclasses.dataclass
class Context:
    """One run.

    Attributes
    ----------
    request, material, references : what was asked for, and what was made for it.
    observer, account : who is told what goes on, and how long it takes.
    writer : takes the lines of the record.
    held : what an earlier part of the run has found out.
    watcher : samples devices beside measuring processes; nothing until the plan is known.
    null_timing_ns : what a timing costs, once that is measured.
    """

    request: Request
    material: Material
    references: References
    observer: Observer
    account: Account
    writer: Writer
    held: Held
    watcher: Watcher = dataclasses.field(default_factory=lambda: Watcher(0.0, lambda case: ""))
    null_timing_ns: float | None = None

    def write(self, line: Line) -> None:
        """Puts a line into the record at once."""
        self.writer.write(line)
        self.observer.line(line)

    def work(
        self,
        measurement: Measurement[R],
        case: Case,
        number: int | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> Ended[R]:
        """Has a fresh worker measure something of a case, in round `number`."""
        limit_s = self.request.limit_s + 2 * options.get("budget_s", 0.0)
        python, phase_s = self.request.pythons.get(case.backend), PHASE_FACTOR * limit_s
        phase_s *= options.get("epochs", 1)
        launch = launch_of(case.backend, case.threads, limit_s, python, phase_s)
        job = self.material.job(case.plan(self.request.seed), **options)
        return self._run(measurement, job, launch, case, number, watch or Watch())

    def work_without_backend(self, measurement: Measurement[R]) -> Ended[R]:
        """Has a fresh worker measure something of the harness or the machine, with the run's threads."""
        launch = launch_of(None, self.request.chosen_threads, self.request.limit_s)
        return self._run(measurement, {}, launch, None, None, Watch())

    def _run(
        self,
        measurement: Measurement[R],
        job: Mapping[str, Any],
        launch: Launch,
        case: Case | None,
        number: int | None,
        watch: Watch,
    ) -> Ended[R]:
        def on_phase(phase: str) -> None:
            watch.phase(phase)
            self.observer.phase(case, number, phase)

        ended = run_worker(measurement, job, launch, on_phase, on_open=watch.opened)
        self.account.add(measurement, ended.result)
        return ended
