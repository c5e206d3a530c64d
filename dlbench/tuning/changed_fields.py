"""A suite with other values in some fields of its file."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from dlbench.errors import SuiteError, WorkloadError
from dlbench.spec.decode import nearest, shown
from dlbench.spec.suite import Suite, suite_of

_PART = re.compile(r"([A-Za-z_]\w*)((?:\[\d{1,6}\])*)", re.ASCII)
SECTIONS = ("network", "training", "data")
"""The tables of a file that are about what is computed."""


def changed(suite: Suite, fields: Mapping[str, Any]) -> Suite:
    """The suite as it would be if its file said something else.

    Parameters
    ----------
    fields : values by the paths of fields, as messages have them: ``training.optimizer.learning_rate``,
        ``network.layers[3].out_channels``. What the file leaves at its default may be named too.

    Raises
    ------
    SuiteError : there is no such field, or the value is none that it can have.
    """
    if not fields:
        return suite
    tables = copy.deepcopy(dict(suite.tables))
    for path, value in fields.items():
        at, last = _table(suite.name, tables, path)
        at[last] = value
    try:
        return suite_of(tables, suite.path)
    except WorkloadError as error:
        raise SuiteError(f"{suite.name} with {told(fields)}: {error}") from None


def present(suite: Suite, path: str) -> Any:
    """What the suite's file says in a field; None where it says nothing.

    Raises
    ------
    SuiteError : there is no table that could have such a field.
    """
    at, last = _table(suite.name, suite.tables, path)
    return at.get(last) if isinstance(last, str) else at[last]


def told(fields: Mapping[str, Any]) -> str:
    """Fields and their values, for people."""
    return ", ".join(f"{path} = {shown(value)}" for path, value in fields.items())


def value_of(word: str) -> Any:
    """What a word on the command line means: as TOML has it, or else the word itself."""
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except (ValueError, RecursionError):
        return word


def _table(name: str, tables: Mapping[str, Any], path: str) -> tuple[Any, str | int]:
    """What holds a field, and what the field is called there."""
    steps: list[str | int] = []
    for part in path.split("."):
        found = _PART.fullmatch(part)
        if found is None:
            raise SuiteError(
                f"{shown(path)} is no field; one is written training.optimizer.learning_rate or"
                " network.layers[3].out_channels"
            )
        steps += [found[1], *map(int, re.findall(r"\d+", found[2]))]
    if steps[0] not in SECTIONS:
        raise SuiteError(
            f"{shown(path)} is no field of a suite; {nearest(str(steps[0]), SECTIONS)}"
        )
    at: Any = tables
    for depth, step in enumerate(steps[:-1]):
        at = _within(name, at, step, _written(steps[: depth + 1]))
    last = steps[-1]
    if isinstance(last, int):
        _within(name, at, last, path)
    elif not isinstance(at, dict):
        raise SuiteError(f"{name}: {_written(steps[:-1])} is no table, so it has no {last}")
    return at, last


def _within(name: str, at: Any, step: str | int, path: str) -> Any:
    if isinstance(step, int):
        if not isinstance(at, list):
            raise SuiteError(f"{name}: {path}: that is no array")
        if step >= len(at):
            raise SuiteError(f"{name}: there is no {path}; the last is {len(at) - 1}")
        return at[step]
    if not isinstance(at, dict) or step not in at:
        there = sorted(at) if isinstance(at, dict) else ()
        raise SuiteError(f"{name}: there is no {path}; {nearest(step, there)}")
    return at[step]


def _written(steps: list[str | int]) -> str:
    told = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps)
    return told.removeprefix(".")
