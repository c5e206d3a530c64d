"""Runs a request from end to end: look, verify, measure in rounds, train, and every fact into the record at once.

Nothing here computes a statistic or prints. A case that fails anywhere has its line with the reason and is
not gone on with; the others are.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import dlbench
from dlbench.execute import results
from dlbench.execute.events import Observer
from dlbench.execute.harness_overhead import Overheads
from dlbench.execute.materialise import Material, prepare
from dlbench.execute.oracle_jobs import Background
from dlbench.execute.probe import look
from dlbench.execute.quiet_machine import Patience
from dlbench.execute.references import started_references
from dlbench.execute.resume import Done, backend_differences, done, missing, refuse
from dlbench.execute.scheduler import Measured, Measuring
from dlbench.execute.wall_time import Account
from dlbench.plan.backend_status import Found
from dlbench.plan.cases import Planned, Request, check, estimate, plan
from dlbench.record import comparability
from dlbench.record.facts import MeasureResult, TimedResult, TrainResult, VerifyResult
from dlbench.record.file import Writer
from dlbench.record.schema import SCHEMA, Case, End, Header, Line, Record, Resumed, Skip
from dlbench.telemetry.watch import Watch, Watcher
from dlbench.worker.deadline import PHASE_FACTOR
from dlbench.worker.launch import Launch, launch_of, run_worker
from dlbench.worker.supervisor import Ended

R = TypeVar("R")

__all__ = ["Observer", "Planned", "Request", "plan_run", "resume", "run"]


def run(request: Request, writer: Writer, observer: Observer | None = None) -> End:
    """Carries out a request.

    Parameters
    ----------
    request : what to run.
    writer : takes the lines, each as soon as it is known.
    observer : told what goes on.

    Returns
    -------
    The record's last line. A KeyboardInterrupt ends the run with status ``interrupted``; what was measured is kept.

    Raises
    ------
    UsageError, DataError : the request cannot be carried out; nothing was written then.
    """
    check(request)
    observer, account = observer or Observer(), Account()
    with started_references(request) as references, _material(request, observer) as material:
        runner = _Runner(request, material, references, observer, account, Done())
        return runner.run(writer, lambda: _plan(request, material, observer, account))


def resume(
    request: Request, record: Record, writer: Writer, observer: Observer | None = None
) -> End:
    """Measures what a record lacks, and nothing else.

    Parameters
    ----------
    request : what the record came from; see `dlbench.execute.resume.request_for`.
    record : what there is already, as it was read from the writer's file.
    writer : appends to that file.
    observer : told what goes on.

    Returns
    -------
    The last line of the part that was added, as for `run`.

    Raises
    ------
    UsageError, DataError : the data or a backend is not what it was; nothing was written then.
    """
    observer, account = observer or Observer(), Account()
    cases = missing(record)
    if not cases:
        end = End("complete", 0.0, {}, None)
        for line in (Resumed(_now(), dlbench.__version__), end):
            writer.write(line)
        return end
    check(request)
    with started_references(request) as references, _material(request, observer) as material:
        refuse(comparability.data(record.header.data, material.data))
        runner = _Runner(request, material, references, observer, account, done(record))
        return runner.run(
            writer, lambda: _plan_rest(request, record, cases, material, observer, account), record
        )


def plan_run(request: Request, observer: Observer | None = None) -> Planned:
    """The cases of a request, with a rough estimate of the time, without running any.

    Every backend is looked at in a process of its own, which takes seconds.

    Raises
    ------
    UsageError, DataError : as for `run`.
    """
    check(request)
    observer = observer or Observer()
    with _material(request, observer) as material:
        return _plan(request, material, observer, Account())


@contextmanager
def _material(request: Request, observer: Observer) -> Iterator[Material]:
    with tempfile.TemporaryDirectory(prefix="dlbench-") as folder:
        observer.phase(None, None, "prepare")
        yield prepare(request, Path(folder))


def _plan(request: Request, material: Material, observer: Observer, account: Account) -> Planned:
    found = _look(request, observer, account)
    planned = plan(request, found, material.training_samples)
    observer.planned(planned.cases, planned.estimate_s)
    return planned


def _plan_rest(
    request: Request,
    record: Record,
    cases: tuple[Case, ...],
    material: Material,
    observer: Observer,
    account: Account,
) -> Planned:
    """The record's cases, and what is known to be wrong with those of which something is missing."""
    found = _look(request, observer, account)
    refuse(backend_differences(record, cases, found))
    problems = {case: found[case.backend] for case in cases if found[case.backend].status != "ok"}
    estimate_s = estimate(request, cases, problems, found, material.training_samples)
    observer.planned(cases, estimate_s)
    return Planned(record.header.cases, problems, estimate_s, found)


