"""Pickles of strangers, read without running what they name.

A pickle is a program. Here it can make builtin values and NumPy arrays of numbers, and nothing else: it calls no
function but the three below, whatever it asks for, and NumPy's own way of restoring an array is not among them.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlbench.errors import DataError
from dlbench.text import one_line, shortened

_NUMBERS = re.compile(r"[iuf][1248]|b1")
_FORBIDDEN = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def read_pickle(where: str, content: bytes) -> Any:
    """What a pickle holds: a builtin value, a NumPy array of whole or floating-point numbers, or a dictionary of these.

    Text of Python 2 comes as bytes.

    Parameters
    ----------
    where : names it in errors.

    Raises
    ------
    DataError : it is damaged, or asks for anything else.
    """
    try:
        read = _Reader(io.BytesIO(content), encoding="bytes").load()
        if isinstance(read, dict):
            return {key: _array_of(value) for key, value in read.items()}
        return _array_of(read)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        # what is damaged fails in every way that Python knows
        told = shortened(one_line(f"{type(error).__name__}: {error}"), 200)
        raise DataError(f"{where}: damaged or no pickle ({told}): get it again") from error


class _Type:
    """A NumPy type by its word and byte order."""

    def __init__(self, word: Any = b"", *_: Any) -> None:
        self._word = _text(word)
        self._order = "="

    def restore(self, state: Any) -> None:
        """Takes the byte order from what NumPy keeps of a type."""
        self._order = _text(state[1])

    @property
    def type(self) -> np.dtype[Any]:
        """NumPy's own."""
        order = "=" if self._order == "|" else self._order
        if order not in ("<", ">", "=") or not _NUMBERS.fullmatch(self._word):
            raise DataError(
                f"found an array of {self._word[:20]!r}, expected whole or floating-point numbers"
            )
        return np.dtype(order + self._word)


class _Array:
    """An array, once what NumPy keeps of it is told."""

    def __init__(self, *_: Any) -> None:
        self.made: npt.NDArray[Any] | None = None

    def restore(self, state: Any) -> None:
        """Takes shape, type, order and bytes."""
        _, shape, kind, is_fortran, content = state
        if not isinstance(kind, _Type) or not isinstance(content, (bytes, bytearray)):
            raise DataError("found an array of objects, expected one of numbers")
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes) or math.prod(sizes) * kind.type.itemsize != len(content):
            raise DataError(f"found {len(content)} bytes for an array of shape {sizes}")
        flat = np.frombuffer(content, kind.type)
        self.made = flat.reshape(sizes, order="F" if is_fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encoded(text: Any, _: Any = None) -> bytes:
    # how Python 3 writes bytes for Python 2
    return _text(text).encode("latin1")


def _text(value: Any) -> str:
    # what is neither may be a structure whose text has no end
    if isinstance(value, bytes):
        return value.decode("ascii")
    if not isinstance(value, str):
        raise DataError(f"found a {type(value).__name__}, expected text")
    return value


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encoded,
    **{
        (module, "_reconstruct"): _reconstruct
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
}


# The one in Python: that in C makes room for as many objects as a pickle claims to have.
class _Reader(pickle._Unpickler):
    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if code not in [word[0] for word in _FORBIDDEN]
    }

    def find_class(self, module: str, name: str) -> Any:
        found = _KNOWN.get((module, name))
        if found is None:
            asked = shortened(one_line(f"{module}.{name}"), 100)
            raise DataError(f"asks for {asked}, which is not run; expected NumPy arrays alone")
        return found

    def load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, (_Type, _Array)):
            raise DataError(f"changes a {type(made).__name__}, which is not done")
        made.restore(state)

    dispatch[pickle.BUILD[0]] = load_build


def _array_of(value: Any) -> Any:
    if not isinstance(value, _Array):
        return value
    if value.made is None:
        raise DataError("found an array with nothing in it")
    return value.made
