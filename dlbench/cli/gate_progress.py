"""Shows on stderr how a gate goes on: where each case stands, redrawn between two pairs and at no other time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TextIO

from dlbench.cli.progress import Lines, Redrawn, shown
from dlbench.gate.decision import Verdict
from dlbench.gate.design import Design
from dlbench.gate.session import Observer
from dlbench.text import plural, signed


def progress(
    stream: TextIO, design: Design, *, quiet: bool = False
) -> AbstractContextManager[Observer]:
    """An observer that shows a gate on `stream`, as long as the context lasts."""
    return shown(stream, quiet, Observer(), lambda to: PlainProgress(to, design), LiveProgress)


def standing(case: str, verdict: Verdict) -> str:
    """Where a case stands: ``numpy:cpu/train/32  +0.4 % [−1.0, +1.9]  8 pairs  passed``."""
    parts = [case]
    if verdict.change is not None:
        change = f"{signed(verdict.change)} %"
        if math.isfinite(verdict.high):
            change += f" [{signed(verdict.low)}, {signed(verdict.high)}]"
        parts.append(change)
    parts.append(plural(verdict.pairs, "pair"))
    parts.append(verdict.reason if verdict.status == "undecided" else verdict.status)
    return "  ".join(part for part in parts if part)


class PlainProgress(Lines, Observer):
    """A line for each case at each look, for logs and pipes."""

    def __init__(self, stream: TextIO, design: Design) -> None:
        super().__init__(stream)
        self._design = design
        self._told: dict[str, str] = {}

    def doing(self, what: str) -> None:
        """Says what it is."""
        self.say(what)

    def pair(self, number: int, standing_: Mapping[str, Verdict]) -> None:
        """Says where a case stands after a look at it."""
        for case, verdict in standing_.items():
            text = standing(case, verdict)
            if verdict.pairs in self._design.looks and self._told.get(case) != text:
                self._told[case] = text
                self.say(text)


class LiveProgress(Redrawn, Observer):
    """A line a case at the bottom of a terminal."""

    def doing(self, what: str) -> None:
        """Shows what it is."""
        self.draw(what)

    def pair(self, number: int, standing_: Mapping[str, Verdict]) -> None:
        """Redraws all lines."""
        self.draw("\n".join(standing(case, verdict) for case, verdict in standing_.items()))
