"""What functions are called with, as the types that a request has; whatever does not fit is refused by its name."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dlbench import paths
from dlbench.errors import UsageError
from dlbench.spec.decode import shown

Words = str | Iterable[str]
Place = str | os.PathLike[str]
T = TypeVar("T", bound=str | int | float)
_WORDS: dict[type, str] = {str: "a word", int: "a whole number", float: "a number"}


def asked(name: str, value: object, kind: type[T]) -> T:
    """A value of this kind; whole numbers of other libraries are whole numbers too.

    Raises
    ------
    UsageError : it is none.
    """
    made: Any = value if isinstance(value, str) else None
    if kind is not str:
        made = _number(value, kind)
    if made is None:
        raise UsageError(f"{name} = {shown(value)} is not {_WORDS[kind]}")
    return kind(made)


def _number(value: Any, kind: type) -> Any:
    """A number of this kind that is equal; None where there is none."""
    if isinstance(value, bool | str):
        return None
    try:
        number = kind(value)
        return number if number == value and math.isfinite(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def several(name: str, values: T | Iterable[T], kind: type[T]) -> tuple[T, ...]:
    """One value or several, as several.

    Raises
    ------
    UsageError : one of them is not of this kind.
    """
    each: Any = values
    one = isinstance(each, str) or not isinstance(each, Iterable)
    return tuple(asked(name, value, kind) for value in ([each] if one else each))


def place(name: str, value: Any) -> Path:
    """A file or folder; ``~`` is the user's home.

    Raises
    ------
    UsageError : it is no path.
    """
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str) or not found:
        raise UsageError(f"{name} = {shown(value)} is not a path")
    return Path(os.path.expanduser(found))


def selected(
    backends: Words,
    devices: Words,
    modes: Words,
    precisions: Words,
    scenarios: Words,
    batches: int | Iterable[int],
    worlds: int | Iterable[int],
    threads: int | None,
    seed: int,
    pythons: Mapping[str, Place] | None,
) -> dict[str, Any]:
    """The selections of a call, by the names of a request."""
    return {
        "backends": several("backends", backends, str),
        "devices": several("devices", devices, str),
        "modes": several("modes", modes, str),
        "precisions": several("precisions", precisions, str),
        "scenarios": several("scenarios", scenarios, str),
        "batches": several("batches", batches, int),
        "worlds": several("worlds", worlds, int),
        "threads": None if threads is None else asked("threads", threads, int),
        "seed": asked("seed", seed, int),
        "pythons": interpreters(pythons),
    }


def files(data_dir: Place | None, timeout: float | None) -> dict[str, Any]:
    """Where the data lie, and how long a worker may show no progress."""
    return {
        "data_dir": None if data_dir is None else place("data_dir", data_dir),
        "limit_s": paths.timeout_s() if timeout is None else asked("timeout", timeout, float),
    }


def weights(begin: Place | None, end: Place | None = None) -> dict[str, Any]:
    """The files of weights that were named."""
    given = {"init_weights": begin, "save_weights": end}
    return {name: place(name, each) for name, each in given.items() if each is not None}


def interpreters(pythons: Mapping[str, Place] | None) -> dict[str, str]:
    """Interpreters by backend, as ``--python`` has them."""
    if not pythons:
        return {}
    from dlbench.worker.interpreters import read_pythons

    return read_pythons(f"{name}={place('pythons', path)}" for name, path in pythons.items())
