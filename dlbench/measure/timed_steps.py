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
import math
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
LEAST_STEPS = 3
"""Of a block, and of a process whose steps take longer than its time for sampling."""
WARMUP_SHARE = 0.5
"""Warm-up takes at most this share of the time for sampling on top of it (and at least one step)."""
_WARMUP_LEAST_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Block:
    """The steps of one turn (ns), and the clock before the first and after the last of them; of streamed steps what of
    each was waiting for its batch."""

    timings_ns: tuple[int, ...]
    started_ns: int
    ended_ns: int
    waited_ns: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Timings:
    """Raw timings of one process.

    Attributes
    ----------
    first_step_ns : the very first step, whatever it compiled or allocated included.
    warmup_ns : the steps from the second to the last before sampling.
    blocks : the sampled steps, turn by turn; what happens between steps off the clock lies between them too.
    steady : whether the warm-up ended as steady; None when there were too few steps to tell.
    steps_since_load : training steps since the session was last at the initial weights.
    """

    first_step_ns: int
    warmup_ns: tuple[int, ...]
    blocks: tuple[Block, ...]
    steady: bool | None
    steps_since_load: int

    @property
    def timings_ns(self) -> tuple[int, ...]:
        """The sampled steps, in order."""
        return tuple(step for block in self.blocks for step in block.timings_ns)


class TimedSteps:
    """The timing of one scenario of a session: warmed up once, then sampled in blocks.

    Parameters
    ----------
    session : at `initial`, with a fresh optimizer.
    batches : resident batches, taken in turn.
    scenario : which step to time.
    initial : what training goes back to, off the clock, every `STEPS_FROM_INITIAL` steps.
    clock : monotonic, in nanoseconds.
    beat : called between steps, off the clock, where `BEAT_NS` have passed since it was called last.
    steps : makes the `Steps` that are taken.
    """

    def __init__(
        self,
        session: Session,
        batches: Sequence[Any],
        scenario: Literal["train", "infer"],
        initial: Weights,
        *,
        clock: Clock = time.perf_counter_ns,
        beat: Callable[[], None] = lambda: None,
        steps: Callable[..., Steps] | None = None,
    ) -> None:
        self._steps = (steps or Steps)(session, batches, scenario == "train", initial, clock, beat)
        self._clock = clock
        self._first_ns = 0
        self._warmup_ns: list[int] = []
        self._steady: bool | None = None
        self._blocks: list[Block] = []
        self._garbage = contextlib.ExitStack()

    @property
    def typical_s(self) -> float:
        """The median step of the warm-up (s)."""
        return float(np.median(self._warmup_ns)) * 1e-9

    def warm_up(self, budget_s: float) -> None:
        """Takes steps until they are steady, for at most `WARMUP_SHARE` of the time for sampling (s)."""
        self._first_ns = self._steps.one()
        self._warmup_ns, self._steady = _warm_up(self._steps, budget_s, self._clock)

    def block(
        self,
        seconds: float,
        least: int = LEAST_STEPS,
        lead_s: float = 0.0,
        most: float = math.inf,
    ) -> Block:
        """Samples steps for so many seconds, `least` of them at any rate and `most` at most, behind `lead_s` seconds of
        steps that are not sampled."""
        steps, clock = self._steps, self._clock
        timings_ns: list[int] = []
        waited_ns: list[int] = []
        self._begin(lead_s)
        started_ns = clock()
        # so that blocks are as long as that on average, and not half a step longer
        end_ns = started_ns + int((seconds - self.typical_s / 2) * 1e9)
        while len(timings_ns) < least or (clock() < end_ns and len(timings_ns) < most):
            timings_ns.append(steps.one())
            if steps.waited_ns is not None:
                waited_ns.append(steps.waited_ns)
        block = Block(tuple(timings_ns), started_ns, clock(), tuple(waited_ns))
        self._blocks.append(block)
        return block

    def _begin(self, lead_s: float) -> None:
        """Steps that are not sampled, for so many seconds; from the first block on no garbage is collected."""
        if not self._blocks:
            self._garbage.enter_context(garbage_kept())
        begin_ns = self._clock() + int(lead_s * 1e9)
        while self._clock() < begin_ns:
            self._steps.one()
        self._steps.lead()

    def finish(self) -> Timings:
        """What was timed. Training goes on, unsampled, until `STEPS_TO_JUDGE` steps lie behind the last reset."""
        self._garbage.close()
        while not self._steps.can_be_judged:
            self._steps.one()
        return Timings(
            first_step_ns=self._first_ns,
            warmup_ns=tuple(self._warmup_ns),
            blocks=tuple(self._blocks),
            steady=self._steady,
            steps_since_load=self._steps.since_load,
        )


def time_steps(
    session: Session,
    batches: Sequence[Any],
    scenario: Literal["train", "infer"],
    initial: Weights,
    budget_s: float,
    *,
    clock: Clock = time.perf_counter_ns,
    on_phase: Callable[[str], None] = lambda phase: None,
) -> Timings:
    """Warms a session up, then times its steps in one block until the budget ends; see `TimedSteps`.

    Parameters
    ----------
    budget_s : seconds of sampling. At least `MIN_TIMINGS` are taken, or `LEAST_STEPS` where a step takes longer than
        the budget.
    on_phase : told ``warm-up`` and ``measure``.
    """
    timed = TimedSteps(session, batches, scenario, initial, clock=clock)
    on_phase("warm-up")
    timed.warm_up(budget_s)
    on_phase("measure")
    timed.block(budget_s, MIN_TIMINGS if timed.typical_s < budget_s else LEAST_STEPS)
    return timed.finish()


class Steps:
    """The steps of a session over its batches in turn.

    Attributes
    ----------
    since_load : training steps since the session was last at the initial weights.
    waited_ns : what of the last step was waiting for its batch; None where batches are resident.
    """

    waited_ns: int | None = None

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
        if self.since_load >= STEPS_FROM_INITIAL:
            self._pause()
            self.lead()
        return self.without_pause()

    def lead(self) -> None:
        """Steps that are not to count, after something else than steps."""

    def without_pause(self) -> int:
        """The same, and nothing else before it."""
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
        self._tell(end)
        return end - begin

    def _tell(self, end_ns: int) -> None:
        """Off the clock, that it goes on, where that is due."""
        if end_ns - self._beat_ns > BEAT_NS:
            self._beat()
            self._beat_ns = end_ns

    def _pause(self) -> None:
        if self._trains:
            self._session.load(self._initial)
            self._session.synchronize()
        gc.collect()
        self.since_load = 0


def _warm_up(steps: Steps, budget_s: float, clock: Clock) -> tuple[list[int], bool | None]:
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
def garbage_kept() -> Iterator[None]:
    """Inside the ``with`` block, no garbage collection but at the pauses, and there only of what is new."""
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
