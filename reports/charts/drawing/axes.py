"""Axes whose ticks are round numbers with units: factors on a logarithmic scale, and times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    pass

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_FEWEST = 3
_SYMBOL_PX = 48
_LABEL_PX = 52
_PLAIN = "format(datum.value, ',~r')"
_SECONDS = (
    "datum.value >= 1 ? format(datum.value, ',~r') + ' s' : datum.value >= 1e-3 ? format(datum.value * 1e3, "
    "',~r') + ' ms' : datum.value >= 1e-6 ? format(datum.value * 1e6, ',~r') + ' µs' : format(datum.value * "
    "1e9, ',~r') + ' ns'"
)
FACTORS, NUMBERS, SECONDS = f"{_PLAIN} + '×'", _PLAIN, _SECONDS
"""How ticks are labelled: ``2×``, ``2``, ``2 ms``."""


def span(values: Iterable[float], room: float = 1.15) -> tuple[float, float]:
    """The bounds of a logarithmic axis that holds values, with some room on either side."""
    known = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = min(known, default=1.0), max(known, default=1.0)
    return low / room, high * room


def within(middles: Iterable[float], ends: Iterable[float], most: float = 30.0) -> list[float]:
    """Values that an axis has to hold: all of the first, and of the ends of intervals those that lie less than a factor
    away from these. What is wider is cut, as its figure tells."""
    middles = [value for value in middles if value > 0 and math.isfinite(value)]
    low, high = min(middles, default=1.0) / most, max(middles, default=1.0) * most
    return [*middles, *(min(max(value, low), high) for value in ends if not math.isnan(value))]


def log_ticks(low: float, high: float, width: int) -> list[float]:
    """Round numbers within bounds, at most as many as labels fit in a width (px)."""
    most = max(width // _LABEL_PX, _FEWEST)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    sets: list[tuple[float, ...]] = [(1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)]
    sets += [tuple(1 + i / 2 for i in range(18))]
    sets += [tuple(1 + i / 5 for i in range(45)), tuple(1 + i / 10 for i in range(90))]
    sets += [tuple(1 + i / 20 for i in range(180)), tuple(1 + i / 50 for i in range(450))]
    found: list[float] = []
    for digits in sets:
        powers = range(first, last + 1)
        every = [10.0**power * digit for power, digit in itertools.product(powers, digits)]
        now = sorted({float(f"{tick:.6g}") for tick in every if low <= tick <= high})
        if len(now) > most and len(found) >= _FEWEST - 1:
            break
        found = now
        if len(found) >= _FEWEST + 2:
            break
    thin = math.ceil(len(found) / most) if len(found) > most else 1
    return found[::thin]


def log(
    low: float, high: float, width: int, title: str, labels: str = FACTORS, **more: Any
) -> dict[str, Any]:
    """Scale, axis and title of a logarithmic channel, for `alt.X` or `alt.Y`."""
    import altair as alt

    ticks = log_ticks(low, high, width)
    axis = alt.Axis(values=ticks, labelExpr=labels, labelFlush=True, **more)
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    return {"scale": scale, "axis": axis, "title": title}


def unit_of(largest_s: float) -> tuple[float, str]:
    """The unit in which times up to one are told on a linear axis: its length (s), and its sign."""
    return next((unit for unit in _UNITS if largest_s >= unit[0]), _UNITS[-1])


def linear(title: str, **more: Any) -> dict[str, Any]:
    """Axis and title of a linear channel from 0 on."""
    import altair as alt

    axis = alt.Axis(labelExpr=NUMBERS, labelFlush=True, tickCount=5, **more)
    return {"scale": alt.Scale(zero=True, nice=True), "axis": axis, "title": title}


def legend_limit(width: int, columns: int) -> int:
    """How long (px) the names of a legend may be that has so many columns in a width, in any of the fonts."""
    return int(style.ROOM * width / columns) - _SYMBOL_PX


def lines_legend(width: int) -> Any:
    """A legend of lines beneath a chart: in two columns where that is wide."""
    import altair as alt

    columns = 2 if width >= style.WIDE else 1
    return alt.Legend(
        title=None,
        orient="bottom",
        columns=columns,
        labelLimit=legend_limit(width, columns),
        symbolSize=300,
        symbolType="stroke",
    )
