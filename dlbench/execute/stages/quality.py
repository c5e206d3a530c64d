"""What comes of training over whole epochs, and of its weights in short precisions, as stages."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.tasks import Task, weights_for
from dlbench.record.schema import Answers, Case, Training
from dlbench.worker.measurements import ANSWER, TRAIN


def train(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Trains over whole epochs, where that was asked for."""
    epochs = run.request.epochs
    for case in cases if epochs else ():
        if case.scenario == "train" and Task(Training, case) not in run.held.tasks:
            _train(run, case, tells=True)
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
            _train(run, source, tells=False)
        if weights.exists():
            job = run.job(case)
            job = {**job, "files": {**job["files"], "weights": str(weights)}}
            with run.start(case) as worker:
                ended = run.ask(worker, ANSWER, job, case)
            run.write(results.answers(case, source, ended))
    return cases


def _train(run: Context, case: Case, *, tells: bool) -> None:
    epochs = run.request.epochs
    place = run.material.trained_weights(case)
    target = run.request.target_accuracy
    options = {"epochs": epochs, "target_accuracy": target, "weights_to": str(place)}
    ended = run.work(TRAIN, case, **options)
    found = results.training(case, epochs, ended)
    if found.status != "ok":
        run.untrained.add(case)
        place.unlink(missing_ok=True)
    if tells:
        run.write(found)
