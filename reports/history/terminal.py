"""A history for people at a terminal: a line a series, or of chosen series a line a row."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dlbench.history.series import History, Series
from dlbench.text import plural

from . import format as say

_GAP = "  "


def render(history: History, *, width: int = 80, colour: bool = False) -> str:
    """The series with their last figures and changes, or all rows of each where these were asked for."""
    width = max(width, 40)
    lines = (
        [line for series in history.series for line in _detail(series, width)]
        if history.detailed
        else _overview(history.series, width)
    )
    if not history.series:
        lines.append(Text("the history holds no record yet"))
    if not history.searched:
        lines += _wrapped(f"! {say.NOT_SEARCHED}", width, "yellow")
    lines += _wrapped(str(history.path), width, "dim")
    target = io.StringIO()
    console = Console(
        file=target,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
    return target.getvalue()


def _overview(every: Sequence[Series], width: int) -> list[Text]:
    shown = [series for series in every if series.last_figure is not None]
    lines = [Text(say.INTERVALS, "dim"), Text()] if shown else []
    for _, group in itertools.groupby(
        sorted(shown, key=lambda series: (series.key.facts, series.key)),
        key=lambda series: series.key.facts,
    ):
        alike = list(group)
        lines += _wrapped(say.circumstances(alike[0]), width, "bold")
        lines += [Text(f"  {line}") for line in _aligned([_cells(series) for series in alike])]
        lines.append(Text())
    silent = [series for series in every if series.last_figure is None]
    if silent:
        names = ", ".join(dict.fromkeys(series.name for series in silent))
        lines += _wrapped(
            f"without a figure lately: {names} (dlbench history show WORD says why)", width, "dim"
        )
    return lines


def _cells(series: Series) -> list[str]:
    last = series.last_figure
    assert last is not None
    counted = [point.row.median_s if point.counts else None for point in series.points]
    changed = ""
    if series.changes:
        latest = series.changes[-1]
        changed = f"{say.change(latest)} since {latest.created[:10]}"
    return [
        series.name,
        plural(series.total, "row"),
        say.moment(last.created),
        f"{say.median(last)}{' !' if say.trouble(last) else ''}",
        say.sparkline(counted),
        changed,
    ]


def _detail(series: Series, width: int) -> list[Text]:
    lines = [Text(f"{series.key.case.suite} · {series.name}", "bold")]
    lines += _wrapped(say.circumstances(series), width)
    begins = {change.record: change for change in series.changes or ()}
    rows = [
        [
            "→" if point.record in begins else " ",
            say.moment(point.created),
            point.row.version or "?",
            say.median(point) or "–",
            plural(len(point.row.processes_s), "process") if point.row.processes_s else "",
            point.name,
        ]
        for point in series.points
    ]
    if len(series.points) < series.total:
        lines.append(Text(f"the last {len(rows)} of {series.total:,} rows (--last N)", "dim"))
    for point, text in zip(series.points, _aligned(rows), strict=True):
        style = "" if point.counts else "dim"
        lines.append(Text(text, "bold" if point.record in begins else style))
        trouble = say.trouble(point)
        if trouble:
            lines += _wrapped(f"! {trouble}", width, "yellow", indent="      ")
    for change in series.changes or ():
        lines += _wrapped(say.sentence(change), width, "bold")
    return [*lines, Text()]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell + " " * (size - cell_len(cell)) for cell, size in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _wrapped(text: str, width: int, style: str = "", indent: str = "") -> list[Text]:
    found = textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [Text(line, style) for line in found]
