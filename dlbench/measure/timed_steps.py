"""Times the steps of a session: one boundary for all backends, and raw timings out.

A training step runs from a batch resident on the device to updated weights, inference from a resident
batch to its output on the device; either ends with the device synchronised. What else there is to do
(going back to the initial weights, collecting garbage, deciding whether to go on) happens between
the timed intervals.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from dlbench.contract import Session
from dlbench.measure.steady_state import SMALLEST_WINDOW, is_steady
from dlbench.spec.workload import Weights

Clock = Callable[[], int]

STEPS_FROM_INITIAL = 16
"""Training goes back to the initial weights after so many steps, lest the loss run to zero and data to denormals."""
STEPS_TO_JUDGE = 8
"""The fewest training steps since the initial weights at the end, so that the weights' movement can be judged."""
BEAT_NS = 5_000_000_000
MIN_TIMINGS = 10
MIN_SLOW_TIMINGS = 3
WARMUP_SHARE = 0.5
"""Warm-up takes at most this share of the time for sampling on top of it (and at least one step)."""
_WARMUP_LEAST_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Timings:
    """Raw timings of one process.

    Attributes
    ----------
    first_step_ns : the very first step, whatever it compiled or allocated included.
    warmup_ns : the steps from the second to the last before sampling.
    timings_ns : the sampled steps, in order.
    started_ns, ended_ns : the clock at the start of the first sampled step and after the last one; what happens
        between steps off the clock lies between them too.
    steady : whether the warm-up ended as steady; None when there were too few steps to tell.
    steps_since_load : training steps since the session was last at the initial weights.
    """

    first_step_ns: int
    warmup_ns: tuple[int, ...]
    timings_ns: tuple[int, ...]
    started_ns: int
    ended_ns: int
    steady: bool | None
    steps_since_load: int


def time_steps(
    session: Session,
    batches: Sequence[Any],
    scenario: Literal["train", "infer"],
    initial: Weights,
    budget_s: float,
    *,
    clock: Clock = time.perf_counter_ns,
    on_phase: Callable[[str], None] = lambda phase: None,
    beat: Callable[[], None] = lambda: None,
) -> Timings:
    """Warms a session up, then times its steps until the budget ends.

    Parameters
    ----------
    session : at `initial`, with a fresh optimizer.
    batches : resident batches, taken in turn.
    scenario : which step to time.
    initial : what training goes back to, off the clock, every `STEPS_FROM_INITIAL` steps.
    budget_s : seconds of sampling. At least ten timings are taken, or three where a step takes longer than the
        budget; training goes on until `STEPS_TO_JUDGE` steps lie behind the last reset.
    clock : monotonic, in nanoseconds.
    on_phase : told ``warm-up`` and ``measure``.
    beat : called between steps, off the clock, where `BEAT_NS` have passed since it was called last.
    """
    steps = _Steps(session, batches, scenario == "train", initial, clock, beat)
    on_phase("warm-up")
    first_ns = steps.one()
    warmup_ns, steady = _warm_up(steps, budget_s, clock)
    on_phase("measure")
    typical_s = float(np.median(warmup_ns)) * 1e-9
    least = MIN_TIMINGS if typical_s < budget_s else MIN_SLOW_TIMINGS
    timings_ns: list[int] = []
    with _garbage_kept():
        started_ns = clock()
        end_ns = started_ns + int(budget_s * 1e9)
        while len(timings_ns) < least or clock() < end_ns or not steps.can_be_judged:
            timings_ns.append(steps.one())
        ended_ns = clock()
    return Timings(
        first_step_ns=first_ns,
        warmup_ns=tuple(warmup_ns),
        timings_ns=tuple(timings_ns),
        started_ns=started_ns,
        ended_ns=ended_ns,
        steady=steady,
        steps_since_load=steps.since_load,
    )


class _Steps:
    """The steps of a session over its batches in turn."""

    def __init__(
        self,
        session: Session,
        batches: Sequence[Any],
        trains: bool,
        initial: Weights,
        clock: Clock,
        beat: Callable[[], None],
    ) -> None:
        self._session = session
        self._batches = batches
        self._trains = trains
        self._step = session.train_step if trains else session.infer
        self._initial = initial
        self._clock = clock
        self._beat = beat
        self._beat_ns = clock()
        self._next = 0
        self.since_load = 0

    @property
    def can_be_judged(self) -> bool:
        """Whether the weights lie far enough from the initial ones to see how training moves them."""
        return not self._trains or self.since_load >= STEPS_TO_JUDGE

    def one(self) -> int:
        """Does the next step and returns its duration (ns)."""
        if self.since_load == STEPS_FROM_INITIAL:
            self._pause()
        batch = self._batches[self._next]
        self._next = (self._next + 1) % len(self._batches)
        self.since_load += 1
        step, synchronize, clock = self._step, self._session.synchronize, self._clock
        begin = clock()
        result = step(batch)
        synchronize()
        end = clock()
        # what the step returned is given up here, off the clock
        del result
        if end - self._beat_ns > BEAT_NS:
            self._beat()
            self._beat_ns = end
        return end - begin

    def _pause(self) -> None:
        if self._trains:
            self._session.load(self._initial)
            self._session.synchronize()
        gc.collect()
        self.since_load = 0


def _warm_up(steps: _Steps, budget_s: float, clock: Clock) -> tuple[list[int], bool | None]:
    begin = clock()
    least_ns, most_ns = (
        int(share * budget_s * 1e9) for share in (_WARMUP_LEAST_SHARE, WARMUP_SHARE)
    )
    durations: list[int] = []
    look_at = SMALLEST_WINDOW
    while True:
        durations.append(steps.one())
        passed_ns = clock() - begin
        if passed_ns >= most_ns:
            return durations, is_steady(durations)
        if len(durations) >= look_at and passed_ns >= least_ns:
            if is_steady(durations):
                return durations, True
            # looking at every step would heat the caches with other things than the workload
            look_at = len(durations) + max(4, len(durations) // 8)


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """No garbage collection but at the pauses, and there only of what is new."""
    gc.collect()
    gc.freeze()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
