"""Small pieces of wording that progress, doctor and reports share, and how figures are rounded for people.

Rounding happens here and only here: tables hold full precision in SI units.
"""

from __future__ import annotations

import math

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_HUGE = 1e12
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; where full-width signs are written, with those too."""
_MOST_OF_CELL = 32_766
"""Characters of a cell, but for a sign in front: spreadsheets take 32,767, Python's own reader 131,072."""


def printable(text: str, kept: str = "") -> str:
    """Text from elsewhere with spaces for all that is no sign to be seen (control characters, line separators, signs
    that turn the direction of writing) but those in `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else " " for c in text)


def one_line(text: str) -> str:
    """Text from elsewhere made harmless: on one line, without control characters."""
    return " ".join(printable(text).split())


def shortened(text: str, most: int = 500) -> str:
    """Text of at most so many characters; of a longer one its beginning and its end."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]} … {text[-end:]}"


def in_spreadsheet(value: object) -> object:
    """A value as a cell of CSV: text on one line, no longer than a spreadsheet takes, and none that it would take for a
    formula."""
    if not isinstance(value, str):
        return value
    text = shortened(one_line(value), _MOST_OF_CELL)
    return f"'{text}" if text.startswith(_FORMULA) else text


def why(reason: str, remedy: str) -> str:
    """Why something cannot be used and what would change that, on one line; the remedy not
    twice."""
    reason, remedy = one_line(reason) or "no reason was given", one_line(remedy)
    return f"{reason}: {remedy}" if remedy and remedy not in reason else reason


def plural(count: int, word: str) -> str:
    """``1 case``, ``2 cases``, ``3 processes``."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {word}{'es' if word.endswith('s') else 's'}"


def listed(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last


def duration(seconds: float) -> str:
    """A time to wait, as exact as a person needs it: ``40 s``, ``3 min``."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def digits(value: float) -> str:
    """At least three significant digits, no exponent, thousands grouped: ``0.0123``, ``19.8``,
    ``3,232``."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "?"
    if abs(value) >= _HUGE:
        return f"{value:.0e}"
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = min(max(0, 2 - math.floor(math.log10(abs(rounded or value)))), 12)
    return f"{rounded if decimals else value:,.{decimals}f}"


def seconds(value_s: float | None, low_s: float | None = None, high_s: float | None = None) -> str:
    """``19.8 ms``, or ``19.8 ms [19.6, 20.1]`` with the interval in the unit of the value; empty when unknown."""
    if value_s is None:
        return ""
    if value_s == 0 and low_s is None:
        return "0 s"
    unit, one = next((each for each in _UNITS if abs(value_s) >= each[1]), _UNITS[-1])
    shown = f"{digits(value_s / one)} {unit}"
    if low_s is None or high_s is None:
        return shown
    return f"{shown} [{digits(low_s / one)}, {digits(high_s / one)}]"


def factor(value: float) -> str:
    """A ratio with two decimals, or three digits where that says more."""
    return f"{value:.2f}" if 0.1 <= value < 100 else digits(value)


WIDEST = 100.0
"""Of an interval, how many times as large its upper bound may be as its lower one, for a factor to say anything."""


def is_told(low: float | None, high: float | None) -> bool:
    """Whether the interval of a factor is narrow enough to say anything; true where there is none."""
    return low is None or high is None or high <= WIDEST * low


def times(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """``1.81× [1.78, 1.84]``, or without an interval where there is none; empty when unknown. A factor of which hardly
    anything is known is not told, with the interval as the reason."""
    if value is None:
        return ""
    interval = "" if low is None or high is None else f"[{factor(low)}, {factor(high)}]"
    if not is_told(low, high):
        return f"cannot be told: interval {interval}"
    return f"{factor(value)}× {interval}".rstrip()


def percent(value: float) -> str:
    """A share as a percentage; one decimal below 10 %."""
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"


def signed(share: float) -> str:
    """A share that was added or taken away, in percent without the sign of it: ``+6.1``, ``−2.3``, ``+0.0``."""
    text = f"{100 * share:+.1f}"
    return "+0.0" if text == "-0.0" else text.replace("-", "−")


def size(value_bytes: float) -> str:
    """A number of bytes with three digits."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value_bytes >= one:
            return f"{digits(value_bytes / one)} {unit}"
    return f"{value_bytes:.0f} B"


def si(value: float) -> str:
    """A number with three digits and the SI prefix of its unit: ``71.6 M`` for 71.6 million."""
    for prefix, one in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= one:
            return f"{digits(value / one)} {prefix}"
    return f"{digits(value)} "
