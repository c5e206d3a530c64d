"""Trains over whole epochs and judges what came of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.members import open_session
from dlbench.record.facts import AnswerResult, TrainResult
from dlbench.worker.jobs.common import import_adapter, initial_of, versions, workload_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases
from dlbench.worker.training import Part, evaluate, train


def train_epochs(job: Job, phases: Phases) -> TrainResult:
    """Trains over whole epochs and judges the result on the test part."""
    adapter, info = import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), workload_of(job)
    phases.enter("open")
    session = open_session(adapter, plan, workload, initial_of(job))
    parts = _parts(job, "train", "validation", "test")
    phases.enter("train")
    recipe = Recipe.from_table(job["recipe"])
    trained = train(session, plan, workload, recipe, parts, job["epochs"], phases.beat)
    if "weights_to" in job:
        arrays: dict[str, Any] = dict(session.weights())
        np.savez(job["weights_to"], **arrays)
    return TrainResult(trained=trained, seconds=phases.take_seconds(), **versions(info))


def answer_test(job: Job, phases: Phases) -> AnswerResult:
    """What a session at trained weights answers on the test part."""
    adapter, info = import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), workload_of(job)
    phases.enter("open")
    session = open_session(adapter, plan, workload, initial_of(job))
    part = _parts(job, "test")["test"]
    phases.enter("answer")
    recipe = Recipe.from_table(job["recipe"])
    found = evaluate(session, plan, workload, recipe, part, phases.beat)
    seconds = phases.take_seconds()
    return AnswerResult(answers=found.answers, wrong=found.wrong, seconds=seconds, **versions(info))


def _parts(job: Job, *names: str) -> dict[str, Part]:
    """Parts of the data."""
    with np.load(job["files"]["parts"]) as arrays:
        return {name: Part(arrays[f"{name}_samples"], arrays[f"{name}_targets"]) for name in names}
