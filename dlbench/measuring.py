"""Which process is measured next: rounds over all cases, again what was disturbed, more where intervals are wide.

Every case is measured in every round, each round in the order opposite to the last, so that a machine that
drifts treats all alike. With a target for the intervals, further processes go to the case whose interval is
widest, until all are narrow enough or the time for sampling is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dlbench.disturbance import of_process
from dlbench.patience import Patience
from dlbench.record import Case, Process
from dlbench.rounds import LEAST_PROCESSES, interleaved
from dlbench.stats import case_estimate, process_summary

ATTEMPTS = 3
"""How often a process is measured when the machine is disturbed each time."""

Measure = Callable[[Case, int, int], Process]
"""Measures a case in a fresh process, of a round and an attempt."""


class Measuring:
    """The processes of a run.

    Parameters
    ----------
    measure : has one of them measured and recorded.
    patience : time to wait for a quiet machine.
    """

    def __init__(self, measure: Measure, patience: Patience) -> None:
        self._measure = measure
        self._patience = patience
        self._medians_s: dict[Case, list[float]] = {}
        self._failed: set[Case] = set()

    def rounds(
        self, cases: Sequence[Case], rounds: int, has: Callable[[Case, int], bool]
    ) -> list[Case]:
        """Measures every case once a round, except what the record `has`; the cases that went well."""
        for number, case in interleaved(cases, rounds):
            if case not in self._failed and not has(case, number):
                self._once(case, number)
        return [case for case in cases if case not in self._failed]

    def narrow(self, cases: Sequence[Case], target: float, processes: int) -> None:
        """Measures up to so many processes more, each where the interval is widest."""
        for _ in range(processes):
            medians_s = {c: self._medians_s.get(c, []) for c in cases if c not in self._failed}
            case = widest(medians_s, target)
            if case is None:
                return
            self._once(case, len(medians_s[case]) + 1)

    def _once(self, case: Case, number: int) -> None:
        for attempt in range(ATTEMPTS):
            process = self._measure(case, number, attempt)
            if attempt:
                self._patience.spend(sum(process.seconds.values()))
            if process.status != "ok":
                self._failed.add(case)
                return
            disturbed_by = of_process(process, None)
            if not disturbed_by or attempt + 1 == ATTEMPTS or not self._patience.wait(disturbed_by):
                break
        self._medians_s.setdefault(case, []).append(process_summary(process.timings_ns))


def widest(medians_s: Mapping[Case, Sequence[float]], target: float) -> Case | None:
    """The case with the widest interval of those wider than ± `target` (a share of the value), or None."""
    widths = {case: half_width(medians) for case, medians in medians_s.items()}
    case = max(widths, key=widths.__getitem__, default=None)
    return case if case is not None and widths[case] > target else None


def half_width(medians_s: Sequence[float]) -> float:
    """Half of the relative width of a case's interval; infinite where there is none."""
    estimate = case_estimate(medians_s) if medians_s else None
    if estimate is None or estimate.interval is None or estimate.processes < LEAST_PROCESSES:
        return math.inf
    return (estimate.interval.high - estimate.interval.low) / (2 * estimate.value)
