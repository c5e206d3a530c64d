"""Answers with the weights that another backend's training ended with."""

from __future__ import annotations

import numpy as np

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.members import open_session
from dlbench.record.trained import CarriedResult
from dlbench.verify.checks.given_weights import check_given, expected_logits
from dlbench.verify.checks.near_ties import near_ties
from dlbench.verify.sessions.guard import Guarded
from dlbench.worker.jobs.common import import_adapter, initial_of, versions, workload_of
from dlbench.worker.jobs.train import parts_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases
from dlbench.worker.training import judge, outputs_on


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
    outputs = outputs_on(session, plan, workload, recipe, test, phases.beat)
    found = judge(workload, outputs, test.targets)
    answers, others = np.array(found.answers, np.int64), np.load(job["files"]["trained_answers"])
    near = near_ties(
        outputs,
        answers,
        others,
        lambda rows: expected_logits(plan, workload, weights, recipe.inputs(test.samples[rows])),
    )
    return CarriedResult(
        logits=logits,
        answers=found.answers,
        wrong=found.wrong,
        others=tuple(np.flatnonzero(answers != others).tolist()),
        near_ties=tuple(near.tolist()),
        seconds=phases.take_seconds(),
        **versions(info),
    )
