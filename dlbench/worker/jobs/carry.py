"""Answers with the weights that another backend's training ended with."""

from __future__ import annotations

import numpy as np

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.members import open_session
from dlbench.record.trained import CarriedResult
from dlbench.verify.checks.given_weights import check_given
from dlbench.verify.sessions.guard import Guarded
from dlbench.worker.jobs.common import import_adapter, initial_of, versions, workload_of
from dlbench.worker.jobs.train import parts_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases
from dlbench.worker.training import evaluate


def carry(job: Job, phases: Phases) -> CarriedResult:
    """What a session at the weights of a job gives on the test part, and its first logits against the oracle's."""
    adapter, info = import_adapter(job, phases)
    plan, workload, weights = Plan(**job["plan"]), workload_of(job), initial_of(job)
    recipe, test = Recipe.from_table(job["recipe"]), parts_of(job, "test")["test"]
    phases.enter("answer")
    first = np.arange(plan.batch) % len(test.samples)
    batch = recipe.inputs(test.samples[first]), test.targets[first]
    logits = check_given(Guarded(adapter), plan, workload, weights, batch, job["samples"])
    phases.beat()
    session = open_session(adapter, plan, workload, weights)
    found = evaluate(session, plan, workload, recipe, test, phases.beat)
    seconds = phases.take_seconds()
    return CarriedResult(
        logits=logits, answers=found.answers, wrong=found.wrong, seconds=seconds, **versions(info)
    )
