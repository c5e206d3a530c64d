"""A history as one page: what has changed, then each series over time."""

from __future__ import annotations

from dlbench.history.series import History

from ..charts.drawing import render as charts
from ..charts.over_time import MOST, figures
from ..history import format as say
from ..tables.model import Column, Line, Section
from . import document
from .blocks import Block, Bullets, Part, Picture, Table, Text


class Page:
    """The format ``html`` of histories."""

    def require(self) -> None:
        """Makes sure that a page can be made; errors as for `charts.require`."""
        charts.require()

    def __call__(self, history: History, *, width: int = 80, colour: bool = False) -> str:
        """The page; errors as for `figures`."""
        self.require()
        blocks: list[Block] = [Picture(each) for each in figures(history)]
        chapter = document.Chapter("history", (history.place,), [Part("Over time", blocks)])
        return document.write("dlbench: history", _found(history), [chapter])


render = Page()


def _found(history: History) -> Part:
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
        blocks.append(
            Text((f"No change point was found in these series (at most {MOST} are drawn).",))
        )
    return Part("What was found", [*blocks, Table(_overview(history))])


def _overview(history: History) -> Section:
    shown = [(series, series.last_figure) for series in history.series]
    known = [(series, last) for series, last in shown if last is not None]
    columns = (
        Column("series", tuple(f"{s.key.case.suite} · {s.name}" for s, _ in known), names=True),
        Column("rows", tuple(f"{s.total:,}" for s, _ in known), right=True),
        Column("last", tuple(say.moment(last.created) for _, last in known)),
        Column("median step", tuple(say.median(last) for _, last in known)),
    )
    return Section("Series", columns=columns, lines=(Line(),) * len(known))
