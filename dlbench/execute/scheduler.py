"""Which process is measured next: rounds over all cases, again what was disturbed, more where intervals are wide.

Every case is measured in every round, each round in the order opposite to the last, so that a machine that
drifts treats all alike. With a target for the intervals, the scatter of the first rounds says once how many
processes more each case gets, as far as the time for sampling goes.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit

from dlbench.analyse.disturbance import of_process, passes, proven_late
from dlbench.analyse.statistics import process_summary
from dlbench.execute.quiet_machine import DeviceLook, Patience, Waited
from dlbench.host.cause import Cause
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


class Turn(NamedTuple):
    """A fresh process that is to measure a case, in a round, for the so many-th time."""

    case: Case
    number: int
    attempt: int


Turns = Generator[Turn, Measured, None]
"""Which process is next, given what the one before has measured."""

Medians = Mapping[Case, Mapping[int, float]]
"""The median step (s) of the process that counts, by case and round."""


def carry_out(turns: Turns, measure: Callable[[Turn], Measured]) -> None:
    """Has every process measured and recorded."""
    turn = next(turns, None)
    while turn is not None:
        measured = measure(turn)
        try:
            turn = turns.send(measured)
        except StopIteration:
            turn = None


class Schedule:
    """The processes of a run.

    Parameters
    ----------
    cases : those to be measured.
    patience : time to wait for a quiet machine.
    on_wait : told each wait, with the process before it and what had disturbed that.
    held : what an earlier part of the run has measured already.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patience: Patience,
        on_wait: Callable[[Process, Sequence[Cause], Waited], None] = lambda *_: None,
        held: Medians | None = None,
    ) -> None:
        self._cases = cases
        self._patience = patience
        self._on_wait = on_wait
        self._medians_s = {case: dict(rounds) for case, rounds in (held or {}).items()}
        self._failed: set[Case] = set()
        self._loads_ns: dict[str, list[int]] = {}

    @property
    def well(self) -> list[Case]:
        """The cases of which no process went wrong."""
        return [case for case in self._cases if case not in self._failed]

    def rounds(self, rounds: int, there: Container[tuple[object, int]] = ()) -> Turns:
        """Every case once a round, but for what is `there`."""
        for number, case in interleaved(self._cases, rounds):
            if case not in self._failed and (case, number) not in there:
                yield from self._attempts(case, number)

    def narrow(self, target: float, processes: int, pilot: int = LEAST_PROCESSES) -> Turns:
        """Up to so many processes more, as many of each case as its first `pilot` rounds say."""
        wanted = {
            case: needed(first(self._medians_s.get(case, {}), pilot), target) for case in self.well
        }
        for _ in range(processes):
            lacking = {
                case: wanted[case] - len(self._medians_s.get(case, {})) for case in self.well
            }
            case = max(lacking, key=lacking.__getitem__, default=None)
            if case is None or lacking[case] <= 0:
                break
            yield from self._attempts(case, max(self._medians_s.get(case, {0: 0.0})) + 1)

    def _attempts(self, case: Case, number: int) -> Turns:
        """A process, and again when it was disturbed and the disturbance has passed, or when its steps were not
        finished; a backend whose steps never are has failed."""
        attempts: list[tuple[Process, Sequence[Cause]]] = []
        for attempt in range(ATTEMPTS):
            measured = yield Turn(case, number, attempt)
            process = measured.process
            if attempt:
                self._patience.spend(sum(process.seconds.values()))
            if process.status != "ok":
                self._failed.add(case)
                return
            self._medians_s.setdefault(case, {})[number] = process_summary(process.timings_ns)
            disturbed_by = of_process(process, measured.beside, self._best_load(process))
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

    def _best_load(self, process: Process) -> int | None:
        """The reference load at its best so far beside this backend."""
        backend = process.case.backend
        known = [*process.canary_ns, *self._loads_ns.get(backend, ())]
        self._loads_ns[backend] = known = [min(known)] if known else []
        return known[0] if known else None


def first(medians_s: Mapping[int, float], rounds: int) -> list[float]:
    """The medians of the first so many rounds."""
    return [median for number, median in medians_s.items() if number <= rounds]


def needed(pilot_s: Sequence[float], target: float) -> int:
    """How many processes an interval of ± `target` (a share of the value) takes, by the scatter of the first ones.

    Decided once, from the pilot alone, and not by the width of the interval as it grows, which would stop where
    processes happen to lie close (Stein 1945, "A two-sample test for a linear hypothesis whose power is independent of
    the variance"). The median of normal values scatters by √(π/2) more than their mean.
    """
    count = len(pilot_s)
    if count < LEAST_PROCESSES:
        return LEAST_PROCESSES
    scatter = statistics.stdev(map(math.log, pilot_s))
    half = math.sqrt(math.pi / 2) * float(stdtrit(count - 1, 0.975)) * scatter
    return max(count, math.ceil((half / math.log1p(target)) ** 2))
