"""How a page is written: one file with its style and its script in it, and a policy that forbids everything else.

Nothing in it asks for anything from outside. Charts are in it as SVG, tables as tables; the script only adds sorting,
filtering, and tips at once. Every string goes through the template's escaping.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from dlbench.text import printable

from ..charts.drawing import render as charts
from ..charts.drawing import style
from ..charts.drawing.figure import Figure
from ..tables.model import Section
from .blocks import Part


@dataclasses.dataclass(frozen=True)
class Chapter:
    """What a page says of one record, or of something else that has a name.

    Attributes
    ----------
    name : what it is called where there are several.
    lines : what stands of it at the top of the page.
    parts : its numbered parts, from 2 on.
    """

    name: str
    lines: tuple[str, ...]
    parts: Sequence[Part]


def write(title: str, found: Part, chapters: Sequence[Chapter]) -> str:
    """A page: the part `found` about all of it, and its chapters.

    Raises
    ------
    DlbenchError : what draws the charts is not installed.
    """
    charts.require()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    numbers = itertools.count(1)

    def pictures(figure: Figure) -> dict[str, Any]:
        return {
            each: Markup(charts.svg(figure, width, alone=False, prefix=f"f{next(numbers)}"))
            for each, width in (("wide", style.WIDE), ("narrow", style.NARROW))
        }

    def clean(value: Any) -> Any:
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return printable(value) if plain else value

    environment = Environment(
        loader=PackageLoader("dlbench.reports.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{{style.dark_rules()}}}"
    css, script = f"{_file('page.css')}\n{dark}\n", _file("page.js")
    return environment.get_template("page.jinja").render(
        title=title,
        css=Markup(css),
        script=Markup(script),
        policy=_policy(css, script),
        found=found,
        chapters=chapters,
        pictures=pictures,
        grouped=grouped,
        next_id=lambda: next(numbers),
    )


def _file(name: str) -> str:
    return resources.files("dlbench.reports.html").joinpath(name).read_text("utf-8")


def _policy(css: str, script: str) -> str:
    """What the page may do: show its own style, run its own script, and nothing else."""
    styles, scripts = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{styles}'; script-src 'sha256-{scripts}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def grouped(section: Section) -> Iterator[tuple[str, list[int]]]:
    """The lines of a table by the cell of its grouping column, in their order; one group without a name where it has
    none."""
    column = next((each for each in section.columns if each.groups), None)
    if column is None:
        yield "", list(range(len(section.lines)))
        return
    for name, numbers in itertools.groupby(range(len(section.lines)), lambda n: column.cells[n]):
        yield name, list(numbers)
