"""Shows on stderr how a gate goes on: where each case stands, redrawn between two pairs and at no other time."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dlbench.gate.decision import Verdict
from dlbench.gate.design import Design
from dlbench.gate.session import Observer
from dlbench.text import plural


@contextlib.contextmanager
def progress(stream: TextIO, design: Design, *, quiet: bool = False) -> Iterator[Observer]:
    """An observer that shows a gate on `stream`, as long as the context lasts."""
    if quiet:
        yield Observer()
    elif stream.isatty() and os.environ.get("TERM", "") != "dumb":
        live = LiveProgress(Console(file=stream))
        with live.display:
            yield live
    else:
        yield PlainProgress(stream, design)


def standing(case: str, verdict: Verdict) -> str:
    """Where a case stands: ``numpy:cpu/train/32  +0.4 % [−1.0, +1.9]  8 pairs  passed``."""
    parts = [case]
    if verdict.change is not None:
        change = f"{_signed(verdict.change)} %"
        if math.isfinite(verdict.high):
            change += f" [{_signed(verdict.low)}, {_signed(verdict.high)}]"
        parts.append(change)
    parts.append(plural(verdict.pairs, "pair"))
    parts.append(verdict.reason if verdict.status == "undecided" else verdict.status)
    return "  ".join(part for part in parts if part)


class PlainProgress(Observer):
    """A line for each case at each look, for logs and pipes."""

    def __init__(self, stream: TextIO, design: Design) -> None:
        self._stream, self._design = stream, design
        self._told: dict[str, str] = {}

    def doing(self, what: str) -> None:
        """Says what it is."""
        self._say(what)

    def pair(self, number: int, standing_: Mapping[str, Verdict]) -> None:
        """Says where a case stands after a look at it."""
        for case, verdict in standing_.items():
            text = standing(case, verdict)
            if verdict.pairs in self._design.looks and self._told.get(case) != text:
                self._told[case] = text
                self._say(text)

    def _say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class LiveProgress(Observer):
    """A line a case at the bottom of a terminal."""

    def __init__(self, console: Console) -> None:
        self.display = Live(Text(), console=console, auto_refresh=False, transient=True)

    def doing(self, what: str) -> None:
        """Shows what it is."""
        self.display.update(Text(what, no_wrap=True, overflow="ellipsis"), refresh=True)

    def pair(self, number: int, standing_: Mapping[str, Verdict]) -> None:
        """Redraws all lines."""
        lines = "\n".join(standing(case, verdict) for case, verdict in standing_.items())
        self.display.update(Text(lines, no_wrap=True, overflow="ellipsis"), refresh=True)


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
