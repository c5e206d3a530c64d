"""What a run tells while it goes on; the progress display listens here."""

from __future__ import annotations

from dlbench.record.schema import Case, Line


class Observer:
    """Hears everything and does nothing with it; override what is to be shown."""

    def planned(self, cases: tuple[Case, ...], estimate_s: float) -> None:
        """The cases are known, and about how long they will take."""

    def time_left(self, seconds: float) -> None:
        """By what was measured so far, the rest takes about so long."""

    def phase(self, case: Case | None, round: int | None, phase: str) -> None:
        """A worker, or the runner itself (no case), enters a phase; `round` is None outside rounds."""

    def epoch(self, case: Case, number: int, accuracy: float | None, train_s: float) -> None:
        """An epoch of a training is over, from 1: the validation accuracy then, None for regression, and the time of
        its steps (s)."""

    def line(self, line: Line) -> None:
        """A line of the record was written."""

    def message(self, text: str) -> None:
        """A sentence for people."""
