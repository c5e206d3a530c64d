"""Matrix products bound once to their arrays, straight to the BLAS that NumPy itself was linked with.

`numpy.matmul` cannot accumulate (C ← A·B + C), and here nearly every product does; without that, each would
cost a second pass over its result. BLAS's own ``sgemm`` can, and is called through ctypes, which also
lets go of the interpreter lock. Where no such symbol is found, `numpy.matmul` and an addition do
the same work, only slower.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

# OpenBLAS as NumPy's wheels carry it (64-bit integers), then as distributions build it.
_PREFIXES = (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", ""))
_ROW_MAJOR, _AS_IS, _TRANSPOSED = 101, 111, 112


class _Library:
    """``cblas_sgemm`` and the thread setting of the BLAS behind NumPy; `sgemm` is None where not found."""

    def __init__(self) -> None:
        self.sgemm: Any = None
        self.get_threads: Any = None
        self.set_threads: Any = None
        self.integer: Any = ctypes.c_int
        core = getattr(np, "_core", None) or np.core
        try:
            # Symbols are looked up in all libraries that this extension module was linked with.
            handle = ctypes.CDLL(
                importlib.import_module(f"{core.__name__}._multiarray_umath").__file__
            )
        except (OSError, ImportError):
            return
        for prefix, suffix in _PREFIXES:
            names = ("cblas_sgemm", "openblas_get_num_threads", "openblas_set_num_threads")
            found = [getattr(handle, f"{prefix}{name}{suffix}", None) for name in names]
            if all(found):
                self.sgemm, self.get_threads, self.set_threads = found
                self.sgemm.restype = None
                self.integer = ctypes.c_int64 if suffix else ctypes.c_int
                return


_LIBRARY = _Library()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS computes each product in the calling thread inside the ``with`` block.

    Where the BLAS is not one that can be asked, nothing changes: the environment decides.
    """
    if _LIBRARY.set_threads is None:
        yield
        return
    before = _LIBRARY.get_threads()
    _LIBRARY.set_threads(1)
    try:
        yield
    finally:
        _LIBRARY.set_threads(before)


def blas_facts() -> dict[str, str]:
    """Name and version of the BLAS that NumPy was built with, where this NumPy says so."""
    config = getattr(np.__config__, "CONFIG", {})
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {"blas": f"{blas['name']} {blas.get('version', '')}".strip()} if blas.get("name") else {}


class Matrix:
    """A row-major matrix that products are bound to; it can be pointed at other arrays of its size."""

    def __init__(self, array: Array) -> None:
        self.rows, self.columns = array.shape
        self.stride = array.strides[0] // array.itemsize
        self.pointer = ctypes.c_void_p()
        self.point_to(array)

    def point_to(self, array: Array) -> None:
        """From now on the products read or write `array`, contiguous and of the same number of elements."""
        self.array = array.reshape(self.rows, self.columns) if array.ndim != 2 else array
        self.pointer.value = array.ctypes.data


def product(
    a: Matrix,
    b: Matrix,
    out: Matrix,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> Callable[[], None]:
    """A call that computes out = a·b, or out += a·b, wherever the three matrices then point."""
    inner = a.rows if transpose_a else a.columns
    if _LIBRARY.sgemm is None:
        return _by_matmul(a, b, out, transpose_a, transpose_b, accumulate)
    sgemm, integer = _LIBRARY.sgemm, _LIBRARY.integer
    arguments = (
        ctypes.c_int(_ROW_MAJOR),
        ctypes.c_int(_TRANSPOSED if transpose_a else _AS_IS),
        ctypes.c_int(_TRANSPOSED if transpose_b else _AS_IS),
        integer(out.rows),
        integer(out.columns),
        integer(inner),
        ctypes.c_float(1),
        a.pointer,
        integer(a.stride),
        b.pointer,
        integer(b.stride),
        ctypes.c_float(accumulate),
        out.pointer,
        integer(out.stride),
    )
    return lambda: sgemm(*arguments)


def _by_matmul(
    a: Matrix, b: Matrix, out: Matrix, transpose_a: bool, transpose_b: bool, accumulate: bool
) -> Callable[[], None]:
    scratch = np.empty((out.rows, out.columns), np.float32) if accumulate else None

    def run() -> None:
        left = a.array.T if transpose_a else a.array
        right = b.array.T if transpose_b else b.array
        np.matmul(left, right, out=out.array if scratch is None else scratch)
        if scratch is not None:
            np.add(out.array, scratch, out=out.array)

    return run
