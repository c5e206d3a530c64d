"""The verdicts of a comparison or a gate as one page: the answer, then each case."""

from __future__ import annotations

from dlbench.compare.verdicts import Verdicts

from ..charts.drawing import render as charts
from ..charts.verdicts import figure
from ..tables.model import Section
from ..verdict import format as say
from . import document
from .blocks import Block, Bullets, Part, Picture, Table


class Page:
    """The format ``html`` of verdicts."""

    def require(self) -> None:
        """Makes sure that a page can be made; errors as for `charts.require`."""
        charts.require()

    def __call__(self, verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
        """The page; errors as for `require`."""
        self.require()
        (section,) = say.build_sections(verdicts)
        drawn = figure(verdicts)
        blocks: list[Block] = [] if drawn is None else [Picture(drawn)]
        blocks.append(
            Table(
                Section(
                    "Cases",
                    columns=section.columns,
                    lines=section.lines,
                    marks_title=section.marks_title,
                    texts_title=section.texts_title,
                )
            )
        )
        chapter = document.Chapter("verdicts", (say.title(verdicts),), [Part("The cases", blocks)])
        return document.write("dlbench: verdicts", _found(verdicts), [chapter])


render = Page()


def _found(verdicts: Verdicts) -> Part:
    kind = {0: "told", 1: "warning"}.get(verdicts.exit_code, "open")
    items = [(kind, say.conclusion(verdicts))]
    if verdicts.advisory:
        items.append(("warning", say.advisory(verdicts)))
        items += [("warning", say.difference(each)) for each in verdicts.differences]
    items += [("warning", note) for note in verdicts.notes]
    return Part("What was found", [Bullets(tuple(items))])
