"""Records as one HTML file that opens anywhere: from a disk, a mail, or what a CI job leaves.

It says what the terminal says: sentences and tables are the same, and charts are drawn from the same rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Report, Run
from dlbench.history.series import History
from dlbench.record.comparability import unlike
from dlbench.spec.scenarios import KINDS
from dlbench.text import listed, one_line

from ..charts.cold_start import with_ledger
from ..charts.drawing import render as charts
from ..charts.drawing.row_groups import measured
from ..history.format import moment
from ..run import about_record, words
from ..run.conclusions import conclusions
from ..tables.model import Column, Line, Section
from . import again, document, over_time
from .blocks import Block, Bullets, Command, Part, Table, Text
from .document import Chapter
from .record_parts import parts

_TOLD = (
    "Each factor has a 95 % interval that holds for all rows compared at once; those in the table and the charts "
    "are each of one pair of rows, so they are narrower where there are more than two. 'No significant difference' "
    "means that this run cannot tell, not that there is none."
)
_MANY = (
    "Records stand side by side and are never pooled: rows are held against the baseline of their own record, "
    "and rows of different records may be compared only where nothing is named here that differs."
)


class Page:
    """The format ``html``."""

    def require(self) -> None:
        """Makes sure that a page can be made.

        Raises
        ------
        DlbenchError : what draws the charts is not installed.
        """
        charts.require()

    def __call__(self, report: Report, *, width: int = 80, colour: bool = False) -> str:
        """The page of a report; errors as for `require`."""
        return self.with_history(report, None)

    def with_history(
        self, report: Report, history: History | None, digests: Collection[str] = ()
    ) -> str:
        """The page with how the records' cases went over time; `digests` are those of the records, as the history has
        them. Errors as for `require`."""
        self.require()
        whole = with_ledger(report)
        chapters = [_chapter(run, whole) for run in whole.runs]
        if history is not None:
            # one history has the cases of all records
            last = chapters[-1]
            more = [*last.parts, over_time.part(history, digests)]
            chapters[-1] = dataclasses.replace(last, parts=more)
        return document.write(_title(whole), _found(whole), chapters)


render = Page()


def _title(report: Report) -> str:
    suites = dict.fromkeys(one_line(run.header.suite) for run in report.runs)
    return f"dlbench: {', '.join(suites)}"


def _chapter(run: Run, report: Report) -> Chapter:
    begun = moment(one_line(run.header.created))
    lines = (about_record.title(run), f"{about_record.machine(run)} · {begun}")
    return Chapter(one_line(run.name), lines, parts(run, report))


def _found(report: Report) -> Part:
    """What records tell together, the answers first."""
    blocks: list[Block] = []
    told = [text.removeprefix("→ ") for text in conclusions(report, intervals=True)]
    kinds = [(_kind(text), _capital(text)) for text in told]
    left = [("open", text) for run in report.runs for text in _not_compared(run, report)]
    if kinds:
        batches = {row.case.batch for row in report.rows if row["median_s"] is not None}
        sizes = listed([f"{batch:,}" for batch in sorted(batches)[:_MOST_SIZES]])
        more = " and more" if len(batches) > _MOST_SIZES else ""
        sized = f"Measured at batch size {sizes}{more}. "
        blocks += [Bullets((*kinds, *left)), Text((f"{sized}{_TOLD}",))]
    else:
        blocks += [Text((_silence(report),)), *([Bullets(tuple(left))] if left else [])]
    if report.notes:
        blocks.append(Bullets(tuple(("warning", note) for note in report.notes)))
    if len(report.runs) > 1:
        blocks += [Text((_MANY,)), Table(_differences(report))]
    else:
        blocks.append(Command("To run it again:", again.command(report.runs[0])))
    return Part("What was found", blocks)


def _not_compared(run: Run, report: Report) -> Iterator[str]:
    """What was to be compared and is not, since too few rows have figures; the question would go unanswered else."""
    prefix = f"{one_line(run.name)}: " if len(report.runs) > 1 else ""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in run.rows:
        groups.setdefault((row.case.suite, row.case.scenario, row.case.batch), []).append(row)
    found = []
    for (_, _scenario, batch), rows in groups.items():
        sound = [one_line(row.case.row_name) for row in measured(rows)]
        without = [row for row in rows if row["status"] != "ok"]
        if len(sound) < 2 and without:
            who = f"only {sound[0]} has figures" if sound else "no row has figures"
            why = [
                f"{one_line(row.case.row_name)}: {words.trouble(row)}" for row in without[:_MOST]
            ]
            why += [f"{len(without) - _MOST} more below"] if len(without) > _MOST else []
            what = f"Nothing is compared in {KINDS[rows[0].case.scenario].noun} at batch {batch:,}"
            found.append(f"{prefix}{what}: {who} ({'; '.join(why)}).")
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield f"{prefix}Nor in {len(found) - _MOST} more cases; 'How far to trust it' has the reasons."


_MOST = 3
_OPEN = (
    *("nothing is concluded", "no significant difference", "no interval"),
    *("no significant cost", "cannot be told"),
)
_MOST_SIZES = 8


def _kind(text: str) -> str:
    if any(words in text for words in _OPEN):
        return "open"
    certain = text.endswith("]).") and " as fast as " in text
    return "certain" if certain or "'s speed" in text else "told"


def _capital(text: str) -> str:
    """A sentence of our own words with a capital; names stay as they are."""
    own = text.startswith(("nothing ", "no ", "without these: "))
    return f"{text[0].upper()}{text[1:]}" if own else text


def _silence(report: Report) -> str:
    measured = sum(row["median_s"] is not None for row in report.rows)
    if not measured:
        return "Nothing was timed and verified in these records, so nothing is concluded."
    return (
        "Nothing is concluded: a conclusion needs at least two verified rows of one scenario and batch size, "
        "one of which is the baseline (--baseline BACKEND:DEVICE)."
    )


def _differences(report: Report) -> Section:
    """In what each record differs from the first one of its suite."""
    rows, told = [], []
    first: dict[str, Any] = {}
    for run in report.runs:
        other = first.setdefault(run.header.suite, run)
        found = list(unlike(other.header, run.header))
        what = "; ".join(each.between(other.name, run.name) for each in found)
        if other is run:
            verdict = "the first of its suite"
        else:
            verdict = "not to be compared" if found else "may be compared"
        rows.append((one_line(run.name), moment(one_line(run.header.created)), verdict))
        told.append(one_line(what))
    against = one_line(report.runs[0].name) if len(first) == 1 else "the first of its suite"
    columns = (
        Column(title, tuple(cells), names=title == "record")
        for title, cells in zip(
            ("record", "begun", f"with {against}"), zip(*rows, strict=True), strict=True
        )
    )
    return Section(
        "Which records may be compared",
        columns=tuple(columns),
        lines=tuple(Line(text=text) for text in told),
        texts_title="what differs" if any(told) else "",
    )
