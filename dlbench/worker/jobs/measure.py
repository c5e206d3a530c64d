"""Times a case in this process, and asks the session afterwards whether it still computes what is right."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, Plan, Session, check_batch
from dlbench.host import interference, process_tree
from dlbench.measure.copies import time_downloads, upload_all
from dlbench.measure.device_events import time_device_steps, time_idle_synchronize
from dlbench.measure.settling import time_settling
from dlbench.measure.timed_steps import time_steps
from dlbench.record.facts import Check, MeasureResult
from dlbench.spec.workload import Weights, Workload
from dlbench.worker.jobs.common import (
    import_adapter,
    initial_of,
    plain,
    versions,
    workload_of,
)
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases


def measure(job: Job, phases: Phases) -> MeasureResult:
    """Times a case, then checks what the timing left behind, unless ``check`` is false."""
    readings, canary_ns = [interference.read()], []
    adapter, info = import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), workload_of(job)
    initial = initial_of(job)
    _start_device(adapter, plan, phases)
    phases.enter("open")
    session = adapter.open(plan, workload, initial)
    phases.opened(plain(session.facts))
    phases.enter("upload")
    with np.load(job["files"]["batches"]) as arrays:
        inputs, targets = list(arrays["inputs"]), list(arrays["targets"])
    for batch in zip(inputs, targets, strict=True):
        check_batch(plan, workload, *batch)
    batches, upload_ns = upload_all(session, inputs, targets)
    checks_after = job.get("check", True)
    # one row of each, another every time
    rows = [(7 * i + 3) % plan.batch for i in range(len(batches))]
    held = [samples[row].copy() for row, samples in zip(rows, inputs, strict=True)]
    del inputs, targets

    def enter(phase: str) -> None:
        phases.enter(phase)
        if phase == "measure":
            canary_ns.append(interference.reference_load_ns())
            readings.append(interference.read())

    times = time_steps(
        session,
        batches,
        job["scenario"],
        initial,
        job["budget_s"],
        on_phase=enter,
        beat=phases.beat,
    )
    readings.append(interference.read())
    canary_ns.append(interference.reference_load_ns())
    # read here, so that neither copies nor checks count
    peak_memory_bytes = process_tree.peak_memory_bytes()
    facts = {**plain(session.facts), **interference.threading_facts()}
    if plan.device != "cpu":
        facts["idle_synchronize_ns"] = time_idle_synchronize(session)
    checks: tuple[Check, ...] = ()
    settling: Check | None = None
    download_ns: tuple[int, ...] = ()
    device_ns: tuple[int, ...] = ()
    if checks_after:
        phases.enter("check")
        seen = list(zip(batches, rows, held, strict=True))
        checks, settling = _checks_after(job, session, plan, workload, initial, seen, phases)
        phases.enter("copy")
        download_ns = time_downloads(session, batches[0], job["scenario"])
        device_ns = time_device_steps(session, batches, job["scenario"], initial)
    readings.append(interference.read())
    before, during, after = itertools.starmap(interference.between, itertools.pairwise(readings))
    return MeasureResult(
        timings_ns=times.timings_ns,
        warmup_ns=times.warmup_ns,
        first_step_ns=times.first_step_ns,
        started_ns=times.started_ns,
        ended_ns=times.ended_ns,
        steady=times.steady,
        upload_ns=upload_ns,
        download_ns=download_ns,
        device_ns=device_ns,
        before=before,
        during=during,
        after=after,
        canary_ns=tuple(canary_ns),
        checks=checks,
        settling=settling,
        facts=facts,
        peak_memory_bytes=peak_memory_bytes,
        seconds=phases.seconds(),
        **versions(info),
    )


def _checks_after(
    job: Job,
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    held: Sequence[tuple[Any, int, npt.NDArray[np.float32]]],
    phases: Phases,
) -> tuple[tuple[Check, ...], Check]:
    """What the timing left behind, held against the oracle, and whether steps were finished when they were
    synchronised; `held` are the timed batches, each with the number and a copy of one of its rows."""
    from dlbench.verify.after_timing import Witness, check_after, check_settled

    with np.load(job["files"]["held_out"]) as arrays:
        held_out = arrays["inputs"], arrays["targets"]
    check_batch(plan, workload, *held_out)
    witnesses = [Witness(*each) for each in held]
    witnesses.append(Witness(session.upload(*held_out), plan.batch - 1, held_out[0][-1]))
    trained = job["scenario"] == "train"
    cache_dir = Path(job["cache_dir"])
    checks = check_after(
        session, plan, workload, initial, trained, witnesses, cache_dir, phases.beat
    )
    settling = time_settling(
        session, held[0][0], lambda: session.upload(*held_out), job["scenario"]
    )
    return checks, check_settled(**dataclasses.asdict(settling))


def _start_device(adapter: AdapterBase, plan: Plan, phases: Phases) -> None:
    """Has the device started apart from the session, where the backend does that."""
    if type(adapter).start is not AdapterBase.start:
        phases.enter("device")
        adapter.start(plan)
