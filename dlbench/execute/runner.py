"""Runs a request from end to end: look, verify, measure in rounds, train, and every fact into the record at once.

Nothing here computes a statistic or prints. A case that fails anywhere has its line with the reason and is
not gone on with; the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Literal

import dlbench
from dlbench import paths
from dlbench.errors import DlbenchError
from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.events import Observer
from dlbench.execute.materialise import Material, load, prepare
from dlbench.execute.oracle_jobs import (
    certain_precisions,
    jobs_of,
    started_references,
    verifies_side_by_side,
)
from dlbench.execute.probe import look_and_stay, look_at
from dlbench.execute.resume import backend_differences, refuse
from dlbench.execute.stages.sequence import STAGES
from dlbench.execute.tasks import Held, held_by, seeds_of, to_run
from dlbench.execute.wall_time import Account
from dlbench.host.scratch import scratch
from dlbench.plan.backend_status import Found
from dlbench.plan.cases import Planned, check, plan
from dlbench.plan.estimate import estimate
from dlbench.plan.request import Request
from dlbench.record import comparability
from dlbench.record.facts import VerifyResult
from dlbench.record.file import Writer
from dlbench.record.header import Given
from dlbench.record.schema import SCHEMA, Case, End, Header, Record, Resumed, Skip
from dlbench.telemetry.energy.meter import check as check_energy
from dlbench.telemetry.log import Refused
from dlbench.telemetry.watch import Watcher
from dlbench.weights.saved import check_places
from dlbench.worker.launch import hide_home
from dlbench.worker.supervisor import Ended

PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Has the threads of OpenMP sleep while they wait for others, so that another process has their cores."""

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
    with _context(request, writer, observer) as context:
        return _carry_out(context, lambda: _plan(context), None)


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
    cases = to_run(record)
    if not cases:
        end = End("complete", 0.0, {}, None)
        for line in (Resumed(_now(), dlbench.__version__), end):
            writer.write(line)
        return end
    check(request)
    with _context(request, writer, observer, held_by(record)) as context:
        refuse(comparability.data(record.header.data, context.material.data))
        began, begins = record.header.weights_digest, context.material.weights_digest
        refuse(comparability.weights(began, begins))
        return _carry_out(context, lambda: _plan_rest(context, record, cases), record)


def plan_run(request: Request, observer: Observer | None = None) -> Planned:
    """The cases of a request, with a rough estimate of the time, without running any.

    Every backend is looked at in a process of its own, which takes seconds.

    Raises
    ------
    UsageError, DataError : as for `run`.
    """
    check(request)
    observer = observer or Observer()
    observer.phase(None, None, "prepare")
    dataset, _ = load(request)
    found = look_at(
        request.chosen_backends,
        threads=request.chosen_threads,
        open_session=False,
        limit_s=request.limit_s,
        pythons=request.pythons,
        on_look=lambda name: observer.phase(None, None, f"look at {name}"),
    )
    return plan(request, found, len(dataset.train))


@contextmanager
def _context(
    request: Request, writer: Writer, observer: Observer | None, held: Held | None = None
) -> Iterator[Context]:
    observer, account = observer or Observer(), Account()
    with started_references(request) as references, _material(request, observer) as material:
        if request.init_weights is not None:
            # what a session that trained is held against begins with them too
            references.want(jobs_of(request, certain_precisions(request), material.weights_file))
        context = Context(request, material, references, observer, account, writer, held or Held())
        with context.living:
            yield context


@contextmanager
def _material(request: Request, observer: Observer) -> Iterator[Material]:
    with scratch() as folder:
        observer.phase(None, None, "prepare")
        yield prepare(
            request,
            folder,
            lambda what: observer.phase(None, None, f"prepare ({what})"),
        )


def _look(run: Context) -> dict[str, Found]:
    """Looks at the backends, in processes that stay for their verification."""
    found: dict[str, Found] = {}
    request = run.request
    looks = look_and_stay(
        tuple(dict.fromkeys(request.chosen_backends)),
        request.chosen_threads,
        False,
        request.limit_s,
        request.pythons,
        run.living,
        lambda name: run.observer.phase(None, None, f"look at {name}"),
        PATIENT if verifies_side_by_side(request) else None,
    )
    with run.account.overlapping():
        for backend, seen, worker in looks:
            found[backend] = seen
            if worker is not None:
                run.looked[backend] = worker
            run.account.add_seconds("import", seen.seconds)
    return found


