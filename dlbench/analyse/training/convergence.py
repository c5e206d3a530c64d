"""How long trainings take to a target: over the seeds of a case, in seconds, steps and epochs.

A training is looked at after each epoch, so it has reached its target after so many whole epochs. The seconds are
those of its steps with their data; what evaluation takes is told apart. A training that has not reached the target
within the epochs that it had is censored: it takes longer than these, and nobody knows by how much. Medians and
intervals that rest on order alone can have such values, means cannot.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import bdtr

from dlbench.analyse.statistics import CONFIDENCE
from dlbench.record.case import Case
from dlbench.record.schema import Record, Training


@dataclasses.dataclass(frozen=True)
class Point:
    """How far a training had come after an epoch.

    Attributes
    ----------
    epoch, steps : how many were over.
    seconds : of these steps with their data, without evaluation.
    accuracy : share of right answers on the validation part then.
    """

    epoch: int
    steps: int
    seconds: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Way:
    """How one training went.

    Attributes
    ----------
    seed : of its weights and batches.
    points : one for each epoch.
    target : the share that was to be reached.
    evaluation_s : what evaluation took besides (s).
    """

    seed: int
    points: tuple[Point, ...]
    target: float
    evaluation_s: float

    @property
    def reached(self) -> Point | None:
        """Where it reached the target first; None where it did not."""
        return next((each for each in self.points if each.accuracy >= self.target), None)


@dataclasses.dataclass(frozen=True)
class Median:
    """The median over seeds, with an interval that rests on order alone; infinite where that is beyond what was
    trained."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Convergence:
    """The trainings of a case.

    Attributes
    ----------
    ways : one for each seed.
    seconds, steps, epochs : to the target, the median over seeds; None where there is no training.
    coverage : how probable it is that the intervals hold the median of all seeds; None of a single one.
    """

    ways: tuple[Way, ...]
    seconds: Median
    steps: Median
    epochs: Median
    coverage: float | None

    @property
    def short(self) -> tuple[Way, ...]:
        """The trainings that did not reach the target."""
        return tuple(way for way in self.ways if way.reached is None)


def converged(record: Record) -> dict[Case, Convergence]:
    """What became of the trainings to a target of a record, by case; of those that went well."""
    target = record.header.target_accuracy
    found: dict[Case, dict[int, Training]] = {}
    for line in record.lines:
        if isinstance(line, Training) and not line.case.has_steps and line.status == "ok":
            found.setdefault(line.case, {})[line.seed or 0] = line
    if target is None:
        return {}
    return {
        case: convergence([way_of(line, target) for _, line in sorted(own.items())])
        for case, own in found.items()
    }


def way_of(line: Training, target: float) -> Way:
    """How a training went."""
    epochs = len(line.validation_accuracy)
    per_epoch = len(line.losses) // max(epochs, 1)
    points = tuple(
        Point(epoch, epoch * per_epoch, spent_s, accuracy)
        for epoch, (accuracy, spent_s) in enumerate(
            zip(line.validation_accuracy, itertools.accumulate(line.epoch_s), strict=True), 1
        )
    )
    return Way(line.seed or 0, points, target, math.fsum(line.evaluation_s))


def convergence(ways: Sequence[Way]) -> Convergence:
    """What several trainings of a case tell together.

    Raises
    ------
    ValueError : no training.
    """
    reached = [way.reached for way in ways]
    rank, coverage = order_bounds(len(ways))

    def middle(of: str) -> Median:
        values = [math.inf if each is None else float(getattr(each, of)) for each in reached]
        return _median(values, rank)

    return Convergence(tuple(ways), middle("seconds"), middle("steps"), middle("epoch"), coverage)


def order_bounds(count: int) -> tuple[int, float | None]:
    """The rank, counted from either end and from 1, of the sorted values between which an interval for the median lies,
    and how probable it is that it holds it: how many values lie below the median is binomial with a half (Conover 1999,
    "Practical Nonparametric Statistics", section 3.2).

    It is the narrowest that holds the median with 95 % at least, and the whole range where so few values never do; None
    of a single value, which has no range.

    Raises
    ------
    ValueError : no value.
    """
    if count < 1:
        raise ValueError("no values have no median")
    if count == 1:
        return 1, None
    covered = 1 - 2 * bdtr(np.arange(count // 2), count, 0.5)
    enough = np.flatnonzero(covered >= CONFIDENCE)
    rank = int(enough[-1]) + 1 if len(enough) else 1
    return rank, float(covered[rank - 1])


def _median(values: Sequence[float], rank: int) -> Median:
    ordered = sorted(values)
    half, odd = divmod(len(ordered), 2)
    # the mean of a number and of what is beyond all is beyond all
    value = ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
    return Median(value, ordered[rank - 1], ordered[-rank])


def as_data(found: Mapping[Case, Convergence]) -> dict[Case, list[dict[str, object]]]:
    """The trainings of each case with their curves, for programs."""
    return {
        case: [
            {
                "seed": way.seed,
                "reached": way.reached is not None,
                "evaluation_s": way.evaluation_s,
                "points": [dataclasses.asdict(point) for point in way.points],
            }
            for way in each.ways
        ]
        for case, each in found.items()
    }
