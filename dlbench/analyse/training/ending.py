"""How one training ended: what a row tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlbench.analyse.statistics import median
from dlbench.record.schema import Case, Training


def ended(case: Case, trainings: Sequence[Training]) -> dict[str, Any]:
    """Fields of a case's outcome by the last of its trainings that went well. Of one that is trained from several seeds
    it is the median accuracy on the test part; the rest is in `dlbench.analyse.training.convergence`."""
    well = [line for line in trainings if line.status == "ok"]
    if not case.has_steps:
        shares = [line.test_accuracy for line in well if line.test_accuracy is not None]
        return {"test_accuracy": median(shares)} if shares else {}
    if not well:
        return {}
    training = well[-1]
    steps = len(training.losses) // max(training.epochs, 1)
    return {
        "final_loss": float(np.mean(training.losses[-steps:])) if steps else None,
        "test_accuracy": training.test_accuracy,
        "epochs": training.epochs,
        "training_s": sum(training.epoch_s) if training.epoch_s else None,
        "validation_accuracy": next(reversed(training.validation_accuracy), None),
    }


def said(line: Training) -> str:
    """Why a training went wrong, with its seed where there are several."""
    return line.reason if line.case.has_steps else f"seed {line.seed}: {line.reason}"
