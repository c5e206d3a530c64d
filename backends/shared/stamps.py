"""Who computes when: stamps of a clock where a step passes from one layer's work to another's."""

from __future__ import annotations

import dataclasses
import itertools
import time

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


def _span(owner: Owner, step: int, began_ns: int, took_ns: int) -> Span:
    return Span(owner.layers, owner.track, owner.name, step, began_ns, took_ns)
