"""A `Device` of the CuPy backend that runs the kernels on the CPU, compiled from the same sources.

Every launch is guarded. Each pointer argument is copied into memory of exactly its size, with a
margin before and behind it that reads as NaN and must stay as it is; under the address sanitizer the
margins may not even be touched. A view is an argument of its own, so a kernel that runs over the end
of a view is caught even where its buffer goes on. Arguments that overlap share one copy.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import sanitized
from dlbench.backends.cupy.device import Pointer
from dlbench.backends.cupy.tiling import choose
from dlbench.backends.launches.tiling import Product, Tiling
from host_build import HostKernel, Pending, start

ORDERS = ("forward", "reversed", "shuffled")
_ALIGNMENT = 256
_MARGIN = 65536 if sanitized.ACTIVE else 4096
_UNTOUCHED = 0xFF
_LIMITS = ((2**31 - 1, 65535, 65535), (1024, 1024, 64))
# below this many threads of a grid, handing half of it to another core costs more than it saves
_WORTH_SHARING = 8192

Array = npt.NDArray[Any]
Size = tuple[int, int, int]


class LaunchError(Exception):
    """A launch that a device would refuse, or that a kernel spoiled; says which kernel and why."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """In which order blocks, and the threads of a block between two barriers, run."""

    order: str = "forward"
    seed: int = 0


class HostDevice:
    """Runs launches at once, in this process.

    Parameters
    ----------
    read : the text of a kernel from its sources and constants, as `dlbench.backends.cupy.device.source_text`.
    schedule : may be set between launches.
    capability : what `compute_capability` says.
    mode : how kernels are compiled, one of `host_build.MODES`.
    """

    name = "cuda:0"
    description = "kernels on the CPU"
    multiprocessors = 132
    lanes = 4
    peak_bytes = 0
    facts: Mapping[str, str | int] = MappingProxyType({"device_name": description})

    def __init__(
        self,
        read: Callable[[Sequence[str], Mapping[str, int]], str],
        schedule: Schedule = Schedule(),
        capability: tuple[int, int] = (9, 0),
        mode: str = "quick",
    ) -> None:
        self.read = read
        self.schedule = schedule
        self.compute_capability = capability
        self._mode = mode
        self._arenas: dict[int, list[Array]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._captured: list[Callable[[], None]] | None = None

    def new_peak(self) -> None:
        """Nothing is counted."""

    def buffer(self, size: int, dtype: npt.DTypeLike = np.float32) -> Array:
        """What nobody has written yet: NaN, or -1 in integers."""
        self._refuse_in_capture("memory is asked for")
        return _aligned(size * np.dtype(dtype).itemsize).view(dtype)

    def zeros(self, size: int, dtype: npt.DTypeLike = np.float32) -> Array:
        """Zeros."""
        made = self.buffer(size, dtype)
        made[...] = 0
        return made

    def from_host(self, array: Array) -> Array:
        """A flat copy."""
        made = self.buffer(array.size, array.dtype)
        made[...] = array.reshape(-1)
        return made

    def write(self, buffer: Array, array: Array) -> None:
        """Replaces the contents by an array's."""
        self._refuse_in_capture("memory is written")
        buffer[...] = np.asarray(array, buffer.dtype).reshape(-1)

    def to_host(self, buffer: Array) -> Array:
        """A flat copy."""
        self._refuse_in_capture("memory is read")
        return buffer.copy()

    def copy(self, target: Array, source: Array) -> None:
        """Copies between buffers of one size and type."""
        self._refuse_in_capture("memory is copied")
        assert target.shape == source.shape
        assert target.dtype == source.dtype
        target[...] = source

    def tiling(self, product: Product) -> Tiling:
        """As a GPU with as many multiprocessors."""
        return choose(
            product.rows,
            product.columns,
            product.depth,
            product.precision,
            self.multiprocessors,
            product.launches_to_share,
        )

    def kernel(self, sources: Sequence[str], defines: Mapping[str, int], name: str) -> Pending:
        """The kernel `name`, compiled for the CPU from now on."""
        self._refuse_in_capture("a kernel is asked for")
        mode, copies = ("sanitized", 1) if sanitized.ACTIVE else (self._mode, 2)
        return start(self.read(tuple(sources), defines), name, mode, copies)

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Keeps the launches that `run` asks for, and does none of them yet.

        Raises
        ------
        LaunchError : `run` does something else, which a captured step may not hold.
        """
        captured: list[Callable[[], None]] = []
        self._captured = captured
        try:
            run()
        finally:
            self._captured = None

        def replay() -> None:
            for launch in captured:
                launch()

        return replay

    def _refuse_in_capture(self, what: str) -> None:
        if self._captured is not None:
            raise LaunchError(f"{what} while a graph is captured")

    def synchronize(self) -> None:
        """Nothing is ever outstanding."""
        self._refuse_in_capture("the end is waited for")

    def mark(self) -> int:
        """Now, in ns."""
        return time.perf_counter_ns()

    def between_ns(self, begin: int, end: int) -> int:
        """The time from one mark to another."""
        return end - begin

    def bind(
        self, pending: Pending, grid: Size, block: Size, args: Sequence[Any]
    ) -> Callable[[], None]:
        """A launch to be done any number of times; during a capture, to be kept."""

        def launch() -> None:
            given = [arg.buffer if isinstance(arg, Pointer) else arg for arg in args]
            queued = functools.partial(self.launch, pending, grid, block, given)
            if self._captured is not None:
                self._captured.append(queued)
            else:
                queued()

        return launch

    def launch(self, pending: Pending, grid: Size, block: Size, args: Sequence[Any]) -> None:
        """Runs a kernel.

        Raises
        ------
        LaunchError : sizes or arguments that the kernel cannot take, threads that part at a barrier, memory
            written outside an argument.
        """
        kernel = pending.ready
        _check_sizes(kernel, grid, block)
        _check_arguments(kernel, args)
        buffers = [
            (p.access, a)
            for p, a in zip(kernel.parameters, args, strict=True)
            if p.access != "v" and a is not None
        ]
        groups = overlapping([a for _, a in buffers])
        guards = [Guarded(self._arena, number, group) for number, group in enumerate(groups)]
        places = []
        for parameter, argument in zip(kernel.parameters, args, strict=True):
            if argument is None:
                places.append(np.zeros(1, np.uint64))
            elif parameter.access == "v":
                places.append(np.array(argument))
            else:
                address = next(g.address(argument) for g in guards if g.holds(argument))
                places.append(np.array(address, np.uint64))
        try:
            self._run(kernel, grid, block, places)
            for guard in guards:
                guard.check(kernel.name)
            written = [argument for access, argument in buffers if access == "w"]
            for guard in guards:
                guard.give_back([a for a in written if guard.holds(a)])
        finally:
            for guard in guards:
                guard.close()
                self._arenas.setdefault(guard.arena.size, []).append(guard.arena)

    def _arena(self, size: int) -> Array:
        """Memory for a guarded copy, taken from those of this size that are free."""
        kept = self._arenas.get(size)
        return kept.pop() if kept else _aligned(size)

    def _run(self, kernel: HostKernel, grid: Size, block: Size, places: Sequence[Array]) -> None:
        arguments = (ctypes.c_void_p * len(places))(*(place.ctypes.data for place in places))
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        order = ORDERS.index(self.schedule.order)
        shared = len(kernel.libraries)
        if math.prod(grid) < shared or math.prod(grid) * math.prod(block) < _WORTH_SHARING:
            shared = 1

        def part(number: int) -> str:
            library = kernel.libraries[number]
            call = ctypes.cast(getattr(library, f"host_call_{kernel.name}"), ctypes.c_void_p)
            told = ctypes.create_string_buffer(512)
            library.host_run(
                call, arguments, *sizes, order, self.schedule.seed, number, shared, told, 512
            )
            return told.value.decode()

        others = [self._pool.submit(part, number) for number in range(1, shared)]
        told = [part(0), *(other.result() for other in others)]
        if any(told):
            raise LaunchError(f"{kernel.name}: {next(filter(None, told))}")


class Guarded:
    """A copy of buffers that overlap, with a margin on both sides, at the address that they had modulo 256."""

    def __init__(
        self, arena: Callable[[int], Array], number: int, buffers: Sequence[Array]
    ) -> None:
        self.first = min(begin(buffer) for buffer in buffers)
        self.last = max(begin(buffer) + buffer.nbytes for buffer in buffers)
        size = self.last - self.first
        self.arena = arena(size + 2 * (_MARGIN + _ALIGNMENT))
        self.begin = _MARGIN + self.first % _ALIGNMENT
        self.inside = slice(self.begin, self.begin + size)
        # A signalling NaN: arithmetic makes another one of it. The number: a copy from another margin shows.
        self.untouched = np.array([0xFFA00000 | number & 0xFFFFF], np.uint32).view(np.uint8)
        for margin in () if sanitized.ACTIVE else self._margins():
            margin.reshape(-1, 4)[...] = self.untouched
        for buffer in buffers:
            self._part(buffer)[...] = buffer.view(np.uint8)
        self._poison("host_poison")

    def holds(self, buffer: Array) -> bool:
        """Whether a buffer is one of those copied here."""
        return self.first <= begin(buffer) and begin(buffer) + buffer.nbytes <= self.last

    def address(self, buffer: Array) -> int:
        """Where a buffer's copy begins."""
        return self.arena.ctypes.data + self.begin + begin(buffer) - self.first

    def check(self, name: str) -> None:
        """Raises LaunchError when something outside was written."""
        if sanitized.ACTIVE:
            return
        for side, margin in zip(("before", "behind"), self._margins(), strict=True):
            wrong = np.flatnonzero((margin.reshape(-1, 4) != self.untouched).any(1))
            if wrong.size:
                size = self.last - self.first
                raise LaunchError(f"{name}: wrote {side} an argument of {size} bytes")

    def _margins(self) -> tuple[Array, Array]:
        """In whole words; up to three bytes between a buffer of bytes and its margin are not watched."""
        before = self.begin // 4 * 4
        behind = -(-self.inside.stop // 4) * 4
        return self.arena[before - _MARGIN : before], self.arena[behind : behind + _MARGIN]

    def give_back(self, buffers: Sequence[Array]) -> None:
        """Takes what was written over into the buffers."""
        for buffer in buffers:
            buffer.view(np.uint8)[...] = self._part(buffer)

    def close(self) -> None:
        """Ends the prohibition."""
        self._poison("host_unpoison")

    def _part(self, buffer: Array) -> Array:
        start = self.begin + begin(buffer) - self.first
        return self.arena[start : start + buffer.nbytes]

    def _poison(self, name: str) -> None:
        if not sanitized.ACTIVE:
            return
        start, stop = self.arena.ctypes.data, self.arena.ctypes.data + self.arena.size
        inside = start + self.begin
        for low, high in ((start, inside), (inside + self.last - self.first, stop)):
            _sanitizer(name)(ctypes.c_void_p(low), ctypes.c_size_t(high - low))


def _sanitizer(name: str) -> Any:
    """A function of the sanitizer, which is loaded before everything else where it is used at all."""
    return getattr(ctypes.CDLL(None), f"__asan_{name.removeprefix('host_')}_memory_region")


def _aligned(size: int) -> Array:
    """Bytes at a multiple of 256, all ones."""
    block = np.full(size + _ALIGNMENT, _UNTOUCHED, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size]


def begin(buffer: Array) -> int:
    """The address of its first element."""
    return int(buffer.__array_interface__["data"][0])


def overlapping(buffers: Sequence[Array]) -> list[list[Array]]:
    """Buffers in groups whose memory overlaps."""
    groups: list[list[Array]] = []
    end = -1
    for buffer in sorted(buffers, key=begin):
        if groups and begin(buffer) < end:
            groups[-1].append(buffer)
        else:
            groups.append([buffer])
        end = max(end, begin(buffer) + buffer.nbytes)
    return groups


def _check_sizes(kernel: HostKernel, grid: Size, block: Size) -> None:
    for name, size, limits in zip(("grid", "block"), (grid, block), _LIMITS, strict=True):
        if len(size) != 3 or any(not 1 <= n <= most for n, most in zip(size, limits, strict=True)):
            raise LaunchError(f"{kernel.name}: {name} {size} is not within {limits}")
    if math.prod(block) > kernel.most_threads:
        raise LaunchError(
            f"{kernel.name}: {math.prod(block)} threads; at most {kernel.most_threads}"
        )


def _check_arguments(kernel: HostKernel, args: Sequence[Any]) -> None:
    if len(args) != len(kernel.parameters):
        raise LaunchError(
            f"{kernel.name} takes {len(kernel.parameters)} arguments, got {len(args)}"
        )
    for number, (parameter, argument) in enumerate(zip(kernel.parameters, args, strict=True)):
        if argument is None and parameter.access != "v":
            continue  # a pointer that the kernel does not follow
        wanted = np.ndarray if parameter.access != "v" else np.generic
        fits = isinstance(argument, wanted)
        if fits and parameter.kind != "V":
            fits = (argument.dtype.kind, argument.dtype.itemsize) == (
                parameter.kind,
                parameter.item_bytes,
            )
        elif fits:
            fits = argument.nbytes % parameter.item_bytes == 0
        if not fits:
            got = f"{type(argument).__name__} {getattr(argument, 'dtype', '')}"
            raise LaunchError(
                f"{kernel.name}: argument {number} is {got}, the kernel takes {parameter}"
            )
        if wanted is np.ndarray and not (argument.ndim == 1 and argument.flags.c_contiguous):
            raise LaunchError(f"{kernel.name}: argument {number} is not a flat buffer")


def sample_text(sources: Sequence[str], defines: Mapping[str, int]) -> str:
    """The samples of this folder, read as the backend reads its own kernels."""
    constants = (f"#define {name} {value}" for name, value in defines.items())
    texts = ((Path(__file__).parent / "samples" / source).read_text("utf-8") for source in sources)
    return "\n".join(itertools.chain(constants, texts))
