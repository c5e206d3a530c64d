"""Memory of an OpenCL device: a buffer, or a part of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

BEHIND_BYTES = 128
"""How much longer a buffer is than what it holds: as far as vectors reach behind the end of a row."""


class Held:
    """A buffer that tells when nobody holds it any more."""

    def __init__(self, buffer: Any, on_end: Callable[[], None]) -> None:
        self.buffer = buffer
        self._on_end = on_end

    def __del__(self) -> None:
        self._on_end()


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """`size` elements of a buffer from a byte on; a slice of it is a view of the same memory.

    Sub-buffers of OpenCL begin at places that the device likes alone; so kernels are given the buffer and the byte.
    """

    held: Held
    offset_bytes: int
    size: int
    dtype: np.dtype[Any]

    @property
    def buffer(self) -> Any:
        """The whole buffer that it lies in."""
        return self.held.buffer

    @property
    def nbytes(self) -> int:
        """Its size (bytes)."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, part: slice) -> Memory:
        start, stop, step = part.indices(self.size)
        assert step == 1
        begin = self.offset_bytes + start * self.dtype.itemsize
        return Memory(self.held, begin, max(stop - start, 0), self.dtype)

    def view(self, dtype: npt.DTypeLike) -> Memory:
        """The same bytes as elements of another type."""
        kind = np.dtype(dtype)
        return Memory(self.held, self.offset_bytes, self.nbytes // kind.itemsize, kind)
