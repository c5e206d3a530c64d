"""Matrix products bound once to their arrays, straight to the BLAS that NumPy itself was linked with.

`numpy.matmul` cannot accumulate (C ← A·B + C), and here nearly every product does; without that, each would
cost a second pass over its result. BLAS's own ``sgemm`` can, and is called through ctypes. Where no such
symbol is found, `numpy.matmul` and an addition do the same work, only slower.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Iterator
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


_BUFFER_ELEMENTS = 1024
"""NumPy computes with arrays that have gaps by way of a buffer, unless their runs are longer than that."""


@contextlib.contextmanager
def own_pace() -> Iterator[None]:
    """Inside the ``with`` block, BLAS computes each product in the calling thread, and NumPy goes along rows
    of this backend's size without copying them.

    Where the BLAS is not one that can be asked, the environment decides on its threads.
    """
    size = np.setbufsize(_BUFFER_ELEMENTS)
    threads = _LIBRARY.get_threads() if _LIBRARY.set_threads else 0
    if threads > 1:
        _LIBRARY.set_threads(1)
    try:
        yield
    finally:
        np.setbufsize(size)
        if threads > 1:
            _LIBRARY.set_threads(threads)


def blas_facts() -> dict[str, str]:
    """Name and version of the BLAS that NumPy was built with, where this NumPy says so."""
    config = getattr(np.__config__, "CONFIG", {})
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {"blas": f"{blas['name']} {blas.get('version', '')}".strip()} if blas.get("name") else {}


def product(
    a: Array,
    b: Array,
    out: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> tuple[Any, ...]:
    """The call, a function and its arguments, that computes out = a·b, or out += a·b, in these very arrays.

    All are matrices with contiguous rows; `a` and `b` may be taken transposed.
    """
    if _LIBRARY.sgemm is None:
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return (_add_product if accumulate else np.matmul), left, right, out
    integer = _LIBRARY.integer
    return (
        _LIBRARY.sgemm,
        ctypes.c_int(_ROW_MAJOR),
        ctypes.c_int(_TRANSPOSED if transpose_a else _AS_IS),
        ctypes.c_int(_TRANSPOSED if transpose_b else _AS_IS),
        integer(out.shape[0]),
        integer(out.shape[1]),
        integer(a.shape[0] if transpose_a else a.shape[1]),
        ctypes.c_float(1),
        *_where(a),
        *_where(b),
        ctypes.c_float(accumulate),
        *_where(out),
    )


class _Address(ctypes.c_void_p):
    """Where an array begins. It keeps the array alive."""

    array: Array


def _where(matrix: Array) -> tuple[Any, Any]:
    """Address, and elements from one row to the next."""
    address = _Address(matrix.ctypes.data)
    address.array = matrix
    return address, _LIBRARY.integer(matrix.strides[0] // matrix.itemsize)


def _add_product(a: Array, b: Array, out: Array) -> None:
    out += a @ b
