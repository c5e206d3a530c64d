"""Shows on stderr what a run is doing: live on a terminal, as plain lines elsewhere, or not at all.

The display is redrawn when something happens and at no other time. A display that is redrawn by the
clock would take the processor from the very steps that are being timed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from dlbench.api.progress import WORDS, Progress, Telling, is_trouble
from dlbench.cli.live_table import LiveTable
from dlbench.execute.events import Observer
from dlbench.record.schema import Line, Process, Record, Verification

Shown = TypeVar("Shown")
_BAR_CELLS = 20


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

    def draw(self, text: str, above: Text | None = None) -> None:
        """Draws it anew, with something `above`."""
        whole = Text(text) if not above else Text("\n\n").join([above, Text(text)])
        whole.no_wrap, whole.overflow = True, "ellipsis"
        self.display.update(whole, refresh=True)


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


def progress(
    stream: TextIO, *, quiet: bool = False, held: Record | None = None
) -> contextlib.AbstractContextManager[Observer]:
    """An observer that shows a run on `stream`, as long as the context lasts; `held` is what a record that is completed
    has already."""
    live = functools.partial(LiveProgress, held=held)
    return shown(stream, quiet, Observer(), PlainProgress, live)


class PlainProgress(Lines, Telling):
    """A line for each thing that came to an end, for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        Lines.__init__(self, stream)
        Telling.__init__(self, self._show, clock)
        self._said = ""

    def _show(self, happened: Progress) -> None:
        text = happened.text
        if happened.kind == "phase":
            # what the run does for all cases together; a case has a line when something ended
            text = text.partition(" (")[0]
            if text in WORDS.values() and text != self._said:
                self.say(text)
                self._said = text
            return
        left = self.left.words if isinstance(happened.line, Process | Verification) else ""
        self.say(f"{text} · {left}" if left else text)


class LiveProgress(Redrawn, Telling):
    """The table so far and a line at the bottom of a terminal; above remains what a person should not miss."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        held: Record | None = None,
    ) -> None:
        Redrawn.__init__(self, console)
        Telling.__init__(self, self._show, clock)
        self._table = LiveTable(console, held)

    def line(self, line: Line) -> None:
        """Fills in what came of a case."""
        self._table.add(line)
        super().line(line)

    def _show(self, happened: Progress) -> None:
        match happened.kind:
            case "phase":
                words = " · ".join(filter(None, (happened.text, self.left.words)))
                self.draw(self._bar() + words, self._table.text)
            case "message":
                self.display.console.print(Text(happened.text))
            case "result" if is_trouble(happened.line):
                self.display.console.print(Text(happened.text))

    def _bar(self) -> str:
        done = self.left.share_done
        if done is None:
            return ""
        full = round(done * _BAR_CELLS)
        return f"{'━' * full}{'╌' * (_BAR_CELLS - full)} "


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
    with Bars(*columns, console=Console(file=stream)) as bars:
        tasks: dict[str, TaskID] = {}

        def update(file: str, done_bytes: int, total_bytes: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total_bytes)
            bars.update(tasks[file], completed=done_bytes, total=total_bytes)

        yield update
