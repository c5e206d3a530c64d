"""What a run came to, as an object: its cases, its table in every format, its DataFrames."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dlbench import plugins
from dlbench.analyse.table import ColdStart, Report, build
from dlbench.api.case_result import CaseResult, result_of
from dlbench.api.frames import Per, frame
from dlbench.api.plots import Plots
from dlbench.record.case import find_case
from dlbench.record.schema import Machine, Record
from dlbench.text import plural, shortened

if TYPE_CHECKING:
    import pandas as pd

_MOST_SHOWN = 12


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Results:
    """The cases of one record or of several, which stand side by side and are never pooled.

    Iterating gives the cases, as does ``len``; ``results["torch:cpu/train/64"]`` is the one that is called so. Printed
    it is the table that the command line shows, in a notebook the same in HTML. Every figure is computed from the
    record and nothing else.

    Attributes
    ----------
    records : each record with the place that it was read from.
    baseline : the row that speed-ups refer to, as it was asked for; None for ``numpy:cpu``, where that is there.
    cold_start : whether the table has what came before the steady steps, too.
    """

    records: tuple[tuple[str, Record], ...]
    baseline: str | None = None
    cold_start: bool = False

    def __post_init__(self) -> None:
        # what is wrong with the baseline is told at once
        _ = self._report

    @functools.cached_property
    def _report(self) -> Report:
        return build(self.records, self.baseline, ColdStart() if self.cold_start else None)

    @functools.cached_property
    def cases(self) -> tuple[CaseResult, ...]:
        """The rows of the table in its order: training first, then by device, batch size and speed; those without a
        figure beneath."""
        return tuple(map(result_of, self._report.rows))

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the records are."""
        return tuple(path for path, _ in self.records)

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Where each record was measured."""
        return tuple(record.header.machine for _, record in self.records)

    @functools.cached_property
    def conclusions(self) -> tuple[str, ...]:
        """What follows from the figures, in sentences; nothing is concluded from rows that are disturbed or were not
        verified."""
        found = json.loads(self.report("json"))["readings"]
        return tuple(sentence.removeprefix("→ ") for sentence in found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known when records are read together, such as that two are of different machines."""
        return self._report.notes

    def report(self, format: str = "table", *, width: int = 120) -> str:
        """The results in any format of ``dlbench report --format``.

        Parameters
        ----------
        format : ``table``, ``markdown``, ``csv``, ``json``, or whatever else is installed.
        width : columns of the table; what does not fit is hidden and named.

        Returns
        -------
        Text that ends in a line break.

        Raises
        ------
        UsageError : there is no such format, or nothing was measured that it is about.
        """
        return plugins.text_of(self._report, format, plugins.REPORTS, width)

    def to_pandas(self, per: Per = "case") -> pd.DataFrame:
        """The results as a tidy DataFrame; times are in seconds, sizes in bytes, and what is unknown is NaN or None.

        Parameters
        ----------
        per : what a row is: ``case``, with the columns of CSV, described in docs/reading-the-table.md; ``process``,
            a fresh process that timed a case, with the median of its steady steps; ``timing``, a step, with its
            number in its process, the block of steps that it was in (0 in the warm-up) and its ``phase``; ``layer``, a
            part of a profiled step.
            Of processes and timings, ``counts`` says whether the case's figures rest on the process: not when it was
            measured again, or its case is not ``ok`` (``case_status``).

        Raises
        ------
        UsageError : `per` is none of these.
        """
        return frame(self._report, per)

    @property
    def plot(self) -> Plots:
        """The charts that there are: ``results.plot.speedup()``."""
        return Plots(lambda: build(self.records, self.baseline, ColdStart()))

    def with_baseline(self, baseline: str | None) -> Results:
        """The same with speed-ups over another row, such as ``torch:cpu``.

        Raises
        ------
        UsageError : there is no such row.
        """
        return dataclasses.replace(self, baseline=baseline)

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, label: str) -> CaseResult:
        """The case that a label names; mode and precision may be left out where that names just one.

        Raises
        ------
        UsageError : no case is called so, or several are.
        """
        wanted = find_case(label, [each.case for each in self.cases], "results")
        return next(each for each in self.cases if each.case == wanted)

    def __str__(self) -> str:
        return self.report().rstrip("\n")

    def __repr__(self) -> str:
        counts = Counter(each.status.replace("_", " ") for each in self.cases)
        suites = dict.fromkeys(record.header.suite for _, record in self.records)
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        head = f"Results of {', '.join(suites)}: {plural(len(self), 'case')}"
        lines = [f"  {shortened(repr(each), 160)}" for each in self.cases[:_MOST_SHOWN]]
        if more := len(self) - len(lines):
            lines.append(f"  … and {more:,} more")
        return "\n".join([f"{head} ({told})" if told else head, *lines])

    def _repr_html_(self) -> str:
        return self.report("html-fragment")


def results_of(
    records: Sequence[tuple[str, Record]], baseline: str | None = None, **more: Any
) -> Results:
    """Records with the places that they were read from, as results; errors as for `build`."""
    return Results(tuple(records), baseline, **more)
