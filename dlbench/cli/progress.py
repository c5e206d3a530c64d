"""Shows on stderr what a run is doing: live on a terminal, as plain lines elsewhere, or not at all.

The display is redrawn when something happens and at no other time. A display that is redrawn by the
clock would take the processor from the very steps that are being timed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

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
from dlbench.text import duration, listed, one_line, plural, why

Shown = TypeVar("Shown")
_BAR_CELLS = 20
_WORDS = {
    "prepare": "preparing data and weights",
    "oracle": "computing the float64 reference",
    "null": "measuring the timer overhead",
    "peak": "measuring the SGEMM peak",
}


class Lines:
    """Writes lines, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """Writes one at once."""
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Redrawn:
    """The bottom of a terminal, drawn again when something happens."""

    def __init__(self, console: Console) -> None:
        self.display = Live(Text(), console=console, auto_refresh=False, transient=True)

    def draw(self, text: str) -> None:
        """Draws it anew."""
        self.display.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)


@contextlib.contextmanager
def shown(
    stream: TextIO,
    quiet: bool,
    silent: Shown,
    plain: Callable[[TextIO], Shown],
    live: Callable[[Console], Shown],
) -> Iterator[Shown]:
    """The observer that suits `stream`, as long as the context lasts; what `live` makes is `Redrawn`."""
    if quiet:
        yield silent
    elif stream.isatty() and os.environ.get("TERM", "") != "dumb":
        observer = live(Console(file=stream))
        assert isinstance(observer, Redrawn)
        with observer.display:
            yield observer
    else:
        yield plain(stream)


def progress(stream: TextIO, *, quiet: bool = False) -> contextlib.AbstractContextManager[Observer]:
    """An observer that shows a run on `stream`, as long as the context lasts."""
    return shown(stream, quiet, Observer(), PlainProgress, LiveProgress)


class _TimeLeft:
    """What is left of an estimate; nothing before there is one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = clock()
        self._estimate_s: float | None = None

    def start(self, estimate_s: float) -> None:
        self._started_s, self._estimate_s = self._clock(), estimate_s

    def go_on(self, left_s: float) -> None:
        """What was estimated so far was a guess; from here on it is so long."""
        self._estimate_s = self._clock() - self._started_s + left_s

    @property
    def words(self) -> str:
        if self._estimate_s is None:
            return ""
        left_s = self._estimate_s - (self._clock() - self._started_s)
        return f"about {duration(left_s)} left" if left_s > 0 else "longer than estimated"

    @property
    def share_done(self) -> float | None:
        if not self._estimate_s:
            return None
        return min((self._clock() - self._started_s) / self._estimate_s, 1.0)


class PlainProgress(Lines, Observer):
    """A line for each thing that came to an end, for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._left = _TimeLeft(clock)
        self._said = ""

    def planned(self, cases: tuple[Case, ...], estimate_s: float) -> None:
        """Says how much there is to do."""
        self._left.start(estimate_s)
        self.say(f"{plural(len(cases), 'case')}, about {duration(estimate_s)}")

    def time_left(self, seconds: float) -> None:
        """Has the lines that follow say so."""
        self._left.go_on(seconds)

    def phase(self, case: Case | None, round: int | None, phase: str) -> None:
        """Says what the run does for all cases together; a case has a line when something ended."""
        said = _WORDS.get(phase.partition(" (")[0], "")
        if case is None and said and said != self._said:
            self.say(said)
            self._said = said

    def line(self, line: Line) -> None:
        """Says what came of a case."""
        if text := told(line):
            left = self._left.words if isinstance(line, Process | Verification) else ""
            self.say(f"{text} · {left}" if left else text)

    def message(self, text: str) -> None:
        """Passes a sentence on."""
        self.say(one_line(text))


class LiveProgress(Redrawn, Observer):
    """One line at the bottom of a terminal; above it remains what a person should not miss."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._left = _TimeLeft(clock)

    def planned(self, cases: tuple[Case, ...], estimate_s: float) -> None:
        """Starts the clock of the estimate."""
        self._left.start(estimate_s)

    def time_left(self, seconds: float) -> None:
        """Moves the bar with the next redraw."""
        self._left.go_on(seconds)

    def phase(self, case: Case | None, round: int | None, phase: str) -> None:
        """Redraws the line."""
        name, bracket, detail = phase.partition(" (")
        what = [_WORDS.get(name, name) + bracket + detail] if case is None else [case.label, phase]
        if round is not None:
            what.insert(1, f"round {round}" if round else "trial")
        if self._left.words:
            what.append(self._left.words)
        self.draw(self._bar() + " · ".join(what))

    def line(self, line: Line) -> None:
        """Leaves a line where something went wrong."""
        line = line.process if isinstance(line, Trial) else line
        if isinstance(line, Verification | Process | Training) and line.status != "ok":
            self.message(told(line))

    def message(self, text: str) -> None:
        """Leaves a sentence above the display."""
        self.display.console.print(Text(one_line(text)))

    def _bar(self) -> str:
        done = self._left.share_done
        if done is None:
            return ""
        full = round(done * _BAR_CELLS)
        return f"{'━' * full}{'╌' * (_BAR_CELLS - full)} "


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
            for_what = " for inference" if line.case.scenario == "infer" else ""
            return f"✓ {line.case.row_name} at batch {line.case.batch} verified{for_what}"
        case Process() if line.status == "ok" and line.timings_ns:
            middle_ms = sorted(line.timings_ns)[len(line.timings_ns) // 2] * 1e-6
            steps = plural(len(line.timings_ns), "step")
            return f"  {line.case.label} round {line.round}: {middle_ms:.3g} ms, {steps}"
        case Training() if line.status == "ok":
            share = line.test_accuracy
            accuracy = "" if share is None else f", test accuracy {100 * share:.2f} %"
            return f"  {line.case.label} trained for {plural(line.epochs, 'epoch')}{accuracy}"
        case Verification() | Process() | Training():
            status = line.status.replace("_", " ")
            return f"✗ {line.case.label}: {status}: {one_line(line.reason)}"
        case _:
            return ""


@contextlib.contextmanager
def download_progress(stream: TextIO) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each file that is fetched, told of `(file, done_bytes, total_bytes)`; without a terminal a
    line as each begins."""
    if not stream.isatty():
        told: set[str] = set()

        def tell(file: str, done_bytes: int, total_bytes: int | None) -> None:
            if file not in told:
                told.add(file)
                size = "" if total_bytes is None else f", {total_bytes / 1e6:.1f} MB"
                stream.write(f"fetching {file}{size}\n")
                stream.flush()

        yield tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as bars:
        tasks: dict[str, TaskID] = {}

        def update(file: str, done_bytes: int, total_bytes: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total_bytes)
            bars.update(tasks[file], completed=done_bytes, total=total_bytes)

        yield update
