"""A history as one page: what has changed, then each series over time; and the part of it that is about a record."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dlbench.history.series import History, Series

from ..charts.drawing import render as charts
from ..charts.over_time import drawable, figure
from ..history import format as say
from ..tables.model import Column, Line, Section
from . import document
from .blocks import Block, Bullets, Part, Picture, Table, Text

_MOST = 24
"""Series that a page draws, so that it stays small enough to send."""
_NOTHING = "None of these series has a result yet, so there is nothing to draw."


class Page:
    """The format ``html`` of histories."""

    def require(self) -> None:
        """Makes sure that a page can be made; errors as for `charts.require`."""
        charts.require()

    def __call__(self, history: History, *, width: int = 80, colour: bool = False) -> str:
        """The page; errors as for `require`."""
        self.require()
        part = Part("Over time", list(_drawn(history)))
        chapter = document.Chapter("history", (history.place,), [part])
        return document.write("dlbench: history", _found(history), [chapter])


render = Page()


def part(history: History, digests: Collection[str]) -> Part:
    """How the cases of a record went over time; `digests` are those of the records that the page is about."""
    blocks: list[Block] = []
    if not history.series:
        blocks.append(Text((f"The history {history.place} has no row of these cases.",)))
    else:
        blocks += _changes(history)
        known = {point.digest for one in history.series for point in one.points}
        if not known.issuperset(digests):
            told = "What this page is about is not in that history, so the charts end before it:"
            blocks.append(Text((f"{told} dlbench history add adds it.",)))
        blocks += _drawn(history)
    return Part("Over time", blocks)


def _drawn(history: History) -> Iterator[Block]:
    """The series, those first that have changed."""
    found = sorted(drawable(history), key=lambda one: not one.changes)
    yield from (Picture(figure(one)) for one in found[:_MOST])
    if not found:
        yield Text((_NOTHING,))
    if len(found) > _MOST:
        told = f"{_MOST} of {len(found):,} series are drawn, those first that have changed"
        yield Text((f"{told}; dlbench history show WORD --format html draws others.",))


def _changes(history: History) -> list[Block]:
    """The change points of all series."""
    told = [
        (
            "told",
            f"{series.key.case.suite}, {series.name}: {say.sentence(change).removeprefix('→ ')}",
        )
        for series in history.series
        for change in series.changes or ()
    ]
    blocks: list[Block] = [Bullets(tuple(told))] if told else []
    if not history.searched:
        blocks.append(Text((say.NOT_SEARCHED,)))
    elif not told:
        blocks.append(Text(("No change point was found in these series.",)))
    return blocks


def _found(history: History) -> Part:
    return Part("What was found", [*_changes(history), Table(_overview(history))])


def _overview(history: History) -> Section:
    last = [next((p for p in reversed(s.points) if p.counts), None) for s in history.series]
    columns = (
        Column(
            "series", tuple(f"{s.key.case.suite} · {s.name}" for s in history.series), names=True
        ),
        Column("rows", tuple(f"{s.total:,}" for s in history.series), right=True),
        Column("last result", tuple("none" if p is None else say.moment(p.created) for p in last)),
        Column("median step", tuple("" if p is None else say.median(p) for p in last)),
        Column("last verdict of a gate", tuple(map(_last_verdict, history.series))),
    )
    shown = tuple(column for column in columns if any(column.cells))
    return Section("Series", columns=shown, lines=(Line(),) * len(history.series))


def _last_verdict(series: Series) -> str:
    judged = series.judged[-1:]
    return "".join(f"{say.moment(each.created)}: {say.verdict(each)}" for each in judged)
