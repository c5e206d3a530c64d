"""Launches with all that they were given, kept so that they can be done again: by a changed kernel, in another order,
on another device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from host_build import HostKernel, Pending
from host_device import HostDevice, Size, begin, overlapping

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class View:
    """An argument that is memory: elements `start` to `stop` of memory number `memory`."""

    memory: int
    start: int
    stop: int
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Recorded:
    """One launch.

    Attributes
    ----------
    sources, defines, name, grid, block : as given to the device.
    args : scalars, and views of `memories`.
    memories : bytes before the launch; arguments that overlapped share one.
    written : which of the arguments the kernel may write.
    expected : what then stood in those.
    """

    sources: tuple[str, ...]
    defines: tuple[tuple[str, int], ...]
    name: str
    grid: Size
    block: Size
    args: tuple[Any, ...]
    memories: tuple[Array, ...]
    written: tuple[int, ...]
    expected: tuple[Array, ...] = ()

    @property
    def build(self) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...], str]:
        """What was compiled."""
        return self.sources, self.defines, self.name

    def again(self, device: Any) -> list[Array]:
        """Does it on a device; what then stands in the arguments that may be written."""
        memories = [device.from_host(memory) for memory in self.memories]
        args = [
            memories[arg.memory][arg.start : arg.stop].view(arg.dtype)
            if isinstance(arg, View)
            else arg
            for arg in self.args
        ]
        kernel = device.kernel(self.sources, dict(self.defines), self.name)
        device.bind(kernel, self.grid, self.block, args)()
        return [device.to_host(args[place]) for place in self.written]


class RecordingDevice(HostDevice):
    """Keeps every launch of a build that it has not seen, up to `each` of one build."""

    def __init__(self, *args: Any, each: int = 1, **options: Any) -> None:
        super().__init__(*args, **options)
        self.recorded: list[Recorded] = []
        self._each = each
        self._builds: dict[Pending, tuple[Any, ...]] = {}
        self._seen: dict[Any, int] = {}

    def kernel(self, sources: Sequence[str], defines: Mapping[str, int], name: str) -> Pending:
        """As ever; remembers what it is made from."""
        kernel = super().kernel(sources, defines, name)
        self._builds[kernel] = (tuple(sources), tuple(defines.items()), name)
        return kernel

    def launch(self, pending: Pending, grid: Size, block: Size, args: Sequence[Any]) -> None:
        """As ever; keeps the arguments as they are before."""
        build = self._builds[pending]
        self._seen[build] = self._seen.get(build, 0) + 1
        if self._seen[build] > self._each:
            return super().launch(pending, grid, block, args)
        before = _record(build, pending.ready, grid, block, args)
        super().launch(pending, grid, block, args)
        after = tuple(args[place].copy() for place in before.written)
        self.recorded.append(dataclasses.replace(before, expected=after))
        return None


def _record(
    build: tuple[Any, ...], kernel: HostKernel, grid: Size, block: Size, args: Sequence[Any]
) -> Recorded:
    groups = overlapping([arg for arg in args if isinstance(arg, np.ndarray)])
    memories, found = [], {}
    for number, group in enumerate(groups):
        first = min(map(begin, group))
        last = max(begin(buffer) + buffer.nbytes for buffer in group)
        memory = np.zeros(last - first, np.uint8)
        for buffer in group:
            start = begin(buffer) - first
            memory[start : start + buffer.nbytes] = buffer.view(np.uint8)
            found[id(buffer)] = View(number, start, start + buffer.nbytes, buffer.dtype)
        memories.append(memory)
    kept = tuple(found[id(arg)] if isinstance(arg, np.ndarray) else arg for arg in args)
    written = tuple(i for i, p in enumerate(kernel.parameters) if p.access == "w")
    return Recorded(*build, grid, block, kept, tuple(memories), written)
