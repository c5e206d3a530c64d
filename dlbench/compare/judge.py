"""Judges two sides case by case, with the process as the unit of replication."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import ttest_ind

from dlbench.compare.pytest_benchmark import side_of_pytest_benchmark
from dlbench.compare.records import side_of_record
from dlbench.compare.sides import Measured, Side
from dlbench.errors import DlbenchError, UsageError
from dlbench.record import read_record
from dlbench.stats import CONFIDENCE, Estimate, unpaired_ratio
from dlbench.verdicts import CaseVerdict, Difference, Verdicts, ordered
from dlbench.wording import plural


def read_side(path: Path) -> Side:
    """A dlbench record, or a JSON file of pytest-benchmark.

    Raises
    ------
    UsageError : it is neither.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if _is_one_object(raw):
        return side_of_pytest_benchmark(str(path), raw)
    try:
        return side_of_record(str(path), read_record(path))
    except DlbenchError as error:
        raise UsageError(str(error)) from None


def compare(base: Side, new: Side, threshold: float) -> Verdicts:
    """The verdicts on the cases of two files.

    A case is slower when its 95 % interval (Welch's, over process medians) excludes no difference,
    its estimate exceeds the threshold, and Holm's procedure over all cases leaves it standing; the
    same when the whole interval lies within the threshold; otherwise it is inconclusive.

    Parameters
    ----------
    threshold : the smallest difference that counts, as a share above 0.
    """
    if not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"threshold {threshold} is not a share above 0, like 0.05")
    matched = list(_matched(base.cases, new.cases))
    both = [(old, now) for old, now in matched if old and now]
    measured = [(old, now) for old, now in both if old.processes_s and now.processes_s]
    significant = _holm({now.label: _p_value(old, now) for old, now in measured})
    found = [
        _compared(old, now, threshold, significant)
        if old.processes_s and now.processes_s
        else _one_side(old, now)
        for old, now in both
        if old.processes_s or now.processes_s
    ]
    found += [_one_side(old, now) for old, now in matched if not (old and now)]
    return Verdicts(
        base=base.name,
        new=new.name,
        threshold=threshold,
        cases=ordered([verdict for verdict in found if verdict]),
        differences=(*_unlike(base.facts, new.facts), *_conditions(measured)),
        notes=tuple(_notes(base, new, len(both) - len([f for f in found if f.status]))),
    )
