"""What a session needs of a device: flat buffers, kernels with their tiles, launches in one order, one captured list.

It is this small so that one program of launches serves CUDA, OpenCL, and in tests a device that runs the kernels on the
CPU. Kernels have the same names and parameters everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .tiling import Product, Tiling

Buffer = Any
"""One-dimensional device memory. A slice of it is a view of the same memory."""

Kernel = Any
Defines = Mapping[str, int | str]
"""Constants that a kernel is compiled with: numbers, or names that its file numbers."""
Size = tuple[int, int, int]


class Pointer:
    """An argument that may be another buffer at each launch. A captured launch keeps the buffer of its capture."""

    buffer: Buffer = None


class Device(Protocol):
    """Where a session's buffers live and its kernels run. All work is queued in order."""

    name: str
    """``cuda:0``."""
    description: str
    """What it is called."""
    multiprocessors: int
    """How many blocks have a multiprocessor of their own: what grids are sized for."""
    lanes: int
    """How many neighbouring channels a thread of a pool takes, where as many can be read at once: 4 or 16."""
    peak_bytes: int
    """The most of its memory that was in use at a time, since `new_peak`; may be set."""

    def new_peak(self) -> None:
        """Begins `peak_bytes` anew, at what is in use now."""

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What else there is to say of it: ``device_name``, ``peak_device_memory_bytes``, …"""

    def buffer(self, size: int, dtype: npt.DTypeLike = np.float32) -> Buffer:
        """Memory that nobody has written yet, aligned to 256 bytes."""

    def zeros(self, size: int, dtype: npt.DTypeLike = np.float32) -> Buffer:
        """The same, all 0."""

    def from_host(self, array: npt.NDArray[Any]) -> Buffer:
        """A flat copy; queued, so the array may not be changed any more."""

    def write(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Replaces a buffer's contents by those of an array of its size and type; queued, like `from_host`."""

    def to_host(self, buffer: Buffer) -> npt.NDArray[Any]:
        """A flat copy; waits for what was queued."""

    def copy(self, target: Buffer, source: Buffer) -> None:
        """Copies between buffers of one size and type."""

    def tiling(self, product: Product) -> Tiling:
        """How its kernels are to carry a matrix product out; the same for the same product."""

    def kernel(self, sources: Sequence[str], defines: Defines, name: str) -> Kernel:
        """The kernel `name` of the sources (files of the backend's folder ``kernels``, without their suffix) under
        these constants."""

    def bind(
        self, kernel: Kernel, grid: Size, block: Size, args: Sequence[Any]
    ) -> Callable[[], None]:
        """What queues a kernel. Arguments are buffers, pointers, and NumPy scalars of the parameters' types."""

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Records what `run` launches, without doing it; the function returned does it all at once."""

    def synchronize(self) -> None:
        """Returns when everything queued is done."""

    def mark(self) -> Any:
        """A mark behind everything queued so far."""

    def between_ns(self, begin: Any, end: Any) -> int:
        """The device's own time from one mark to a later one, both of which it has passed."""
