"""The table of a run that is going on, by the lines of its record so far."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from dlbench import plugins
from dlbench.analyse.disturbance import causes
from dlbench.analyse.table import build
from dlbench.errors import UsageError
from dlbench.record.case import Case
from dlbench.record.facts import FirstSteps
from dlbench.record.schema import (
    Header,
    Line,
    Process,
    Record,
    Skip,
    Trial,
    Verification,
)

_BENEATH = 3
"""Lines of the terminal that are left to what stands beneath the table."""


class LiveTable:
    """Fills in as lines come: each case has a row from the beginning, preliminary figures once it is verified, and
    those of its row with its first process.

    It is made anew when something of a case has come to an end. Then nothing is being timed; what is drawn in between
    is what there is.
    """

    def __init__(self, console: Console, held: Record | None = None) -> None:
        self._console = console
        self._render: Any = plugins.load_reporter("terminal", plugins.ROWS_SO_FAR)
        self._header: Header | None = None
        self._lines: list[Line] = []
        self._waiting: dict[Case, str] = {}
        self._preliminary: dict[Case, Mapping[str, Any]] = {}
        self.text = Text()
        for line in (held.header, *held.lines) if held else ():
            self._take(line)
        self._make()

    def add(self, line: Line) -> None:
        """Takes a line of the record in."""
        self._take(line)
        # there may be many that cannot run, which are told at once
        if isinstance(line, Process | Verification | Trial):
            self._make()

    def _take(self, line: Line) -> None:
        if isinstance(line, Header):
            self._header = line
            self._waiting = dict.fromkeys(line.cases, "to be verified")
            return
        self._lines.append(line)
        match line:
            case Process() | Skip():
                self._waiting.pop(line.case, None)
                self._preliminary.pop(line.case, None)
            case Trial():
                self._waiting[line.case] = "tried"
            case Verification():
                for case in list(self._waiting):
                    if case.configuration == line.case.configuration:
                        self._verified(case, line)

    def _verified(self, case: Case, found: Verification) -> None:
        assert self._header is not None
        if found.status != "ok" or not self._header.rounds:
            del self._waiting[case]
            return
        error = found.max_relative_error
        told = "" if error is None else f" (largest error {error:.1e})"
        self._waiting[case] = f"verified{told}, to be timed"
        steps = found.first_steps.get(case.scenario)
        if steps is not None and min(steps.timings_ns, default=0) > 0:
            self._preliminary[case] = _cells(case, steps)

    def _make(self) -> None:
        if self._header is None:
            return
        record = Record(self._header, tuple(self._lines))
        try:
            report = build([("", record)], self._header.baseline)
        except UsageError:
            # the baseline is one of the modes that are still being tried
            report = build([("", record)])
        width, height = self._console.size
        colour = self._console.color_system is not None
        drawn = self._render(
            report, self._waiting, self._preliminary, width=width, colour=colour
        ).splitlines()
        most = max(height - _BENEATH, 1)
        if len(drawn) > most:
            more = len(drawn) - most + 1
            drawn = [*drawn[: most - 1], f"  … {more} lines more"]
        self.text = Text("\n").join(map(Text.from_ansi, drawn))


def _cells(case: Case, steps: FirstSteps) -> dict[str, Any]:
    """What the first steps of a case are worth in its row."""
    median_s = statistics.median(steps.timings_ns) * 1e-9
    return {
        "status": "ok",
        "median_s": median_s,
        "samples_per_s": case.batch / median_s,
        "interval_over": "preliminary",
        "disturbed": bool(causes(steps.during, case.threads)),
    }
