"""Which process is measured next: rounds over all cases, again what was disturbed, more where intervals are wide.

Every case is measured in every round, each round in the order opposite to the last, so that a machine that
drifts treats all alike. With a target for the intervals, further processes go to the case whose interval is
widest, until all are narrow enough or the time for sampling is spent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from dlbench.analyse.disturbance import of_process, passes, proven_late
from dlbench.analyse.statistics import case_estimate, process_summary
from dlbench.execute.quiet_machine import DeviceLook, Patience, Waited
from dlbench.plan.rounds import LEAST_PROCESSES, interleaved
from dlbench.record.schema import Case, Process, Telemetry

ATTEMPTS = 3
"""How often a process is measured when the machine is disturbed each time."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A process that was measured, what was sampled beside it, and how to look at its device again."""

    process: Process
    beside: Sequence[Telemetry] = ()
    look_at_device: DeviceLook = lambda seconds: ()


Measure = Callable[[Case, int, int], Measured]
"""Measures a case in a fresh process, of a round and an attempt, and records it."""

Medians = Mapping[Case, Mapping[int, float]]
"""The median step (s) of the process that counts, by case and round."""


class Measuring:
    """The processes of a run.

    Parameters
    ----------
    measure : has one of them measured and recorded.
    patience : time to wait for a quiet machine.
    on_wait : told each wait, with the process before it and what had disturbed that.
    held : what an earlier part of the run has measured already.
    """

    def __init__(
        self,
        measure: Measure,
        patience: Patience,
        on_wait: Callable[[Process, Sequence[str], Waited], None] = lambda *_: None,
        held: Medians | None = None,
    ) -> None:
        self._measure = measure
        self._patience = patience
        self._on_wait = on_wait
        self._medians_s = {case: dict(rounds) for case, rounds in (held or {}).items()}
        self._failed: set[Case] = set()
        self._canary_ns: dict[str, list[int]] = {}

    def rounds(
        self, cases: Sequence[Case], rounds: int, has: Callable[[Case, int], bool]
    ) -> list[Case]:
        """Measures every case once a round, except what the record `has`; the cases that went well."""
        for number, case in interleaved(cases, rounds):
            if case not in self._failed and not has(case, number):
                self._once(case, number)
        return [case for case in cases if case not in self._failed]

    def narrow(self, cases: Sequence[Case], target: float, processes: int) -> list[Case]:
        """Measures up to so many processes more, each where the interval is widest; the cases that went well."""
        for _ in range(processes):
            well = [case for case in cases if case not in self._failed]
            case = widest({case: self._of(case) for case in well}, target)
            if case is None:
                break
            self._once(case, max(self._medians_s.get(case, {0: 0.0})) + 1)
        return [case for case in cases if case not in self._failed]

    def _of(self, case: Case) -> list[float]:
        return list(self._medians_s.get(case, {}).values())

    def _once(self, case: Case, number: int) -> None:
        """Measures a process, and again when it was disturbed and the disturbance has passed, or when its steps were
        not finished; a backend whose steps never are has failed."""
        attempts: list[tuple[Process, Sequence[str]]] = []
        for attempt in range(ATTEMPTS):
            measured = self._measure(case, number, attempt)
            process = measured.process
            if attempt:
                self._patience.spend(sum(process.seconds.values()))
            if process.status != "ok":
                self._failed.add(case)
                return
            self._medians_s.setdefault(case, {})[number] = process_summary(process.timings_ns)
            disturbed_by = of_process(process, measured.beside, self._best_canary(process))
            attempts.append((process, disturbed_by))
            if not (passes(disturbed_by) or process.late):
                return
            if attempt + 1 == ATTEMPTS:
                break
            if process.late and not disturbed_by:
                continue
            waited = self._patience.wait(disturbed_by, measured.look_at_device)
            if waited is not None:
                self._on_wait(process, disturbed_by, waited)
            if waited is None or not waited.quiet:
                break
        if proven_late(attempts):
            self._failed.add(case)

    def _best_canary(self, process: Process) -> int | None:
        """The canary at its best so far beside this backend."""
        backend = process.case.backend
        known = [*process.canary_ns, *self._canary_ns.get(backend, ())]
        self._canary_ns[backend] = known = [min(known)] if known else []
        return known[0] if known else None


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
