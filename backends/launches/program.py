"""A training step or an inference as a fixed list of launches over values, and the memory the values live in.

Layers append their launches while the network is built, forward and then backward. When the list is
complete, `prepare` gives every value its memory, one piece after the last use of another, compiles the
kernels, and binds the arguments: a step is then a loop over the list, or one graph of it.

Images are stored N×H×W×C, features N×F. A value may be some of the channels of a wider array, so that a
concatenation copies nothing.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Track
from dlbench.errors import PlanRefused

from ..shared.stamps import NOBODY, Owner
from .device import Buffer, Defines, Device, Pointer, Size

_MOST_ELEMENTS = 2**31 - 1
ELEMENTS_PER_BLOCK = 256
"""Of the kernels that take an element a thread."""


@dataclasses.dataclass(frozen=True)
class Finish:
    """What a kernel does with a value before it stores it: an activation, then dropout.

    `layer` numbers the dropouts of a network, so that no two share their masks; `names` are those of the workload's
    layers that it is.
    """

    activation: str = "identity"
    slope: float = 0.0
    rate: float = 0.0
    layer: int = 0
    names: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def is_identity(self) -> bool:
        """Whether nothing is done."""
        return self.activation == "identity" and not self.rate

    @property
    def defines(self) -> dict[str, int | str]:
        """The constants of the kernels."""
        return {"ACTIVATION": self.activation.upper(), "DROPOUT": int(self.rate > 0)}

    @property
    def scalars(self) -> tuple[Any, ...]:
        """The kernel parameters slope, scale, threshold, layer."""
        threshold = min(round(self.rate * 2**32), 2**32 - 1)
        scale = 1 / (1 - self.rate)
        return (
            np.float32(self.slope),
            np.float32(scale),
            np.uint32(threshold),
            np.uint32(self.layer),
        )


PLAIN = Finish()


class Placed(abc.ABC):
    """An argument whose place on the device is known only when everything is."""

    @property
    @abc.abstractmethod
    def memory(self) -> Buffer | Pointer:
        """Where it lies, and nothing behind it."""


class Value(Placed):
    """H×W×C numbers a sample (features: 1×1×F), kept by a kernel for others.

    Attributes
    ----------
    height, width, channels : of a sample.
    stride : elements from pixel to pixel; more than `channels` for a part of a wider value.
    finish : what was done to it last. Whoever makes its gradient undoes that (see `layers`).
    canonical : C×H×W where these are features in the order H×W×C.
    buffer : its memory; a pointer for what a batch brings, which is read only and as a whole.

    Raises
    ------
    PlanRefused : more elements than kernels can count.
    """

    def __init__(
        self, samples: int, shape: tuple[int, int, int], dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.samples = samples
        self.height, self.width, self.channels = shape
        self.dtype = np.dtype(dtype)
        self.stride = self.channels
        self.offset = 0
        self.finish = PLAIN
        self.canonical: tuple[int, int, int] | None = None
        self._root: Value | None = None
        self.buffer: Buffer | Pointer | None = None
        if self.size > _MOST_ELEMENTS:
            shown = " × ".join(map(str, (samples, *shape)))
            raise PlanRefused(
                f"our kernels count to 2³¹ - 1, and an array of {shown} has more elements; a smaller --batch"
            )

    @property
    def root(self) -> Value:
        """The value whose memory this is a part or another view of; itself for most."""
        return self._root or self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def rows(self) -> int:
        """Pixels of all samples."""
        return self.samples * self.height * self.width

    @property
    def size(self) -> int:
        """Elements of all samples."""
        return self.rows * self.channels

    @property
    def is_dense(self) -> bool:
        """Whether nothing else lies between its elements."""
        return self.stride == self.channels

    @property
    def at(self) -> tuple[Value, int]:
        """What kernels are told of it: where it begins, and its stride."""
        return self, self.stride

    @property
    def vector(self) -> int:
        """How many neighbouring channels can be read at once, wherever a multiple of as many begins: 1 or 4."""
        return self.together(4)

    def together(self, most: int) -> int:
        """The same: 16, 4 or 1, but at most so many."""
        shared = self.channels | self.stride | self.offset
        return next(count for count in (16, 4, 1) if count <= most and not shared % count)

    @property
    def memory(self) -> Buffer:
        """From its first element to its last; wider ones' other channels lie between."""
        assert self.root.buffer is not None
        if isinstance(self.root.buffer, Pointer):
            return self.root.buffer
        extent = (self.rows - 1) * self.stride + self.channels
        return self.root.buffer[self.offset : self.offset + extent]

    def part(self, start: int, channels: int) -> Value:
        """The channels from `start` on."""
        part = Value(self.samples, (self.height, self.width, channels), self.dtype)
        part.stride, part.offset, part._root = self.stride, self.offset + start, self.root
        return part

    def reshaped(self, shape: tuple[int, int, int]) -> Value:
        """The same elements of each sample under another shape."""
        assert self.is_dense
        assert math.prod(shape) == math.prod(self.shape)
        view = Value(self.samples, shape, self.dtype)
        view.offset, view._root, view.finish = self.offset, self.root, self.finish
        return view

    def overlaps(self, other: Value) -> bool:
        """Whether the two share an element."""
        if self.root is not other.root:
            return False
        if self.stride != other.stride:
            return True
        return (
            self.offset < other.offset + other.channels
            and other.offset < self.offset + self.channels
        )


