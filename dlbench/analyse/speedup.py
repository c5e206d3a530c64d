"""What a speed-up refers to: one backend on one device, under the same circumstances.

A speed-up takes in the scatter of both sides (`dlbench.analyse.statistics.ratio`), and a baseline that is not there
is a mistake to be told, not an empty column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.statistics import Estimate, ratio
from dlbench.errors import UsageError
from dlbench.record.schema import Case

BASELINE = "numpy:cpu"
"""What speed-ups refer to unless something else is asked for: ``backend:device``."""

DEVICE = re.compile(r"cpu|cuda(?::(?:\d+|(?:GPU|MIG)-[\w/-]+))?")
"""A device as it is asked for: a CUDA device by its index or by its UUID as the driver writes it."""
_FORM = re.compile(f"(.+):({DEVICE.pattern})")


def split_baseline(baseline: str) -> tuple[str, str]:
    """Backend and device of a ``backend:device``; either may have a colon of its own.

    Raises
    ------
    UsageError : there is no device in it.
    """
    found = _FORM.fullmatch(baseline)
    if found is None:
        raise UsageError(f"baseline {baseline!r} is not a backend:device, like {BASELINE}")
    return found[1], found[2]


def check_baseline(baseline: str, cases: Iterable[Case]) -> None:
    """Refuses a baseline that no case can be.

    Raises
    ------
    UsageError : with what there is.
    """
    split_baseline(baseline)
    there = dict.fromkeys(map(row_name, cases))
    if baseline not in there:
        rows = ", ".join(there) or "none"
        raise UsageError(f"baseline {baseline!r} matches no row; the rows are: {rows}")


def row_name(case: Case) -> str:
    """What a baseline is called: ``numpy:cpu``."""
    return f"{case.backend}:{case.device}"


class Bases:
    """The baseline's outcomes by the circumstances in which they were measured; only those with figures."""

    def __init__(self, found: Sequence[Outcome], baseline: str) -> None:
        self.name = baseline
        self._by_circumstances = {
            circumstances(outcome.case): outcome
            for outcome in reversed(found)
            if outcome.medians_s and row_name(outcome.case) == baseline
        }

    def cells(self, outcome: Outcome) -> dict[str, str | float | None]:
        """The row's cells about its speed-up; none where there is nothing to refer to.

        The baseline against itself is 1 by definition, so it has no interval.
        """
        base = self._by_circumstances.get(circumstances(outcome.case))
        if base is None or not outcome.medians_s:
            return {}
        if outcome.case == base.case:
            return {"baseline": self.name, "speedup": 1.0, "speedup_with_copies": 1.0}
        return (
            {"baseline": self.name}
            | _cells("speedup", base.medians_s, outcome.medians_s)
            | _cells("speedup_with_copies", base.with_copies_s, outcome.with_copies_s)
        )


def bounds(estimate: Estimate, low: str, high: str) -> dict[str, float | None]:
    """An estimate's interval as two cells; none where it has no interval."""
    interval = estimate.interval
    return {low: interval.low, high: interval.high} if interval else {}


def _cells(
    name: str, numerator_s: Mapping[int, float], denominator_s: Mapping[int, float]
) -> dict[str, float | None]:
    if not numerator_s or not denominator_s:
        return {}
    estimate = ratio(numerator_s, denominator_s)
    return {name: estimate.value} | bounds(estimate, f"{name}_low", f"{name}_high")


def circumstances(case: Case) -> tuple[str, str, int, str, int]:
    """What rows must share to be compared: all of the case but backend, device and mode."""
    return (case.suite, case.scenario, case.batch, case.precision, case.threads)
