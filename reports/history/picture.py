"""A history as a picture: each series over time, with its levels and what does not count."""

from __future__ import annotations

from dlbench.history.series import History

from ..charts.drawing import render
from ..charts.drawing.figure import together
from ..charts.over_time import figures

FORMATS = ("svg", "png", "pdf")


def draw(history: History, form: str) -> bytes:
    """The picture as a file's contents, the same bytes for the same history.

    Parameters
    ----------
    form : one of `FORMATS`.

    Raises
    ------
    UsageError : nothing to draw, or more than `dlbench.reports.charts.history.MOST` series.
    DlbenchError : what draws is not installed.
    """
    render.require()
    return render.drawn(together(list(figures(history))), form)
