"""What a precision costs in quality: accuracies with their intervals, and how far they are from float32's.

An accuracy is the share of right answers among the test samples, so its interval is a binomial one. Two precisions
answered the same samples, so their difference is that of paired shares: only the samples count on which one is right
and the other wrong. These intervals are about test samples and not about trainings: of each precision there is one
training, and another seed would give another accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from dlbench.analyse.columns import ACCURACY, Column, Row, interval
from dlbench.analyse.statistics import CONFIDENCE
from dlbench.record.baseline import plain_of
from dlbench.record.case import Case
from dlbench.record.schema import Answers, Record, Training

_Line = TypeVar("_Line", Training, Answers)


class Share(NamedTuple):
    """A share, or a difference of two, with the interval at `CONFIDENCE`."""

    value: float
    low: float
    high: float


def wilson(count: int, total: int) -> Share:
    """The share `count` / `total` with Wilson's score interval, which holds near 0 and 1 too (Wilson 1927, "Probable
    inference, the law of succession, and statistical inference")."""
    # it takes a second to import, and few reports need it
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    share = count / total
    # the interval holds the share, whatever rounding does
    return Share(
        share, max(0.0, min(share, float(found.low))), min(1.0, max(share, float(found.high)))
    )


def paired_difference(wrong: Collection[int], other_wrong: Collection[int], total: int) -> Share:
    """How much larger the share of right answers is than another's on the same samples, by the samples that each got
    wrong; with the interval of Newcombe's method 10 (Newcombe 1998, "Improved confidence intervals for the difference
    between binomial proportions based on paired data")."""
    own, other = set(wrong), set(other_wrong)
    both_wrong, only_other, only_own = len(own & other), len(other - own), len(own - other)
    both_right = total - both_wrong - only_other - only_own
    first, second = wilson(total - len(own), total), wilson(total - len(other), total)
    difference = (only_other - only_own) / total
    agreement = float(both_right * both_wrong - only_other * only_own)
    spread = len(own) * len(other) * (total - len(own)) * (total - len(other))
    if agreement > 0:
        # corrected for continuity
        agreement = max(agreement - total / 2, 0)
    phi = agreement / math.sqrt(spread) if spread else 0.0

    def away(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))

    low = difference - away(first.value - first.low, second.high - second.value)
    high = difference + away(first.high - first.value, second.value - second.low)
    return Share(difference, low, high)


def _percent(value: float, digits: int, signed: bool) -> str:
    return f"{100 * value:{'+' if signed else ''}.{digits}f}"


def _shown(name: str, signed: bool = False) -> Column:
    def text(value: float | None, low: float | None = None, high: float | None = None) -> str:
        if value is None:
            return ""
        told = f"{_percent(value, 2, signed)} %"
        if low is None or high is None:
            return told
        return f"{told} [{_percent(low, 2, signed)}, {_percent(high, 2, signed)}]"

    titles = {
        "accuracy": "accuracy",
        "accuracy_change": "from fp32",
        "changed_answers": "answers changed",
    }
    show = interval(text, name, f"{name}_low", f"{name}_high")
    return Column(
        name, "float64", None, (ACCURACY,), titles[name], show=show, right=False, priority=90
    )


COLUMNS: tuple[Column, ...] = (
    *(
        column
        for name in ("accuracy", "accuracy_change", "changed_answers")
        for column in (
            _shown(name, signed=name == "accuracy_change"),
            Column(f"{name}_low", "float64"),
            Column(f"{name}_high", "float64"),
        )
    ),
    Column("accuracy_of", sections=(ACCURACY,), title="weights", right=False, priority=60),
)
"""Columns of the table speed × accuracy: the share of right answers on the test part, how far that is from float32's,
and the share of samples that are answered otherwise than in float32."""


class Accuracies:
    """The cells of `COLUMNS` for the cases of one record."""

    def __init__(self, record: Record) -> None:
        self._trained = _last(record, Training)
        self._answered = _last(record, Answers)

    def cells(self, case: Case) -> dict[str, Any]:
        """Those of a case; none for one of which no answers are known."""
        line: Training | Answers | None = self._trained.get(case) or self._answered.get(case)
        if line is None or not line.answers:
            return {}
        found = _cells("accuracy", wilson(len(line.answers) - len(line.wrong), len(line.answers)))
        if isinstance(line, Training):
            plain = plain_of(case, self._trained)
            found["accuracy_of"] = f"its own, trained in {case.precision}"
        else:
            plain = line.weights_of
            found["accuracy_of"] = f"of {plain.row_name}"
        other = self._trained.get(plain) if plain else None
        if other is None or len(other.answers) != len(line.answers):
            return found
        total = len(line.answers)
        found |= _cells("accuracy_change", paired_difference(line.wrong, other.wrong, total))
        if isinstance(line, Answers):
            # another training answers otherwise whatever its precision
            changed = sum(a != b for a, b in zip(line.answers, other.answers, strict=True))
            found |= _cells("changed_answers", wilson(changed, total))
        return found


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows whose accuracy is told beside their speed: all that have one, where precisions differ."""
    known = [row for row in rows if row.get("accuracy") is not None]
    return known if len({row.case.precision for row in known}) > 1 else []


def _cells(name: str, share: Share) -> dict[str, Any]:
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}


def _last(record: Record, kind: type[_Line]) -> Mapping[Case, _Line]:
    """The last line of a kind that went well, by case."""
    lines = (line for line in record.lines if isinstance(line, kind))
    return {line.case: line for line in lines if line.status == "ok" and line.answers}
