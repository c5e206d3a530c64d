"""What ``--sweep`` says."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import click

from dlbench.errors import UsageError
from dlbench.record.case import SELECTED
from dlbench.text import shortened

SWEPT = {axis.name: axis.plural for axis in SELECTED if axis.type is int}
"""Names of ``--sweep`` and the selections they stand for."""


class Sweep(NamedTuple):
    """What is varied.

    Attributes
    ----------
    selections : of what one run can have several of: the values, ascending and each once.
    words : of anything else, as they were given; each combination of their values is a run.
    """

    selections: dict[str, tuple[int, ...]]
    words: tuple[str, ...]


def sweep(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> Sweep:
    """What ``--sweep NAME=LIST`` says."""
    word = words[0] if len(words) == 1 else ""
    name, equals, listed = word.partition("=")
    if name not in SWEPT:
        return Sweep({}, words)
    if not equals:
        raise click.BadParameter(
            f"{word!r} is not NAME=LIST, like batch=1,8,64", context, parameter
        )
    values = [value.strip() for value in listed.split(",")]
    wrong = [value for value in values if not re.fullmatch(r"0*[1-9]\d{0,15}", value, re.ASCII)]
    if wrong:
        raise click.BadParameter(
            f"{shortened(wrong[0], 40)!r} in {shortened(word, 80)!r} is not a whole number of 1 or more",
            context,
            parameter,
        )
    return Sweep({SWEPT[name]: tuple(sorted({int(value) for value in values}))}, ())


def with_swept(chosen: dict[str, Any], swept: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The selection with what is swept in its place.

    Raises
    ------
    UsageError : the same is chosen by an option of its own.
    """
    for option, name in SWEPT.items():
        if name in swept and chosen[name]:
            raise UsageError(
                f"--sweep {option}=… and --{option} say the same thing; give one of them"
            )
    return chosen | swept
