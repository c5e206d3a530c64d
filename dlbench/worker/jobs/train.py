"""Trains over whole epochs and judges what came of it."""

from __future__ import annotations

import numpy as np

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.members import open_session
from dlbench.record.facts import TrainResult
from dlbench.worker.jobs.common import import_adapter, initial_of, versions, workload_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases
from dlbench.worker.training import Part, train


def train_epochs(job: Job, phases: Phases) -> TrainResult:
    """Trains over whole epochs and judges the result on the test part."""
    adapter, info = import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), workload_of(job)
    phases.enter("open")
    session = open_session(adapter, plan, workload, initial_of(job))
    with np.load(job["files"]["parts"]) as arrays:
        parts = {
            name: Part(arrays[f"{name}_samples"], arrays[f"{name}_targets"])
            for name in ("train", "validation", "test")
        }
    phases.enter("train")
    recipe = Recipe.from_table(job["recipe"])
    trained = train(session, plan, workload, recipe, parts, job["epochs"], phases.beat)
    return TrainResult(trained=trained, seconds=phases.take_seconds(), **versions(info))