class Work(abc.ABC):
    """What a program queues: a launch of a kernel, or what a vendor's library launches when it is called.

    Attributes
    ----------
    name : of the kernel, or of the library's function.
    args : things that have a `memory` when it is bound, buffers, and what else it takes.
    """

    name: str
    args: tuple[Any, ...]

    @property
    def values(self) -> list[Value]:
        """The values it touches."""
        return [arg for arg in self.args if isinstance(arg, Value)]

    @property
    def placed(self) -> tuple[Any, ...]:
        """Its arguments, and the memory of those that have one."""
        return tuple(arg.memory if isinstance(arg, Placed) else arg for arg in self.args)

    @abc.abstractmethod
    def bind(self, device: Any) -> Callable[[], None]:
        """What queues it on a device that can do so."""


@dataclasses.dataclass(frozen=True)
class Launch(Work):
    """One kernel launch; what it takes besides memory are NumPy scalars.

    `flops` counts the multiplications and additions of a matrix product; 0 where there is none.
    """

    sources: tuple[str, ...]
    defines: Defines
    name: str
    grid: Size
    block: Size
    args: tuple[Any, ...]
    flops: int = 0

    def bind(self, device: Device) -> Callable[[], None]:
        """Compiles the kernel where that was not done."""
        kernel = device.kernel(self.sources, self.defines, self.name)
        return device.bind(kernel, self.grid, self.block, self.placed)