def _plan(run: Context) -> Planned:
    found = _look(run)
    planned = plan(run.request, found, run.material.training_samples)
    precisions = (case.precision for case in planned.cases if case not in planned.problems)
    run.references.want(jobs_of(run.request, precisions, run.material.weights_file))
    if run.request.save_weights is not None:
        first, count = run.request.seed, run.request.seeds
        trained = [
            (case, seed)
            for case in planned.cases
            if case.learns and case not in planned.problems
            for seed in seeds_of(case, first, count)
        ]
        check_places(run.request.save_weights, trained)
    run.observer.planned(planned.cases, planned.estimate_s)
    return planned


def _plan_rest(run: Context, record: Record, cases: tuple[Case, ...]) -> Planned:
    """The record's cases, and what is known to be wrong with those of which something is missing."""
    found = _look(run)
    refuse(backend_differences(record, cases, found))
    problems = {case: found[case.backend] for case in cases if found[case.backend].status != "ok"}
    estimate_s = estimate(run.request, cases, problems, found, run.material.training_samples)
    run.observer.planned(cases, estimate_s)
    return Planned(record.header.cases, problems, estimate_s, found)


def _carry_out(run: Context, make_plan: Callable[[], Planned], record: Record | None) -> End:
    """Carries a plan out, or what is left of a record's."""
    status: Literal["complete", "interrupted"] = "interrupted"
    begun = False
    try:
        planned = make_plan()
        run.device_of = planned.device_of
        _refuse_without_energy(run.request, planned)
        run.watcher = Watcher(run.request.telemetry_period_s, planned.telemetry_of)
        begun = True
        run.write(Resumed(_now(), dlbench.__version__) if record else _header(run, planned))
        _write_problems(run, planned)
        out = planned.problems.keys()
        cases: Sequence[Case] = [
            case for case in planned.cases if case not in out and not run.held.is_out(case)
        ]
        for stage in STAGES:
            cases = stage(run, cases) if cases else cases
        status = "complete"
    except KeyboardInterrupt:
        pass  # the End line says so, and whoever called tells it
    finally:
        run.watcher.close()
    wall_s = run.account.wall_s()
    end = End(
        status=status,
        wall_s=results.round_s(wall_s),
        seconds=run.account.parts(wall_s),
        null_timing_ns=run.null_timing_ns,
    )
    if begun:
        run.write(end)
    return end


def _refuse_without_energy(request: Request, planned: Planned) -> None:
    """Refuses trainings whose energy was asked for where it cannot be read."""
    for case in planned.cases if request.energy else ():
        if case.trains and case not in planned.problems:
            try:
                check_energy(planned.device_of(case))
            except Refused as refused:
                raise DlbenchError(
                    f"the energy of {case.label} cannot be read: {refused.reason};"
                    " --objective time-to-accuracy needs none"
                ) from None


def _write_problems(run: Context, planned: Planned) -> None:
    """Writes of what cannot run; of a configuration that cannot even be looked at, once."""
    written = set()
    for case, found in planned.problems.items():
        if found.status == "skipped":
            run.write(Skip(case, found.reason, found.remedy))
        elif case.configuration not in written:
            written.add(case.configuration)
            ended: Ended[VerifyResult] = Ended(
                found.status, found.reason, output=found.output, wall_s=found.seconds
            )
            run.write(results.verification(case, ended))


def _header(run: Context, planned: Planned) -> Header:
    request, workload = run.request, run.material.workload
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
        data=run.material.data,
        seed=request.seed,
        rounds=request.all_rounds if request.rounds else 0,
        target_interval=request.target_interval,
        budget_s=request.budget_s * len(planned.cases),
        row_budget_s=request.budget_s,
        baseline=request.baseline,
        machine=request.machine,
        cases=planned.cases,
        epochs=request.epochs,
        target_accuracy=request.target_accuracy,
        seeds=request.seeds if request.converges else 0,
        profile_s=request.profile_s,
        profile_inside=request.profile_inside,
        environments=planned.environments,
        titles=planned.titles,
        patience_s=request.patience_s,
        telemetry_period_s=request.telemetry_period_s,
        best=request.best,
        shard=request.shard,
        node=request.node,
        load=request.load if "server" in request.chosen_scenarios else None,
        weights_digest=run.material.weights_digest,
        given=_given(request),
    )


def _given(request: Request) -> Given:
    file, made = request.suite.path, str(paths.environments_dir())
    ships = file.parent == Path(str(resources.files("dlbench.suites")))
    return Given(
        # one that was made in code has a name alone
        suite=hide_home(str(file)) if file.suffix.lower() == ".toml" and not ships else "",
        data_dir=hide_home(str(request.data_dir or "")),
        init_weights=hide_home(str(request.init_weights or "")),
        # those that dlbench made are found without being named
        pythons=tuple(name for name, path in request.pythons.items() if not path.startswith(made)),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
