"""What comes of training over whole epochs, and of its weights in short precisions, as stages."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlbench.errors import DlbenchError
from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.tasks import Task, seeds_of, training_task, weights_for
from dlbench.record.schema import Answers, Case, Training
from dlbench.spec.workload import Weights
from dlbench.telemetry.energy.meter import metering
from dlbench.weights.saved import facts_of, place_of
from dlbench.weights.tensors import write_weights
from dlbench.worker.measurements import ANSWER, TRAIN


def train(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Trains over whole epochs, where that was asked for: from one seed after the other, so that what a machine does in
    the long run is shared by all rows."""
    request = run.request
    trained = [case for case in cases if case.learns and request.epochs]
    for seed in range(request.seed, request.seed + request.seeds):
        for case in trained:
            own = seed in seeds_of(case, request.seed, request.seeds)
            if own and training_task(case, seed) not in run.held.tasks:
                _train(run, case, seed, tells=True)
    return cases


def answer(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Has each case that infers in a short precision answer the test part at float32's trained weights."""
    for case in cases if run.request.epochs else ():
        source = weights_for(case, cases)
        if source is None or Task(Answers, case) in run.held.tasks:
            continue
        weights = run.material.trained_weights(source)
        if not weights.exists() and source not in run.untrained:
            # trained by an earlier part of the run, which left no weights
            _train(run, source, run.request.seed, tells=False)
        if weights.exists():
            job = run.job(case)
            job = {**job, "files": {**job["files"], "weights": str(weights)}}
            with run.start(case) as worker:
                ended = run.ask(worker, ANSWER, job, case)
            run.write(results.answers(case, source, ended))
    return cases


def _train(run: Context, case: Case, seed: int, *, tells: bool) -> None:
    epochs = run.request.epochs
    place = run.material.trained_weights(case)
    job = run.material.job(
        case.plan(seed),
        epochs=epochs,
        target_accuracy=run.request.target_accuracy,
        weights_to=str(place),
    )
    job["files"]["weights"] = str(run.material.weights_from(seed))
    beside = metering(run.device_of(case)) if run.request.energy else contextlib.nullcontext()
    with beside as meter, run.start(case, epochs=epochs) as worker:
        ended = run.ask(worker, TRAIN, job, case)
    found = results.training(case, epochs, seed, ended, meter)
    if found.status != "ok":
        run.untrained.add(case)
        place.unlink(missing_ok=True)
    if tells:
        if found.status == "ok" and run.request.save_weights is not None:
            _save(run, found, seed, run.request.save_weights)
        run.write(found)


def _save(run: Context, trained: Training, seed: int, place: Path) -> None:
    """Writes the weights that a training ended with to where they are wanted."""
    with np.load(run.material.trained_weights(trained.case)) as arrays:
        weights: Weights = dict(arrays)
    file = place_of(place, trained.case, seed)
    facts = facts_of(
        trained.case,
        workload_digest=run.material.workload.digest,
        steps=len(trained.losses),
        epochs=trained.epochs,
        seed=seed,
        began_with=run.material.weights_digest,
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_weights(file, weights, facts)
        run.observer.message(f"weights of {trained.case.label}: {file}")
    except (OSError, DlbenchError) as error:
        # what was measured is worth keeping all the same
        run.observer.message(f"the weights of {trained.case.label} are not saved: {error}")
