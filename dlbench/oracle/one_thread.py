"""Holds the BLAS behind NumPy to the calling thread: the oracle's products are many and small, and threads that have to
agree on each of them take longer than one, many times longer where another process has their core."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Callable, Iterator

import numpy as np

_Threads = tuple[Callable[[], int], Callable[[int], None]]

# OpenBLAS as NumPy's wheels carry it (64-bit integers), then as distributions build it.
_AFFIXES = (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", ""))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside the ``with`` block each product is computed in the calling thread. Where the BLAS is not one that can be
    asked, the environment decides."""
    found = _threads()
    before = found[0]() if found else 1
    if found is None or before == 1:
        yield
        return
    found[1](1)
    try:
        yield
    finally:
        found[1](before)


@functools.cache
def _threads() -> _Threads | None:
    """What reads OpenBLAS's number of threads, and what sets it; None where NumPy has another BLAS."""
    core = getattr(np, "_core", None) or np.core
    try:
        # symbols are looked up in all libraries that this extension module was linked with
        module = importlib.import_module(f"{core.__name__}._multiarray_umath")
        library = ctypes.CDLL(module.__file__)
    except (OSError, ImportError):
        return None
    for prefix, suffix in _AFFIXES:
        names = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
        get, set_to = (getattr(library, name, None) for name in names)
        if get and set_to:
            return get, set_to
    return None
