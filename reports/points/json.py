"""Points for programs."""

from __future__ import annotations

from typing import Any

import msgspec

from dlbench.tuning.points import Swept, Tried
from dlbench.tuning.search import Tuned


def render(found: Swept | Tuned, *, width: int = 80, colour: bool = False) -> str:
    """One object: times in seconds, accuracies as shares."""
    whole = _swept(found) if isinstance(found, Swept) else _tuned(found)
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _swept(found: Swept) -> dict[str, Any]:
    return {
        "suite": found.suite,
        "fields": found.fields,
        "folder": found.folder,
        "rows": [
            {
                "row": series.label,
                "criterion": series.criterion,
                "points": [_figures(each) | {"place": each.place} for each in series.tried],
            }
            for series in found.series
        ],
    }


def _tuned(found: Tuned) -> dict[str, Any]:
    return {
        "suite": found.suite,
        "row": found.row,
        "objective": found.objective.word,
        "target_accuracy": found.objective.target,
        "fields": found.fields,
        "folder": found.folder,
        "best": None if found.best is None else found.best.number,
        "own": None if found.own is None else found.own.number,
        "trials": [
            {
                "number": each.number,
                "point": each.point,
                "value": each.value,
                "told": each.told,
                "figures": None if each.tried is None else _figures(each.tried),
            }
            for each in found.trials
        ],
    }


def _figures(one: Tried) -> dict[str, Any]:
    interval, test = one.step.interval if one.step else None, one.test_accuracy
    return {
        "point": one.point,
        "case": one.case.label,
        "status": one.status,
        "problem": one.problem,
        "step_s": one.step.value if one.step else None,
        "step_low_s": interval.low if interval else None,
        "step_high_s": interval.high if interval else None,
        "samples_per_s": one.samples_per_s,
        "validation_accuracy": one.validation_accuracy,
        "test_accuracy": test.value if test else None,
        "test_accuracy_low": test.low if test else None,
        "test_accuracy_high": test.high if test else None,
        "epochs": one.training.epochs if one.training else None,
        "training_s": one.training_s,
    }
