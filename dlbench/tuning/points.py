"""What was found at many points: each row's figures, which point is best, and what cannot be told apart from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from dlbench.analyse.modes.accuracy import Share, paired_difference, wilson
from dlbench.analyse.outcomes import Outcome, outcomes
from dlbench.analyse.statistics import Estimate, case_estimate, median, unpaired_ratio
from dlbench.record.case import Case
from dlbench.record.schema import Record, Status, Training
from dlbench.tuning.space import Point

Criterion = Literal["accuracy", "throughput"]
Place = Literal["best", "not apart", "behind", "no figure"]


@dataclasses.dataclass(frozen=True)
class Tried:
    """A row at one point.

    Attributes
    ----------
    point, case : where, and which row.
    status, problem : as of any row; a row that was disturbed while it was timed has a problem too.
    step : its step (s), where it was timed. per_sample_s : by process, a sample of it (s).
    training : what came of its training, where it was trained.
    place : whether it is the best of its row's points, cannot be told apart from that at 95 %, or is behind it.
    """

    point: Point
    case: Case
    status: Status
    problem: str
    step: Estimate | None
    per_sample_s: tuple[float, ...]
    training: Training | None
    place: Place = "no figure"

    @property
    def samples_per_s(self) -> float | None:
        """Samples a second."""
        return 1 / median(self.per_sample_s) if self.per_sample_s else None

    @property
    def test_accuracy(self) -> Share | None:
        """The share of right answers on the test part, with its interval."""
        if self.training is None or not self.training.answers:
            return None
        total = len(self.training.answers)
        return wilson(total - len(self.training.wrong), total)

    @property
    def validation_accuracy(self) -> float | None:
        """The share of right answers on the validation part at the end, by which points are chosen."""
        if self.training is None:
            return None
        return next(reversed(self.training.validation_accuracy), None)

    @property
    def training_s(self) -> float | None:
        """The time of its training's steps, with their data (s)."""
        return sum(self.training.epoch_s) if self.training and self.training.epoch_s else None


@dataclasses.dataclass(frozen=True)
class Series:
    """A row at all points: which, by what the best was chosen, and what was found."""

    label: str
    criterion: Criterion
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried | None:
        """The best of its points; None where none has a figure."""
        return next((each for each in self.tried if each.place == "best"), None)


@dataclasses.dataclass(frozen=True)
class Swept:
    """A suite at many points: what was varied, in which folder the records are, and the rows."""

    suite: str
    fields: tuple[str, ...]
    folder: str
    series: tuple[Series, ...]


def series_of(records: Iterable[tuple[Point, Record]], fields: Sequence[str]) -> tuple[Series, ...]:
    """What records of points say, row by row."""
    rows: dict[str, list[Tried]] = {}
    for point, record in records:
        trained = {line.case: line for line in record.lines if isinstance(line, Training)}
        for outcome in outcomes(record):
            one = _tried(point, outcome, trained)
            rows.setdefault(_label(outcome.case, fields), []).append(one)
    return tuple(_judged(label, tried) for label, tried in rows.items())


def _label(case: Case, fields: Sequence[str]) -> str:
    name = f"{case.backend}:{case.device}"
    more = [case.mode] if case.mode and "mode" not in fields else []
    more += [case.precision] if case.precision != "fp32" and "precision" not in fields else []
    return "/".join([name, *more, case.scenario])


def _tried(point: Point, outcome: Outcome, trained: Mapping[Case, Training]) -> Tried:
    case, training = outcome.case, trained.get(outcome.case)
    times, well = tuple(outcome.medians_s.values()), outcome.status == "ok"
    problem = outcome.problem
    if well and training is not None:
        # that it was not timed besides is no problem
        problem = training.reason
    if not problem and outcome.disturbed:
        problem = f"disturbed while timed: {outcome.disturbance}"
    return Tried(
        point=point,
        case=case,
        status=outcome.status,
        problem=problem,
        step=case_estimate(times) if times else None,
        per_sample_s=tuple(each / case.batch for each in times),
        training=training if well and training is not None and training.status == "ok" else None,
    )


def _judged(label: str, tried: Sequence[Tried]) -> Series:
    criterion: Criterion = "throughput"
    if any(each.validation_accuracy is not None for each in tried):
        criterion = "accuracy"
    able = [each for each in tried if _merit(each, criterion) is not None]
    if not able:
        return Series(label, criterion, tuple(tried))
    best = max(able, key=lambda each: _merit(each, criterion) or 0.0)
    return Series(
        label,
        criterion,
        tuple(dataclasses.replace(each, place=_place(each, best, criterion)) for each in tried),
    )


def _merit(one: Tried, criterion: Criterion) -> float | None:
    """What is the larger the better; None where it has no figure, or one that nothing may rest on."""
    if criterion == "accuracy":
        return one.validation_accuracy
    return None if one.problem else one.samples_per_s


def _place(one: Tried, best: Tried, criterion: Criterion) -> Place:
    if one is best:
        return "best"
    if _merit(one, criterion) is None:
        return "no figure"
    return "behind" if _differs(one, best, criterion) else "not apart"


def _differs(one: Tried, best: Tried, criterion: Criterion) -> bool:
    """Whether chance alone would make two points differ as much at most one time in twenty."""
    if criterion == "throughput":
        interval = unpaired_ratio(one.per_sample_s, best.per_sample_s).interval
        return interval is not None and interval.excludes(1.0)
    mine, other = one.training, best.training
    assert mine is not None
    assert other is not None
    if not mine.answers or len(mine.answers) != len(other.answers):
        return False
    away = paired_difference(mine.wrong, other.wrong, len(mine.answers))
    return not away.low <= 0.0 <= away.high
