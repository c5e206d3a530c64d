"""A history for people at a terminal: a line a series, or of chosen series a line a row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from dlbench.history.series import History, Series
from dlbench.text import plural

from ..tables import as_text
from ..tables.model import Line, Section, table
from . import format as say


def render(history: History, *, width: int = 80, colour: bool = False) -> str:
    """The series with their last figures and changes, or all rows of each where these were asked for."""
    found = map(_detail, history.series) if history.detailed else _overview(history.series)
    notes = [] if history.series else ["the history holds no record yet"]
    notes += [] if history.searched else [f"! {say.NOT_SEARCHED}"]
    return as_text.render([*found, Section(notes=(*notes, history.place))], width, colour)


def _overview(every: Sequence[Series]) -> Iterator[Section]:
    shown = [series for series in every if series.last_figure is not None]
    if shown:
        yield Section(intro=(say.INTERVALS,))
    for _, group in itertools.groupby(
        sorted(shown, key=lambda series: (series.key.facts, series.key.order)),
        key=lambda series: series.key.facts,
    ):
        alike = list(group)
        yield Section(
            say.circumstances(alike[0]),
            top=True,
            columns=table(map(_cells, alike), *[""] * 6),
            lines=(Line(),) * len(alike),
        )
    silent = [series for series in every if series.last_figure is None]
    if silent:
        names = ", ".join(dict.fromkeys(series.name for series in silent))
        told = f"no recent result: {names} (reason: dlbench history show WORD)"
        yield Section(notes=(told,))


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


def _detail(series: Series) -> Section:
    begins = {change.record: change for change in series.changes or ()}
    rows = [
        [
            say.moment(point.created),
            point.row.version or "?",
            say.median(point) or "–",
            plural(len(point.row.processes_s), "process") if point.row.processes_s else "",
            point.name,
        ]
        for point in series.points
    ]
    intro = [say.circumstances(series)]
    if len(series.points) < series.total:
        intro.append(f"the last {len(rows)} of {series.total:,} rows (--last N)")
    lines = (
        Line(
            "→" if point.record in begins else " ",
            "" if point.counts else "dim",
            f"! {trouble}" if (trouble := say.trouble(point)) else "",
        )
        for point in series.points
    )
    return Section(
        f"{series.key.case.suite} · {series.name}",
        top=True,
        intro=tuple(intro),
        columns=table(rows, *[""] * 5),
        lines=tuple(lines),
        notes=(
            *map(say.sentence, series.changes or ()),
            *(f"→ {say.moment(each.created)} {say.verdict(each)}" for each in series.judged),
        ),
    )
