"""Which fields are varied, over which values, and the request that a point of them makes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.errors import UsageError
from dlbench.plan.request import Request
from dlbench.spec.decode import nearest, shown
from dlbench.text import shortened
from dlbench.tuning.changed_fields import SECTIONS, changed, present, value_of

Point = Mapping[str, Any]
"""Values by the names of fields."""

_OF_A_RUN: Mapping[str, tuple[str, type]] = {
    "batch": ("batches", int),
    "precision": ("precisions", str),
    "mode": ("modes", str),
    "threads": ("threads", int),
    "seed": ("seed", int),
}
"""What is no field of a suite: its selection in a request, and the type of its values."""
_MANY = ("batches", "precisions", "modes")
_MOST_VALUES = 10_000
_LONGEST_FILE = 120


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values, in the order in which they were named."""

    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """Everything from `low` to `high`; whole numbers where both are. With `log` the same share of the values lies
    between 1 and 10 as between 10 and 100."""

    low: float
    high: float
    log: bool

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = Mapping[str, Choices | Range]
"""What each field may be."""


def read_space(words: Sequence[str], *, ranges: bool) -> dict[str, Choices | Range]:
    """What ``FIELD=VALUE,VALUE`` and, where there may be `ranges`, ``FIELD=LOW..HIGH[:log]`` say.

    Raises
    ------
    UsageError : naming the word, what is wrong, and what would be right.
    """
    space: dict[str, Choices | Range] = {}
    like = "training.optimizer.learning_rate=0.01,0.1"
    for word in words:
        name, equals, listed = word.partition("=")
        if not equals or not listed.strip():
            raise UsageError(f"{shown(word)} is not FIELD=VALUE,VALUE, like {like}")
        name = name.strip()
        if name in space:
            raise UsageError(f"{name} is named twice")
        if "." not in name and name not in _OF_A_RUN:
            known = [*_OF_A_RUN, *(f"{section}.…" for section in SECTIONS)]
            raise UsageError(f"{shown(name)} cannot be varied; {nearest(name, known)}")
        is_range = ".." in listed
        if is_range and not ranges:
            raise UsageError(f"{shown(word)}: name single values, like {like}")
        space[name] = _range(name, listed) if is_range else _choices(name, listed)
    return space


def _choices(name: str, listed: str) -> Choices:
    values = tuple(_value(name, word.strip()) for word in listed.split(","))
    if len(values) > _MOST_VALUES:
        raise UsageError(f"{name}: {len(values):,} values are more than {_MOST_VALUES:,}")
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        raise UsageError(f"{name} = {shown(twice[0])} is named twice")
    return Choices(values)


def _range(name: str, listed: str) -> Range:
    bounds, _, form = listed.partition(":")
    low, high = (_value(name, word.strip()) for word in bounds.split("..", 1))
    told = f"{name}={shortened(listed, 60)}"
    if form not in ("", "log"):
        raise UsageError(f"{told}: {shown(form)} is not log, and nothing else may stand there")
    for bound in (low, high):
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if not is_number or not math.isfinite(bound):
            raise UsageError(f"{told}: {shown(bound)} is no number")
    if not low < high:
        raise UsageError(f"{told}: the first number must be the smaller")
    if form and low <= 0:
        raise UsageError(f"{told}: with log it must begin above 0")
    return Range(low, high, bool(form))


def _value(name: str, word: str) -> Any:
    if name not in _OF_A_RUN:
        return value_of(word)
    kind = _OF_A_RUN[name][1]
    value = value_of(word) if kind is int else word
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        raise UsageError(
            f"{name} = {shown(word)} is no {'whole number' if kind is int else 'word'}"
        )
    return value


def grid(space: Mapping[str, Choices]) -> Iterator[Point]:
    """Every combination, the last field's values changing fastest."""
    for values in itertools.product(*(each.values for each in space.values())):
        yield dict(zip(space, values, strict=True))


def at(request: Request, point: Point) -> Request:
    """The request that a point makes of another.

    Raises
    ------
    SuiteError : the suite has no such field, or not with such a value.
    """
    fields = {name: value for name, value in point.items() if name not in _OF_A_RUN}
    chosen: dict[str, Any] = {"suite": changed(request.suite, fields)}
    for name in point.keys() - fields.keys():
        selection = _OF_A_RUN[name][0]
        chosen[selection] = (point[name],) if selection in _MANY else point[name]
    return dataclasses.replace(request, **chosen)


def own_point(request: Request, space: Space) -> tuple[Point | None, str]:
    """The request's own point, and where it has none within a space, why: what its suite's file leaves at its default
    is not known here."""
    own: dict[str, Any] = {}
    for name, allowed in space.items():
        if name in _OF_A_RUN:
            found = {
                "batch": request.chosen_batches[0],
                "threads": request.chosen_threads,
                "seed": request.seed,
                "precision": request.chosen_precisions[0],
                "mode": next(iter(request.modes), ""),
            }[name]
        else:
            found = present(request.suite, name)
        if found is None:
            return None, f"the suite's file does not say {name}"
        inside = (
            found in allowed.values
            if isinstance(allowed, Choices)
            else isinstance(found, int | float) and allowed.low <= found <= allowed.high
        )
        if not inside:
            return None, f"{name} = {found} is not among what is searched"
        own[name] = found
    return own, ""


def told(point: Point) -> str:
    """A point as it is written: ``batch=64, training.optimizer.learning_rate=0.01``."""
    return ", ".join(f"{name}={value}" for name, value in point.items())


def file_name(point: Point) -> str:
    """The name of the record of a point: what it is, as far as file names allow."""
    whole = told(point)
    name = re.sub(r"[^\w.=,+-]+", "_", whole.replace(", ", ","), flags=re.ASCII)
    if name != whole.replace(", ", ",") or len(name) > _LONGEST_FILE:
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        name = f"{name[:_LONGEST_FILE]}-{digest}"
    return f"{name}.jsonl"
