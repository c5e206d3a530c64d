"""What comes of training over whole epochs, as a stage."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.tasks import Task
from dlbench.record.schema import Case, Training
from dlbench.worker.measurements import TRAIN


def train(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Trains over whole epochs, where that was asked for."""
    epochs = run.request.epochs
    for case in cases if epochs else ():
        if case.scenario == "train" and Task(Training, case) not in run.held.tasks:
            run.write(results.training(case, epochs, run.work(TRAIN, case, epochs=epochs)))
    return cases
