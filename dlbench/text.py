"""Small pieces of wording that progress, doctor and reports share."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Text from elsewhere made harmless: on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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


def duration(seconds: float) -> str:
    """A time to wait, as exact as a person needs it: ``40 s``, ``3 min``."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
