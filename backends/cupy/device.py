"""CUDA as the backend uses it: flat buffers, kernels, launches, one stream, one captured graph.

CuPy is imported by nobody else, so that a test can put another device in its place, one that runs the very same kernel
sources on the CPU.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..launches.device import Buffer, Defines, Kernel, Pointer, Size
from ..launches.tiling import Product, Tiling
from ..shared.cuda_driver import device_uuids
from .tiling import choose

_FOLDER = Path(__file__).with_name("kernels")


def source_text(sources: Sequence[str], defines: Defines) -> str:
    """What is compiled: the constants, then the files one after the other, by their names without ``.cu``."""
    constants = [f"#define {name} {value}" for name, value in defines.items()]
    return "\n".join([*constants, *(_text(source) for source in sources)])


@functools.cache
def _text(source: str) -> str:
    return (_FOLDER / f"{source}.cu").read_text(encoding="utf-8")


class _Launch(functools.partial[None]):
    """A call of the driver, with what its arguments point to."""

    held: Any = None


class CupyDevice:
    """A CUDA device through CuPy; `cupy` is the module. All sessions of a process share one (`cuda_device`), and so
    its kernels, its stream, and the memory that earlier ones gave back.

    Launches go to the device in use: sessions on two devices take two processes, or turns with `use`.
    """

    lanes = 4

    def __init__(self, cupy: Any, index: int) -> None:
        self._cupy = cupy
        self._device = cupy.cuda.Device(index)
        self.use()
        # A non-blocking stream, since the legacy default stream cannot be captured.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.get_default_memory_pool()
        self._kernels: dict[
            tuple[tuple[str, ...], tuple[tuple[str, int | str], ...], str], Kernel
        ] = {}
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.name = f"cuda:{index}"
        self.description = properties["name"].decode()
        uuids = device_uuids()
        self._uuid = uuids[index] if index < len(uuids) else ""
        self.peak_bytes = 0
        self._sent: collections.deque[tuple[Any, npt.NDArray[Any]]] = collections.deque()
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.compute_capability = (int(properties["major"]), int(properties["minor"]))

    def use(self) -> None:
        """Makes it the one that this thread's launches go to."""
        self._device.use()

    def new_peak(self) -> None:
        """What CuPy's pool has in use."""
        self.peak_bytes = int(self._pool.used_bytes())

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Which GPU, and the most memory that CuPy's pool had in use."""
        major, minor = self.compute_capability
        return {
            "device_name": self.description,
            "device_uuid": self._uuid or "unknown",
            "compute_capability": f"{major}.{minor}",
            "peak_device_memory_bytes": self.peak_bytes,
        }

    def buffer(self, size: int, dtype: npt.DTypeLike = np.float32) -> Buffer:
        """From CuPy's pool, which aligns to 512 bytes."""
        with self._device, self._stream:
            made = self._cupy.empty(size, np.dtype(dtype))
        self.peak_bytes = max(self.peak_bytes, int(self._pool.used_bytes()))
        return made

    def zeros(self, size: int, dtype: npt.DTypeLike = np.float32) -> Buffer:
        """The same, all 0."""
        made = self.buffer(size, dtype)
        made.data.memset_async(0, made.nbytes, self._stream)
        return made

    def from_host(self, array: npt.NDArray[Any]) -> Buffer:
        """Into memory of its own."""
        buffer = self.buffer(array.size, array.dtype)
        self.write(buffer, array)
        return buffer

    def write(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Holds the array until it is copied: a GPU that reads pageable memory itself may do so any time later, where
        others have staged it when the call returns."""
        host = np.ascontiguousarray(array, buffer.dtype).reshape(-1)
        buffer.set(host, stream=self._stream)
        self._sent.append((self.mark(), host))
        while self._sent and self._sent[0][0].done:
            self._sent.popleft()

    def to_host(self, buffer: Buffer) -> npt.NDArray[Any]:
        """Waits for the stream first."""
        self._stream.synchronize()
        host: npt.NDArray[Any] = buffer.get(stream=self._stream)
        self._stream.synchronize()
        return host

    def copy(self, target: Buffer, source: Buffer) -> None:
        """Device to device."""
        target.data.copy_from_device_async(source.data, target.nbytes, self._stream)

    def tiling(self, product: Product) -> Tiling:
        """By a model of the time that it takes; see `tiling`."""
        return choose(
            product.rows,
            product.columns,
            product.depth,
            product.precision,
            self.multiprocessors,
            product.launches_to_share,
        )

    def kernel(self, sources: Sequence[str], defines: Defines, name: str) -> Kernel:
        """Compiled by NVRTC for this device; CuPy keeps the result on disk."""
        key = (tuple(sources), tuple(defines.items()), name)
        if key not in self._kernels:
            text = source_text(sources, defines)
            with self._device:
                raw = self._cupy.RawKernel(text, name, ("-std=c++14",))
                # The function itself: a RawKernel looks up the current device at every call. Asking for an
                # attribute makes the driver load it now, and not while a graph is captured.
                assert raw.num_regs > 0
                self._kernels[key] = raw.kernel
        return self._kernels[key]

    def bind(
        self, kernel: Kernel, grid: Size, block: Size, args: Sequence[Any]
    ) -> Callable[[], None]:
        """The arguments are laid out as the driver reads them, once: turning them into that at every launch, as a
        kernel's own call does, would take longer than the launch."""
        values = [self._parameter(arg) for arg in args]
        addresses = np.array([value.ctypes.data for value in values], np.uint64)
        launch = _Launch(
            self._cupy.cuda.driver.launchKernel,
            *(kernel.ptr, *grid, *block, 0, self._stream.ptr, addresses.ctypes.data, 0),
        )
        launch.held = (kernel, args, values, addresses)
        pointers = [(v, a) for v, a in zip(values, args, strict=True) if isinstance(a, Pointer)]

        def launch_there() -> None:
            for value, pointer in pointers:
                value[...] = pointer.buffer.data.ptr
            launch()

        return launch_there if pointers else launch

    def _parameter(self, arg: Any) -> npt.NDArray[Any]:
        if isinstance(arg, Pointer):
            return np.zeros((), np.uint64)
        return np.array(arg.data.ptr, np.uint64) if self._is_buffer(arg) else np.array(arg)

    def _is_buffer(self, arg: Any) -> bool:
        return isinstance(arg, self._cupy.ndarray)

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph of the launches of `run`."""
        stream = self._stream
        with self._device, stream:
            stream.begin_capture()
            try:
                run()
            finally:
                graph = stream.end_capture()

        def replay() -> None:
            graph.launch(stream)

        return replay

    def synchronize(self) -> None:
        """Waits for the stream, the only one that is used."""
        self._stream.synchronize()
        self._sent.clear()

    def mark(self) -> Any:
        """A CUDA event."""
        event = self._cupy.cuda.Event()
        event.record(self._stream)
        return event

    def between_ns(self, begin: Any, end: Any) -> int:
        """From CuPy's ms."""
        elapsed_ms = float(self._cupy.cuda.get_elapsed_time(begin, end))
        return round(elapsed_ms * 1e6)


@functools.cache
def cuda_device(cupy: Any, index: int) -> CupyDevice:
    """The process' device of that number."""
    return CupyDevice(cupy, index)