class Program:
    """Launches to be recorded, then prepared once, then run any number of times."""

    def __init__(self, device: Device, samples: int, progress: Buffer, training: bool) -> None:
        self.device = device
        self.samples = samples
        self.progress = progress
        self.training = training
        self.launches: list[Work] = []
        self._owner = NOBODY
        self._owners: list[tuple[int, Owner]] = []
        """From which launch on whose work they are."""
        self._bound: list[Callable[[], None]] | None = None

    def value(self, shape: tuple[int, int, int], dtype: npt.DTypeLike = np.float32) -> Value:
        """A new value of the program's batch."""
        return Value(self.samples, shape, dtype)

    def scratch(self, size: int) -> Value:
        """Memory for what one launch leaves to another, not a number for each sample."""
        return Value(1, (1, 1, size))

    def like(self, value: Value) -> Value:
        """A new value of the same shape."""
        return self.value(value.shape)

    @contextlib.contextmanager
    def owned(self, layers: Sequence[str], track: Track, name: str = "") -> Iterator[None]:
        """Whose work is recorded within; what it was before, behind it."""
        before = self._owner
        self._own(Owner(tuple(dict.fromkeys(layers)), track, name))
        try:
            yield
        finally:
            self._own(before)

    def serves(self, layers: Sequence[str]) -> None:
        """What is recorded from here on, as long as its owner stays, is the work of these layers too."""
        own = self._owner
        self._own(dataclasses.replace(own, layers=tuple(dict.fromkeys((*own.layers, *layers)))))

    def _own(self, owner: Owner) -> None:
        self._owner = owner
        self._owners.append((len(self.launches), owner))

    def launch(
        self,
        sources: Sequence[str],
        defines: Defines,
        name: str,
        grid: tuple[int, ...],
        threads: int,
        args: Sequence[Any],
        flops: int = 0,
    ) -> None:
        """Records a launch; Python integers among the arguments are the kernel's ``int``.

        The kernel is compiled for blocks of `threads`, its constant ``THREADS``.
        """
        x, y, z = (*grid, 1, 1)[:3]
        typed = tuple(np.int32(arg) if type(arg) is int else arg for arg in args)
        self.launches.append(
            Launch(
                ("common", *sources),
                {**defines, "THREADS": threads},
                name,
                (x, y, z),
                (threads, 1, 1),
                typed,
                flops,
            )
        )

    def launch_elements(
        self, source: str, defines: Defines, name: str, size: int, args: Sequence[Any]
    ) -> None:
        """Records a launch of one thread an element."""
        self.launch(
            (source,), defines, name, (-(-size // ELEMENTS_PER_BLOCK),), ELEMENTS_PER_BLOCK, args
        )

    def finish_args(self, finish: Finish) -> tuple[Any, ...]:
        """The last parameters of every kernel that finishes values or undoes that."""
        return (self.progress, *finish.scalars)

    def prepare(self, kept: Sequence[Value]) -> None:
        """Gives values their memory, compiles, binds; nothing a second time. `kept` values outlive the run."""
        if self._bound is not None:
            return
        self._place(kept)
        self._bound = [launch.bind(self.device) for launch in self.launches]

    @property
    def bound(self) -> Sequence[tuple[Work, Callable[[], None]]]:
        """Each launch with what queues it; none before `prepare`."""
        return list(zip(self.launches, self._bound or (), strict=False))

    def run(self) -> None:
        """Queues all launches of a program that is prepared."""
        for launch in self._bound or ():
            launch()

    def run_marked(self, mark: Callable[[], Any]) -> list[tuple[Owner, Any]]:
        """The same with a mark before each owner's launches and one behind all: each owner and where its work begins;
        the last is where all ends."""
        marks = []
        owners = dict(self._owners)
        owner = before = None
        for number, launch in enumerate(self._bound or ()):
            owner = owners.get(number, owner) or NOBODY
            if owner != before:
                marks.append((owner, mark()))
                before = owner
            launch()
        return [*marks, (NOBODY, mark())]

    def _place(self, kept: Sequence[Value]) -> None:
        """Memory for the roots of all values, taken over from those that no later launch touches."""
        last_use = {
            value.root: number
            for number, launch in enumerate(self.launches)
            for value in launch.values
        }
        lasting = {value.root for value in kept}
        free: list[Buffer] = []
        # Given to the roots in the end, so that one attempt that fails leaves nothing to the next.
        places: dict[Value, Buffer] = {}
        for root in lasting:
            if root.buffer is None:
                places[root] = self.device.buffer(root.size, root.dtype)
        for number, launch in enumerate(self.launches):
            roots = dict.fromkeys(value.root for value in launch.values)
            for root in roots:
                if root.buffer is None and root not in places:
                    places[root] = self._take(free, root)
            for root in roots:
                if last_use[root] == number and root not in lasting and root in places:
                    free.append(places[root])
        for root, buffer in places.items():
            root.buffer = buffer

    def _take(self, free: list[Buffer], root: Value) -> Buffer:
        fitting = [b for b in free if b.dtype == root.dtype and b.size >= root.size]
        if not fitting:
            return self.device.buffer(root.size, root.dtype)
        best = min(fitting, key=lambda buffer: int(buffer.size))
        free[:] = [buffer for buffer in free if buffer is not best]
        return best
