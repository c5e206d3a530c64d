"""How the steps of the networks of a ladder are timed: block by block, round by round."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from dlbench.contract import Session
from dlbench.profile.rungs import Rung, Scenario
from dlbench.spec.workload import Weights

_BLOCK_S = 0.003
_MOST_STEPS = 15
"""Of a block; a block of short steps has an odd number of them, and its median."""
_WARMUP_STEPS = 3
CEILING_EVERY = 2
"""Rounds from one look at the ceilings to the next: nothing is subtracted from them, so they may scatter more."""


class Blocks:
    """The blocks of one kind of step of an open network.

    Parameters
    ----------
    session : of the network, at `initial`.
    batch : resident there.
    step : ``train`` or ``infer``.
    """

    def __init__(
        self, rung: Rung, session: Session, batch: Any, step: Scenario, initial: Weights
    ) -> None:
        self.rung, self.step = rung, step
        self.medians_ns: list[int] = []
        self._session, self._batch, self._initial = session, batch, initial
        self._run = session.train_step if step == "train" else session.infer
        self._shortest_ns = min([self._one() for _ in range(_WARMUP_STEPS)][1:])

    def is_due(self, number: int) -> bool:
        """Whether it has a block in that round, from 1."""
        return self.rung.kind != "ceiling" or number % CEILING_EVERY == 1

    def one(self) -> None:
        """Times a block behind a step that finds the caches as others have left them: that takes up to half as long
        again, and scatters several times as much."""
        if self.rung.kind == "whole" and self.step == "train":
            # the others stay where they are
            self._session.load(self._initial)
        steps = min(_MOST_STEPS, int(_BLOCK_S * 1e9 / max(self._shortest_ns, 1)) | 1)
        self._one()
        taken = [self._one() for _ in range(steps)]
        self._shortest_ns = min(self._shortest_ns, *taken)
        self.medians_ns.append(round(statistics.median(taken)))

    def _one(self) -> int:
        """The duration of the next step (ns)."""
        run, batch, synchronize = self._run, self._batch, self._session.synchronize
        begin = time.perf_counter_ns()
        result = run(batch)
        synchronize()
        took = time.perf_counter_ns() - begin
        del result
        return took


def time_round(blocks: Sequence[Blocks], number: int, beat: Callable[[], None]) -> None:
    """Times a block of each that is due in round `number`, forwards and backwards by turns; garbage is collected behind
    the round alone."""
    due = [each for each in blocks if each.is_due(number)]
    if gc.isenabled():
        # once: what is there now stays to the end
        gc.collect()
        gc.freeze()
        gc.disable()
    for each in due if number % 2 else reversed(due):
        each.one()
        beat()
    gc.collect()
