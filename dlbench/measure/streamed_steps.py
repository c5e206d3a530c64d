"""Steps whose batches a loader delivers: a step begins where its batch is asked for, and takes in waiting for it and
copying it to where the step reads it.

A loader goes on while nothing is timed. So that no step finds more batches ready than steps that follow upon each other
would have left, as many steps as it works ahead are taken before any is sampled, after every pause.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Loader, TrainingBatches
from dlbench.measure.timed_steps import Steps
from dlbench.record.facts import Check

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]

CHECKED = 5
"""Batches of a loader that are looked at before anything is timed, out of epochs of two batches and a rest."""


class StreamedSteps(Steps):
    """Training steps, each on the next batch of a loader; the other arguments are those of `Steps`."""

    def __init__(self, feed: Feed, *given: Any) -> None:
        super().__init__(*given)
        self._feed = feed

    def lead(self) -> None:
        """Uses up what was prepared while nothing was timed."""
        for _ in range(self._feed.loader.ahead):
            self.without_pause()

    def without_pause(self) -> int:
        """Does the next step and returns its duration (ns)."""
        self.since_load += 1
        session, step, clock = self._session, self._step, self._clock
        begin = clock()
        inputs, targets = self._feed.next()
        got = clock()
        result = step(session.upload(inputs, targets))
        session.synchronize()
        end = clock()
        del result
        self.waited_ns = got - begin
        self._tell(end)
        return end - begin


class Feed:
    """The batches of a process, from its loader: how many were delivered, and the last of them.

    Parameters
    ----------
    loader : over `batches`, from the first.
    """

    def __init__(self, loader: Loader, batches: TrainingBatches) -> None:
        self.loader, self._batches = loader, batches
        self._delivered = 0
        self._last: Batch | None = None

    def next(self) -> Batch:
        """The next batch; waits for it."""
        self._last = next(self.loader)
        self._delivered += 1
        return self._last

    def check(self) -> tuple[Check, ...]:
        """Whether the last batch is still the one of its number: nothing was left out, repeated or moved, and nothing
        written to it since."""
        if self._last is None:
            return ()
        return check_delivered(self._last, self._batches, self._delivered - 1, "after timing")


def check_loader(loader: Loader, batches: TrainingBatches) -> tuple[Check, ...]:
    """Whether a loader delivers the batches that it was given, in their order and to the bit, and leaves those alone
    that it has delivered.

    Parameters
    ----------
    loader : over `batches`, from the first; `CHECKED` are taken of it.
    """
    held = [next(loader) for _ in range(CHECKED)]
    # looked at when all are there: one that is written to again is another by now
    return tuple(
        check
        for number, delivered in enumerate(held)
        for check in check_delivered(delivered, batches, number, "before timing")
    )


def check_delivered(
    delivered: Batch, batches: TrainingBatches, number: int, when: str
) -> tuple[Check, Check]:
    """Whether inputs and targets of a batch are those of its number, to the bit."""
    wanted = batches.batch(number)
    kinds = (f"inputs of the loader's batch {number}", f"targets of the loader's batch {number}")
    first, second = (
        _alike(f"{kind} {when}", np.asarray(got), want)
        for kind, got, want in zip(kinds, delivered, wanted, strict=True)
    )
    return first, second


def _alike(name: str, got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Check:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        described = f" as {got.dtype} {got.shape}, should be {wanted.dtype} {wanted.shape}"
        return _check(name + described, "", 1.0, 0.0)
    # by their bits, which tell even zeros apart
    differ = got.reshape(-1).view(f"u{got.itemsize}") != wanted.reshape(-1).view(
        f"u{wanted.itemsize}"
    )
    if not differ.any():
        return _check(name, "", 0.0, 0.0)
    place = int(differ.argmax())
    where = "[" + ", ".join(map(str, np.unravel_index(place, got.shape))) + "]"
    return _check(name, where, float(got.reshape(-1)[place]), float(wanted.reshape(-1)[place]))


def _check(name: str, where: str, got: float, expected: float) -> Check:
    finite = math.isfinite(got) and math.isfinite(expected)
    return Check(
        name=name,
        where=where,
        got=got if math.isfinite(got) else None,
        expected=expected if math.isfinite(expected) else None,
        error=abs(got - expected) if finite else None,
        tolerance=0.0,
        scale=0.0,
        passed=not where and got == expected,
    )
