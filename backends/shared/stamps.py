"""Who computes when: stamps of a clock where a step passes from one layer's work to another's."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlbench.contract import Span, Track


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whose work it is; the fields are those of `dlbench.contract.Span`."""

    layers: tuple[str, ...]
    track: Track
    name: str = ""


NOBODY = Owner((), "forward")
"""Where nothing was said."""
LOSS = Owner((), "forward", "loss")
OPTIMIZER = Owner((), "update", "optimizer")


class Stamps:
    """The moments of the host's clock at which somebody's work began, and with it the work before ended."""

    def __init__(self) -> None:
        self._steps: list[list[tuple[Owner | None, int]]] = []

    def begin(self) -> None:
        """A step begins."""
        self._steps.append([(None, time.perf_counter_ns())])

    def mark(self, owner: Owner | None) -> None:
        """Work of somebody begins; of nobody, where None."""
        self._steps[-1].append((owner, time.perf_counter_ns()))

    def take(self) -> list[Span]:
        """The spans of all steps since it was asked last."""
        found = []
        for step, marks in enumerate(self._steps):
            (_, zero), *_ = marks
            for (owner, begin), (_, end) in itertools.pairwise(marks):
                if owner is not None:
                    found.append(_span(owner, step, begin - zero, end - begin))
        self._steps.clear()
        return found


class Watch:
    """Whether steps are observed: what they hold of who observes them."""

    def __init__(self) -> None:
        self.stamps: Stamps | None = None

    def mark(self, owner: Owner | None) -> None:
        """Work of somebody begins, where that is of interest."""
        if self.stamps is not None:
            self.stamps.mark(owner)


def _span(owner: Owner, step: int, began_ns: int, took_ns: int) -> Span:
    return Span(owner.layers, owner.track, owner.name, step, began_ns, took_ns)


Owned = tuple[Owner, tuple[Any, list[Any]]]
"""A function with its arguments, and whose work it is."""


def stamped(
    owned: Sequence[Owned], mark: Callable[[Owner], None]
) -> Iterator[tuple[Any, list[Any]]]:
    """The calls, with a `mark` wherever the work passes from one to another, and where other workers are waited for."""
    before = None
    for owner, call in owned:
        if owner != before:
            yield mark, [owner]
            before = owner
        yield call
    if before is not None:
        yield mark, [Owner((), before.track, "waiting for other workers")]
