"""What a run tells while it goes on, in words: the same for the command line and for a function that is called."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Literal

from dlbench.execute.events import Observer
from dlbench.record.schema import (
    Case,
    Choice,
    Line,
    Process,
    Skip,
    Training,
    Trial,
    Verification,
)
from dlbench.text import duration, listed, one_line, plural, seconds, why

Kind = Literal["plan", "phase", "result", "message"]
WORDS = {
    "prepare": "preparing data and weights",
    "oracle": "computing the float64 reference",
    "null": "measuring the timer overhead",
    "peak": "measuring the SGEMM peak",
}
"""Phases of the run as a whole, for people."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """One thing that happened in a run; `str` gives its text.

    Attributes
    ----------
    kind : ``plan``: it is known what there is to do; ``phase``: something has begun; ``result``: something of a case
        has come to an end; ``message``: a sentence for people.
    text : what happened, on one line.
    case : what it is about; None where that is the whole run.
    round : in which round, counted from 1; None outside of rounds.
    left_s : about how long the run will still take (s); None before anything is known.
    share_done : of the time that the run is estimated to take, 0 to 1; None before anything is known.
    line : for ``result``, the line of the record (`dlbench.record.schema`).
    """

    kind: Kind
    text: str
    case: Case | None = None
    round: int | None = None
    left_s: float | None = None
    share_done: float | None = None
    line: Line | None = None

    def __str__(self) -> str:
        return self.text


class Telling(Observer):
    """Makes of all that an observer hears the words that `tell` is called with, in the thread of the run."""

    def __init__(
        self, tell: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell, self.left = tell, TimeLeft(clock)

    def planned(self, cases: tuple[Case, ...], estimate_s: float) -> None:
        """Says how much there is to do."""
        self.left.start(estimate_s)
        self._say("plan", f"{plural(len(cases), 'case')}, about {duration(estimate_s)}")

    def time_left(self, seconds: float) -> None:
        """Has what follows say so."""
        self.left.go_on(seconds)

    def phase(self, case: Case | None, round: int | None, phase: str) -> None:
        """Says what has begun."""
        self._say("phase", words_of(case, round, phase), case, round)

    def line(self, line: Line) -> None:
        """Says what came of a case."""
        if text := told(line):
            about = line.process if isinstance(line, Trial) else line
            number = about.round if isinstance(about, Process) else None
            self._say("result", text, getattr(about, "case", None), number, line)

    def message(self, text: str) -> None:
        """Passes a sentence on."""
        self._say("message", one_line(text))

    def _say(
        self,
        kind: Kind,
        text: str,
        case: Case | None = None,
        number: int | None = None,
        line: Line | None = None,
    ) -> None:
        left = self.left
        self._tell(Progress(kind, text, case, number, left.left_s, left.share_done, line))


class TimeLeft:
    """What is left of an estimate; nothing before there is one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = clock()
        self._estimate_s: float | None = None

    def start(self, estimate_s: float) -> None:
        """From now on it is so long."""
        self._started_s, self._estimate_s = self._clock(), estimate_s

    def go_on(self, left_s: float) -> None:
        """What was estimated so far was a guess; from here on it is so long."""
        self._estimate_s = self._clock() - self._started_s + left_s

    @property
    def left_s(self) -> float | None:
        """About how long it will still take (s), 0 where that is over; None where nothing is known."""
        if self._estimate_s is None:
            return None
        return max(0.0, self._estimate_s - (self._clock() - self._started_s))

    @property
    def words(self) -> str:
        """The same for people; empty where nothing is known."""
        left_s = self.left_s
        if left_s is None:
            return ""
        return f"about {duration(left_s)} left" if left_s > 0 else "longer than estimated"

    @property
    def share_done(self) -> float | None:
        """How much of it is over, at most 1; None where nothing is known."""
        if not self._estimate_s:
            return None
        return min((self._clock() - self._started_s) / self._estimate_s, 1.0)


def words_of(case: Case | None, round: int | None, phase: str) -> str:
    """A phase in words: ``numpy:cpu/train/64 · round 1 · measure``."""
    name, bracket, detail = phase.partition(" (")
    what = [WORDS.get(name, name) + bracket + detail] if case is None else [case.label, phase]
    if round is not None:
        what.insert(1, f"round {round}" if round else "trial")
    return " · ".join(what)


def told(line: Line) -> str:
    """A line of a record as a progress message; empty for lines that need none."""
    match line:
        case Trial():
            return told(line.process).replace(" round 0:", " trial:")
        case Choice():
            return f"going on with {listed([case.label for case in line.taken]) or 'none'}"
        case Skip():
            return f"– {line.case.label}: {why(line.reason, line.remedy)}"
        case Verification() if line.status == "ok":
            for_what = "" if line.case.trains else " for inference"
            return f"✓ {line.case.row_name} at batch {line.case.batch} verified{for_what}{_about(line)}"
        case Process() if line.status == "ok" and line.timings_ns:
            middle_ms = sorted(line.timings_ns)[len(line.timings_ns) // 2] * 1e-6
            steps = plural(len(line.timings_ns), "step")
            again = " again" if line.attempt else ""
            return f"  {line.case.label} round {line.round}{again}: {middle_ms:.3g} ms, {steps}"
        case Training() if line.status == "ok":
            share = line.test_accuracy
            accuracy = "" if share is None else f", test accuracy {100 * share:.2f} %"
            return f"  {line.case.label} trained for {plural(line.epochs, 'epoch')}{accuracy}"
        case Verification() | Process() | Training():
            status = line.status.replace("_", " ")
            return f"✗ {line.case.label}: {status}: {one_line(line.reason)}"
        case _:
            return ""


def _about(line: Verification) -> str:
    """A first impression of how long its steps take; empty where there is none."""
    steps = [
        f"{name} {seconds(statistics.median(first.timings_ns) * 1e-9)}"
        for name, first in sorted(line.first_steps.items())
        if first.timings_ns
    ]
    return f"; preliminary: {' and '.join(steps)} a step" if steps else ""


def is_trouble(line: Line | None) -> bool:
    """Whether it says that something of a case went wrong."""
    line = line.process if isinstance(line, Trial) else line
    return isinstance(line, Verification | Process | Training) and line.status != "ok"