def _look(request: Request, observer: Observer, account: Account) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for backend in request.chosen_backends:
        observer.phase(None, None, f"look at {backend}")
        python = request.pythons.get(backend)
        found[backend] = look(backend, request.chosen_threads, False, request.limit_s, python)
        account.add_phases({"import": found[backend].seconds})
    return found


class _Runner:
    """One run."""

    def __init__(
        self,
        request: Request,
        material: Material,
        references: Background[tuple[int, str]],
        observer: Observer,
        account: Account,
        held: Done,
    ) -> None:
        self._request = request
        self._material = material
        self._references = references
        self._observer = observer
        self._account = account
        self._held = held
        self._watcher = Watcher(0.0, lambda case: "")
        self._writer: Writer | None = None
        self._null_timing_ns: float | None = None

    def run(
        self, writer: Writer, make_plan: Callable[[], Planned], record: Record | None = None
    ) -> End:
        """Carries a plan out, or the rest of a record's."""
        status: Literal["complete", "interrupted"] = "interrupted"
        try:
            planned = make_plan()
            self._watcher = Watcher(self._request.telemetry_period_s, planned.telemetry_of)
            self._writer = writer
            self._write(Resumed(_now(), dlbench.__version__) if record else self._header(planned))
            self._write_problems(planned)
            beside = self._held.skipped | planned.problems.keys()
            self._carry_out([case for case in planned.cases if case not in beside])
            status = "complete"
        except KeyboardInterrupt:
            pass  # the End line says so, and whoever called tells it
        finally:
            self._watcher.close()
        wall_s = self._account.wall_s()
        end = End(
            status=status,
            wall_s=results.round_s(wall_s),
            seconds=self._account.parts(wall_s),
            null_timing_ns=self._null_timing_ns,
        )
        if self._writer is not None:
            self._write(end)
        return end

    def _carry_out(self, cases: Sequence[Case]) -> None:
        if not cases:
            return
        verified = self._verify(cases)
        if verified and self._request.rounds:
            if any(self._held.missing_rounds(case, self._request.rounds) for case in verified):
                self._measure_overheads()
            verified = self._measure(verified)
        if self._request.epochs:
            for case in verified:
                if case.scenario == "train" and case not in self._held.trained:
                    self._train(case)

    def _verify(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that were held against the oracle and agreed."""
        # of a batch whose cases are complete, there is neither a reference nor a need for one
        keys = dict.fromkeys((case.batch, case.precision) for case in cases)
        broken = {key: self._await_reference(key) for key in keys if key in self._references}
        verified: list[Case] = []
        for case in cases:
            sharing = [other for other in cases if other.configuration == case.configuration]
            if sharing[0] != case:
                continue
            held = self._held.verified.get(case.configuration)
            if held is not None:
                verified += sharing if held == "ok" else []
                continue
            ended = broken.get((case.batch, case.precision)) or self._work(
                case, None, "verify", VerifyResult
            )
            if ended.status == "skipped":
                for other in sharing:
                    self._write(Skip(other, ended.reason, ended.remedy))
                continue
            verification = results.verification(case, ended)
            self._write(verification)
            if verification.status == "ok":
                verified += sharing
        return [case for case in cases if case in verified]

    def _await_reference(self, key: tuple[int, str]) -> Ended[VerifyResult] | None:
        """Waits for the oracle's results for a batch and precision; how that ended if it went wrong."""
        began = time.monotonic()
        self._observer.phase(None, None, "oracle")
        ended = self._references.result(key)
        self._account.add_phases({"oracle": time.monotonic() - began})
        if ended.status == "ok":
            return None
        reason = f"the float64 oracle could not be computed: {ended.reason}"
        self._observer.message(reason)
        return Ended("failed", reason, output=ended.output)

    def _measure_overheads(self) -> None:
        """What the harness costs, and how fast this machine multiplies matrices."""
        threads, held = self._request.chosen_threads, self._held
        launch = launch_of(None, threads, self._request.limit_s)
        work = functools.partial(self._run, launch=launch, case=None, number=None)
        overheads = Overheads(work, self._write, self._observer.message)
        if held.null_timing_ns is None:
            self._null_timing_ns = overheads.null_timing_ns()
        if threads not in held.peaks:
            overheads.peak(threads)

    def _measure(self, cases: Sequence[Case]) -> list[Case]:
        """The cases of which every process was well."""
        request, held = self._request, self._held
        fair = [case for case in cases if not held.settled(case)]
        # with a target, half of the time is for the rounds, and half for where they do not suffice
        halves = 2 if request.target_interval else 1
        processes = len(cases) * request.all_rounds
        share_s = round(request.budget_s / (processes * halves), 3)

        def measure(case: Case, number: int, attempt: int) -> Measured:
            with self._watcher.beside(case, number, attempt) as watch:
                options = {"scenario": case.scenario, "budget_s": share_s}
                ended = self._work(case, number, "measure", MeasureResult, watch, **options)
            process = results.process(case, number, ended, attempt)
            beside = watch.lines()
            self._write(process)
            for sampled in beside:
                self._write(sampled)
            look = functools.partial(self._watcher.look_at_device, process)
            return Measured(process, beside, look)

        patience = Patience(request.patience_s, request.chosen_threads, self._observer.message)
        write_wait = functools.partial(results.wait, write=self._write)
        measuring = Measuring(measure, patience, write_wait, held.medians_s)
        try:
            well = measuring.rounds(
                fair, request.all_rounds, lambda case, number: (case, number) in held.processes
            )
            if request.target_interval:
                left = processes - held.beyond(request.all_rounds)
                well = measuring.narrow(well, request.target_interval, left, request.all_rounds)
        finally:
            self._account.add_waiting(patience.waited_s)
        return well

    def _train(self, case: Case) -> None:
        ended = self._work(case, None, "train", TrainResult, epochs=self._request.epochs)
        self._write(results.training(case, self._request.epochs, ended))

    def _work(
        self,
        case: Case,
        number: int | None,
        name: str,
        result: type[R],
        watch: Watch | None = None,
        **options: Any,
    ) -> Ended[R]:
        """Has a worker do a job of a case."""
        limit_s = self._request.limit_s + 2 * options.get("budget_s", 0.0)
        python, phase_s = self._request.pythons.get(case.backend), PHASE_FACTOR * limit_s
        phase_s *= options.get("epochs", 1)
        launch = launch_of(case.backend, case.threads, limit_s, python, phase_s)
        job = self._material.job(name, case.plan(self._request.seed), **options)
        return self._run(job, result, watch, launch=launch, case=case, number=number)

    def _run(
        self,
        job: Mapping[str, Any],
        result: type[R],
        watch: Watch | None,
        *,
        launch: Launch,
        case: Case | None,
        number: int | None,
    ) -> Ended[R]:
        watch = watch or Watch()

        def on_phase(phase: str) -> None:
            watch.phase(phase)
            self._observer.phase(case, number, phase)

        ended = run_worker(job, launch, result, on_phase, on_open=watch.opened)
        if isinstance(ended.result, TimedResult):
            self._account.add_phases(ended.result.seconds)
        return ended

    def _write_problems(self, planned: Planned) -> None:
        written = set()
        for case, found in planned.problems.items():
            if found.status == "skipped":
                self._write(Skip(case, found.reason, found.remedy))
            elif case.configuration not in written:
                written.add(case.configuration)
                ended: Ended[VerifyResult] = Ended(
                    found.status, found.reason, output=found.output, wall_s=found.seconds
                )
                self._write(results.verification(case, ended))

    def _write(self, line: Line) -> None:
        assert self._writer is not None
        self._writer.write(line)
        self._observer.line(line)

    def _header(self, planned: Planned) -> Header:
        request, workload = self._request, self._material.workload
        return Header(
            schema=SCHEMA,
            created=_now(),
            dlbench=dlbench.__version__,
            suite=request.suite.name,
            description=request.suite.description,
            workload=workload.to_table(),
            workload_digest=workload.digest,
            parameter_count=workload.parameter_count,
            forward_flops=workload.forward_flops,
            training_flops=workload.training_flops,
            data=self._material.data,
            seed=request.seed,
            rounds=request.all_rounds if request.rounds else 0,
            target_interval=request.target_interval,
            budget_s=request.budget_s,
            machine=request.machine,
            cases=planned.cases,
            epochs=request.epochs,
            environments=planned.environments,
            titles=planned.titles,
            patience_s=request.patience_s,
            telemetry_period_s=request.telemetry_period_s,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
