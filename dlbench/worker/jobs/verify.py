"""Holds a backend against the float64 oracle, whose own results are a job too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlbench.contract import AdapterBase, Plan
from dlbench.record.facts import Check, TimedResult, Verdict, VerifyResult
from dlbench.spec.workload import Workload, initial_weights
from dlbench.worker import import_provenance
from dlbench.worker.jobs.common import (
    extent_of_job,
    import_adapter,
    initial_of,
    plain,
    versions,
    workload_of,
)
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

if TYPE_CHECKING:
    from dlbench.verify.conformance import Backend
    from dlbench.verify.sessions.reuse import Once


def oracle(job: Job, phases: Phases) -> TimedResult:
    """Computes what backends are held against, into the cache: before the timing, and with a ``seed`` of
    initial weights also after it."""
    from dlbench.oracle.network import beating
    from dlbench.oracle.parallel_runs import threads
    from dlbench.verify.checks.probes import prepare_probes
    from dlbench.verify.expected.reference import prepare_reference
    from dlbench.verify.timed.after_timing import prepare_after

    phases.enter("oracle")
    workload, cache_dir, extent = workload_of(job), Path(job["cache_dir"]), extent_of_job(job)
    batch, precision, replicas = job["batch"], job["precision"], job["replicas"]
    if precision == "int8":
        # what backends are held against there begins with what they themselves gave
        return TimedResult(seconds=phases.take_seconds())
    with beating(phases.beat), threads(job.get("threads", 1)):
        part = job.get("part")
        prepare_reference(workload, batch, cache_dir, precision, replicas, extent, part)
        if part != "timed":
            prepare_probes(workload, cache_dir, precision)
        if job["seed"] is not None:
            given = "files" in job
            initial = initial_of(job) if given else initial_weights(workload, job["seed"])
            prepare_after(workload, batch, initial, cache_dir, precision, replicas, extent)
    return TimedResult(seconds=phases.take_seconds())


def verify(job: Job, phases: Phases) -> VerifyResult:
    """Holds a backend against the oracle."""
    from dlbench.verify.check import verify as hold
    from dlbench.verify.sessions.reuse import Once

    once = _verified.setdefault(job["adapter"], Once())
    adapter, info = import_adapter(job, phases)
    phases.enter("verify")
    plan, cache_dir = Plan(**job["plan"]), Path(job["cache_dir"])
    workload, extent = workload_of(job), extent_of_job(job)
    outcome = hold(adapter, plan, workload, cache_dir, phases.beat, once, extent=extent)
    if job.get("has_given_weights") and not outcome.reason and plan.precision != "int8":
        given = _at_given_weights(job, adapter, plan, workload)
        reason = "" if given.passed else given.sentence()
        outcome = dataclasses.replace(outcome, checks=(*outcome.checks, given), reason=reason)
    return VerifyResult(
        checks=outcome.checks,
        ambiguous_branches=outcome.ambiguous_branches,
        facts=plain(outcome.facts),
        reason=outcome.reason,
        loaded=import_provenance.look(job["own"], job["adapter"]) if "own" in job else {},
        seconds=phases.take_seconds(),
        **versions(info),
    )


def _at_given_weights(job: Job, adapter: AdapterBase, plan: Plan, workload: Workload) -> Check:
    """The backend at the weights that the run begins with, on samples that are held out of the training."""
    from dlbench.verify.checks.given_weights import check_given
    from dlbench.verify.sessions.guard import Guarded

    with np.load(job["files"]["held_out"]) as arrays:
        batch = arrays["inputs"], arrays["targets"]
    return check_given(Guarded(adapter), plan, workload, initial_of(job), batch)


def trial(job: Job, phases: Phases) -> Verdict:
    """Holds a backend against the oracle in one trial of its conformance; the trials of a process share sessions."""
    from dlbench.verify.conformance import Backend, Trial, judge

    if job["adapter"] not in _tried:
        _tried[job["adapter"]] = Backend(import_adapter(job, phases)[0])
    phases.enter("verify")
    plan, cache_dir = Plan(**job["plan"]), Path(job["cache_dir"])
    tried = Trial(job["group"], job["name"], workload_of(job), plan.batch)
    return judge(_tried[job["adapter"]], plan, tried, cache_dir)


_verified: dict[str, Once] = {}
_tried: dict[str, Backend] = {}
"""What this process has found out about adapters, by what names them."""
