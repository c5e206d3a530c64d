"""Turns plain tables (from TOML or JSON) into frozen dataclasses, refusing whatever does not fit.

Workers decode their case with this module too, and have the standard library and NumPy only; that
is why no validation library does it. Every refusal names the path of the field, the value, and what
would be valid.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from dlbench.errors import WorkloadError

T = TypeVar("T")
Pair = tuple[int, int]
Padding = Pair | tuple[Pair, Pair]
"""Rows and columns: of each a number for both sides, or where they differ the two of all four."""

_LARGEST = 2**53


def at_least(minimum: float, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose numbers must be `minimum` or more."""
    return dataclasses.field(default=default, metadata={"minimum": minimum})


def later(default: Any, **limits: float) -> Any:
    """A dataclass field that came after the others: a table leaves it out where it is `default`, so that the digest of
    what does not use it stays what it was. `limits` are those of its numbers: ``minimum``, ``above``, ``below``."""
    return dataclasses.field(default=default, metadata={"later": True, **limits})


def fraction(default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that must lie in [0, 1)."""
    return dataclasses.field(default=default, metadata={"minimum": 0, "below": 1})


def positive(default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose number must be greater than 0."""
    return dataclasses.field(default=default, metadata={"above": 0})


class _Shown(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write very long ones at all
        return repr(x) if abs(x) < 10**40 else f"an integer of {x.bit_length():,} bits"


_SHOWN = _Shown()
_SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxdict = 8
_SHOWN.maxstring = _SHOWN.maxother = 80


def shown(value: Any) -> str:
    """A value from a file as an error says it: as it is written, the middle left out where it is long."""
    return _SHOWN.repr(value)


def nearest(word: Any, known: Sequence[str]) -> str:
    """The hint of an error about `word`: the nearest known one, or all of them."""
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else []
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def table(value: Any, path: str) -> Mapping[str, Any]:
    """`value`, when it is a table."""
    if not isinstance(value, Mapping):
        raise WorkloadError(path, f" = {shown(value)} is not a table")
    return value


def array(value: Any, path: str) -> Sequence[Any]:
    """`value`, when it is an array."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise WorkloadError(path, f" = {shown(value)} is not an array")
    return value


def choose(kinds: Mapping[str, T], value: Mapping[str, Any], path: str) -> tuple[T, dict[str, Any]]:
    """The member of `kinds` that the table's `type` names, and the table's other keys."""
    rest = dict(value)
    kind = rest.pop("type", None)
    if kind is None:
        raise WorkloadError(path, f": 'type' is missing; one of {', '.join(sorted(kinds))}")
    if not isinstance(kind, str) or kind not in kinds:
        raise WorkloadError(
            f"{path}.type", f" = {shown(kind)} is unknown; {nearest(kind, list(kinds))}"
        )
    return kinds[kind], rest


def decode(cls: type[T], value: Any, path: str) -> T:
    """An instance of the dataclass `cls` from a table. Its `hints`, if it has any, say what to write in place of words
    that people know from elsewhere.

    Raises
    ------
    WorkloadError : an unknown or missing key, a wrong type, or a number out of its range.
    """
    given = table(value, path)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            told = getattr(cls, "hints", {}).get(key) or nearest(key, list(fields))
            raise WorkloadError(f"{path}.{key}", f" is not a known key; {told}")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in given:
            where = f"{path}.{name}"
            arguments[name] = _converted(given[name], hints[name], where)
            _check_range(given[name], field.metadata, where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WorkloadError(f"{path}.{name}", " is missing")
    return cls(**arguments)


def _converted(value: Any, kind: Any, path: str) -> Any:
    if kind == Padding:
        return _padding(value, path)
    if isinstance(kind, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return _converted(value, options[0], path)
    if kind == Pair:
        both = _pair(value)
        if both is None:
            raise WorkloadError(
                path, f" = {shown(value)} must be an integer, or two of them: [height, width]"
            )
        return both
    if typing.get_origin(kind) is typing.Literal:
        words = typing.get_args(kind)
        if not isinstance(value, str) or value not in words:
            raise WorkloadError(path, f" = {shown(value)} is unknown; {nearest(value, words)}")
        return value
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        items = array(value, path)
        return tuple(_converted(item, item_kind, f"{path}[{i}]") for i, item in enumerate(items))
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise WorkloadError(path, f" is an integer of {value.bit_length()} bits; at most 2⁵³")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise WorkloadError(path, f" = {shown(value)} must be {_WORDS[kind]}")
    if kind is float and not math.isfinite(value):
        raise WorkloadError(path, f" = {shown(value)} must be finite")
    return value


def _pair(value: Any) -> Pair | None:
    """One integer as two, or two as they are; None for anything else."""
    both = (value, value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(both, str) or not isinstance(both, Sequence) or len(both) != 2:
        return None
    if any(isinstance(item, bool) or not isinstance(item, int) for item in both):
        return None
    if any(abs(item) > _LARGEST for item in both):
        return None
    return both[0], both[1]


def _padding(value: Any, path: str) -> Padding:
    """Where both sides are alike, however that is written, one number stands for them."""
    even = _pair(value)
    if even is not None:
        return even
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        rows, columns = _pair(value[0]), _pair(value[1])
        if rows is not None and columns is not None:
            is_even = rows[0] == rows[1] and columns[0] == columns[1]
            return (rows[0], columns[0]) if is_even else (rows, columns)
    raise WorkloadError(
        path,
        f" = {shown(value)} must be an integer, two of them: [height, width],"
        " or those of each side: [[top, bottom], [left, right]]",
    )


_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def _check_range(value: Any, limits: Mapping[str, float], path: str) -> None:
    for number in _numbers(value):
        if "minimum" in limits and number < limits["minimum"]:
            raise WorkloadError(path, f" = {shown(value)} must be {limits['minimum']} or more")
        if "above" in limits and number <= limits["above"]:
            raise WorkloadError(path, f" = {shown(value)} must be greater than {limits['above']}")
        if "below" in limits and number >= limits["below"]:
            raise WorkloadError(path, f" = {shown(value)} must be less than {limits['below']}")


def _numbers(value: Any) -> Iterator[Any]:
    """A value, or those of an array and of arrays in it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _numbers(item)
    else:
        yield value
