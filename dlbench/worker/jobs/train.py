"""Trains over whole epochs and judges what came of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.members import open_session
from dlbench.oracle.integers import calibrate
from dlbench.record.trained import AnswerResult, TrainResult
from dlbench.spec.quantization import SAMPLES
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
    parts = parts_of(job, "train", "validation", "test")
    if most := job.get("most_samples"):
        whole = parts["train"]
        parts["train"] = Part(whole.samples[:most], whole.targets[:most])
    phases.enter("train")
    recipe = Recipe.from_table(job["recipe"])
    trained = train(
        *(session, plan, workload, recipe, parts, job["epochs"], phases.beat),
        target_accuracy=job["target_accuracy"],
        on_epoch=phases.epoch,
    )
    if "weights_to" in job:
        arrays: dict[str, Any] = dict(session.weights())
        np.savez(job["weights_to"], **arrays)
    return TrainResult(trained=trained, seconds=phases.take_seconds(), **versions(info))


def answer_test(job: Job, phases: Phases) -> AnswerResult:
    """What a session at trained weights answers on the test part."""
    adapter, info = import_adapter(job, phases)
    plan, workload, weights = Plan(**job["plan"]), workload_of(job), initial_of(job)
    recipe, parts = Recipe.from_table(job["recipe"]), parts_of(job, "train", "test")
    phases.enter("open")
    if plan.precision == "int8":
        # the scales of activations belong to the weights
        workload = calibrate(workload, weights, recipe.inputs(parts["train"].samples[:SAMPLES]))
    session = open_session(adapter, plan, workload, weights)
    phases.enter("answer")
    found = evaluate(session, plan, workload, recipe, parts["test"], phases.beat)
    seconds = phases.take_seconds()
    return AnswerResult(
        answers=found.answers,
        wrong=found.wrong,
        true_classes=found.true_classes,
        seconds=seconds,
        **versions(info),
    )


def parts_of(job: Job, *names: str) -> dict[str, Part]:
    """Parts of the data."""
    with np.load(job["files"]["parts"]) as arrays:
        return {name: Part(arrays[f"{name}_samples"], arrays[f"{name}_targets"]) for name in names}
