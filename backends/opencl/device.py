"""An OpenCL device as sessions use it: buffers, kernels compiled when they are first asked for, one queue in order."""

from __future__ import annotations

import collections
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..launches.device import Defines, Pointer, Size
from ..launches.tiling import Product, Tiling
from . import sources as source_files
from .tiling import on_gpu, on_processor
from .views import BEHIND_BYTES, Held, Memory


class Kernel:
    """A kernel of a program, and what it is given besides the arguments of a launch."""

    def __init__(self, program: Any, name: str, options: Memory | None) -> None:
        self.program = program
        self.name = name
        self.options = options


class OpenclDevice:
    """A device through PyOpenCL; `cl` is the module. All sessions of a process share one, and so its programs.

    Parameters
    ----------
    name : what plans call it.
    device : PyOpenCL's.
    is_processor : whether the kernels for processors are used; by default as the driver says. Those for GPUs run on a
        processor too, slowly.
    """

    def __init__(
        self, cl: Any, name: str, device: Any, *, is_processor: bool | None = None
    ) -> None:
        self._cl = cl
        self._device = device
        self._context = cl.Context([device])
        self._queue = cl.CommandQueue(
            self._context, properties=cl.command_queue_properties.PROFILING_ENABLE
        )
        self.name = name
        self.description = str(device.name).strip()
        said = bool(device.type & cl.device_type.CPU)
        self.is_processor = said if is_processor is None else is_processor
        self.multiprocessors = int(device.max_compute_units)
        self.lanes = 16 if self.is_processor else 4
        self.peak_bytes = 0
        self._used_bytes = 0
        self._programs: dict[Any, Any] = {}
        self._options: dict[bytes, Memory] = {}
        self._sent: collections.deque[tuple[Any, npt.NDArray[Any]]] = collections.deque()
        rounds = int(device.single_fp_config) & int(
            cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        )
        self._build_options = ["-cl-std=CL1.2"]
        if rounds and not self.is_processor:
            self._build_options.append("-cl-fp32-correctly-rounded-divide-sqrt")

    def new_peak(self) -> None:
        """At what this process' buffers take now."""
        self.peak_bytes = self._used_bytes

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What the driver calls it; the threads of a processor, the memory that was in use of a GPU."""
        platform = self._device.platform
        seen: dict[str, str | int] = {
            "device_name": self.description,
            "platform": f"{platform.name}, {platform.version}".strip(),
        }
        if self.is_processor:
            return {**seen, "threads": int(self._device.max_compute_units)}
        return {**seen, "peak_device_memory_bytes": self.peak_bytes}

    def buffer(self, size: int, dtype: npt.DTypeLike = np.float32) -> Memory:
        """Memory that is a vector longer than it says."""
        kind = np.dtype(dtype)
        taken = size * kind.itemsize + BEHIND_BYTES
        made = self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, taken)
        self._used_bytes += taken
        self.peak_bytes = max(self.peak_bytes, self._used_bytes)
        return Memory(Held(made, functools.partial(self._give_back, taken)), 0, size, kind)

    def _give_back(self, taken: int) -> None:
        self._used_bytes -= taken

    def zeros(self, size: int, dtype: npt.DTypeLike = np.float32) -> Memory:
        """The same, all 0."""
        made = self.buffer(size, dtype)
        self._cl.enqueue_fill_buffer(
            self._queue, made.buffer, np.uint8(0), 0, made.nbytes + BEHIND_BYTES
        )
        return made

    def from_host(self, array: npt.NDArray[Any]) -> Memory:
        """Into memory of its own."""
        made = self.buffer(array.size, array.dtype)
        self.write(made, array)
        return made

    def write(self, buffer: Memory, array: npt.NDArray[Any]) -> None:
        """Holds the array until it is copied."""
        host = np.ascontiguousarray(array, buffer.dtype).reshape(-1)
        if not host.size:
            return
        done = self._cl.enqueue_copy(
            self._queue, buffer.buffer, host, dst_offset=buffer.offset_bytes, is_blocking=False
        )
        self._sent.append((done, host))
        complete = self._cl.command_execution_status.COMPLETE
        while self._sent and self._sent[0][0].command_execution_status == complete:
            self._sent.popleft()

    def to_host(self, buffer: Memory) -> npt.NDArray[Any]:
        """Waits for the queue."""
        host = np.empty(buffer.size, buffer.dtype)
        self._cl.enqueue_copy(
            self._queue, host, buffer.buffer, src_offset=buffer.offset_bytes, is_blocking=True
        )
        return host

    def copy(self, target: Memory, source: Memory) -> None:
        """Device to device."""
        self._cl.enqueue_copy(
            self._queue,
            target.buffer,
            source.buffer,
            byte_count=source.nbytes,
            src_offset=source.offset_bytes,
            dst_offset=target.offset_bytes,
        )

    def tiling(self, product: Product) -> Tiling:
        """For processors or for GPUs; see `tiling`."""
        choose = on_processor if self.is_processor else on_gpu
        return choose(product, self.multiprocessors)

    def kernel(self, sources: Sequence[str], defines: Defines, name: str) -> Kernel:
        """Compiled by the driver; a program serves all layers that have its constants."""
        constants, options = source_files.split(defines, cpu=self.is_processor)
        key = (tuple(sources), tuple(sorted(constants.items())))
        if key not in self._programs:
            text = source_files.text_of(sources, constants, cpu=self.is_processor)
            self._programs[key] = built(self._cl, self._context, text, self._build_options)
        given = self._given(sources, options) if self.is_processor else None
        return Kernel(self._programs[key], name, given)

    def _given(self, sources: Sequence[str], options: Mapping[str, int | str]) -> Memory:
        host = source_files.read_at_run_time(sources, options)
        key = host.tobytes()
        if key not in self._options:
            self._options[key] = self.from_host(host)
        return self._options[key]

    def bind(
        self, kernel: Kernel, grid: Size, block: Size, args: Sequence[Any]
    ) -> Callable[[], None]:
        """A kernel object for each launch, whose arguments are set once."""
        own = self._cl.Kernel(kernel.program, kernel.name)
        place, pointers = 0, []
        if kernel.options is not None:
            own.set_arg(0, kernel.options.buffer)
            place = 1
        for arg in args:
            if isinstance(arg, Pointer):
                pointers.append((place, arg))
                place += 2
            elif isinstance(arg, Memory):
                _set_memory(own, place, arg)
                place += 2
            else:
                own.set_arg(place, arg)
                place += 1
        queue, enqueue = self._queue, self._cl.enqueue_nd_range_kernel
        whole = tuple(count * size for count, size in zip(grid, block, strict=True))
        held = (kernel, args)

        def launch() -> None:
            enqueue(queue, own, whole, block)

        def launch_there() -> None:
            for number, pointer in pointers:
                _set_memory(own, number, pointer.buffer)
            enqueue(queue, own, whole, block)

        made = launch_there if pointers else launch
        made.held = held  # type: ignore[attr-defined]
        return made

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """OpenCL has no graphs that every driver knows; the list itself."""
        return run

    def synchronize(self) -> None:
        """Waits for the queue."""
        self._queue.finish()
        self._sent.clear()

    def mark(self) -> Any:
        """An event behind everything that was queued."""
        return self._cl.enqueue_marker(self._queue)

    def between_ns(self, begin: Any, end: Any) -> int:
        """By the device's own clock."""
        return int(end.profile.end - begin.profile.end)


def built(cl: Any, context: Any, text: str, options: Sequence[str] = ()) -> Any:
    """A program from its text.

    Raises
    ------
    pyopencl.RuntimeError : it does not compile.
    """
    with warnings.catch_warnings():
        # what a compiler says of a program that it has built
        warnings.simplefilter("ignore")
        return cl.Program(context, text).build(options=list(options), cache_dir=False)


def _set_memory(kernel: Any, place: int, memory: Memory) -> None:
    kernel.set_arg(place, memory.buffer)
    kernel.set_arg(place + 1, np.uint64(memory.offset_bytes))
