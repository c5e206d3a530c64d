"""A history as a picture: each series over time, with its levels and what does not count."""

from __future__ import annotations

import datetime
import io
import textwrap
from typing import Any

from dlbench.errors import DlbenchError, UsageError
from dlbench.history.series import History, Series
from dlbench.text import seconds

from . import format as say

MOST = 12
"""Series that one picture holds."""
FORMATS = ("svg", "png", "pdf")
_POINT, _LEVEL, _TROUBLE = "#1f5fa8", "#c2410c", "#8a8a8a"


def draw(history: History, form: str) -> bytes:
    """The picture as a file's contents.

    Parameters
    ----------
    form : one of `FORMATS`.

    Raises
    ------
    UsageError : nothing to draw, or more than `MOST` series.
    DlbenchError : matplotlib is not installed.
    """
    shown = [one for one in history.series if one.last_figure is not None]
    if not shown:
        raise UsageError("none of these series has a figure, so there is nothing to draw")
    if len(shown) > MOST:
        raise UsageError(
            f"{len(shown)} series do not fit into one picture; name words that at most {MOST} have"
        )
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise DlbenchError("pictures need matplotlib: pip install 'dlbench[history]'") from None
    with mpl.rc_context({"svg.hashsalt": "dlbench", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 0.4 + 2.9 * len(shown)), layout="constrained")
        for axes, series in zip(
            figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True
        ):
            _draw(axes, series)
        target = io.BytesIO()
        undated = (
            {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else {}
        )
        figure.savefig(target, format=form, dpi=150, metadata=undated)
    return target.getvalue()


def _draw(axes: Any, series: Series) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    for counts, colour, face in ((True, _POINT, _POINT), (False, _TROUBLE, "white")):
        points = [p for p in series.points if p.row.median_s is not None and p.counts is counts]
        if not points:
            continue
        middle = [p.row.median_s or 0.0 for p in points]
        below = [m - (p.row.low_s or m) for m, p in zip(middle, points, strict=True)]
        above = [(p.row.high_s or m) - m for m, p in zip(middle, points, strict=True)]
        axes.errorbar(
            [_time(p.created) for p in points],
            middle,
            yerr=(below, above),
            fmt="o",
            markersize=3.5,
            markerfacecolor=face,
            color=colour,
            elinewidth=0.8,
            linestyle="none",
            label="median of a record, 95 % confidence interval" if counts else "does not count",
        )
    failed = [p for p in series.points if p.row.median_s is None and p.row.status != "skipped"]
    if failed:
        axes.plot(
            [_time(p.created) for p in failed],
            [0.03] * len(failed),
            "x",
            color=_TROUBLE,
            transform=axes.get_xaxis_transform(),
            label="no figure",
        )
    _levels(axes, series)
    axes.set_title(
        "\n".join(
            [
                f"{series.key.case.suite} · {series.name}",
                *textwrap.wrap(say.circumstances(series), 140),
            ]
        ),
        loc="left",
        fontsize=8,
        parse_math=False,
    )
    # matplotlib's dates have no types
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(float(value))))
    axes.set_ylabel("median step")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # by the medians: the interval of two processes may be wider than any picture
    figures = [p.row.median_s for p in series.points if p.row.median_s is not None]
    low, high = min(figures), max(figures)
    room = max(0.15 * (high - low), 0.03 * high)
    axes.set_ylim(low - room, high + 2 * room)
    axes.legend(fontsize=7, frameon=False, loc="best")


def _levels(axes: Any, series: Series) -> None:
    """The levels as lines, and at each change how much it is."""
    changes = series.changes or ()
    if not changes:
        return
    first, last = _time(series.points[0].created), _time(series.points[-1].created)
    starts = [max(first, _time(change.created)) for change in changes]
    heights = [changes[0].before_s, *(change.after_s for change in changes)]
    for begin, end, height in zip([first, *starts], [*starts, last], heights, strict=True):
        axes.hlines(height, begin, end, color=_LEVEL, linewidth=1.4)
    for change, start in zip(changes, starts, strict=True):
        axes.axvline(start, color=_LEVEL, linewidth=0.8, linestyle="--")
        axes.annotate(
            f" {say.change(change)}\n {say.reason(change)}",
            (start, 1.0),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize=7,
            color=_LEVEL,
            parse_math=False,
        )


def _time(created: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(created)
