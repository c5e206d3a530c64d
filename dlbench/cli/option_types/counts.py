"""Options whose values are whole numbers, one or several."""

from __future__ import annotations

from typing import Any

import click


class Counts(click.IntRange):
    """One whole number, or several with commas between them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers."""
        words: list[Any] = value.split(",") if isinstance(value, str) else [value]
        return tuple(super(Counts, self).convert(word, param, ctx) for word in words)


def flat(
    context: click.Context, parameter: click.Parameter, values: tuple[tuple[int, ...], ...]
) -> tuple[int, ...]:
    """The numbers of an option that was given several times, each once."""
    return tuple(dict.fromkeys(value for each in values for value in each))
