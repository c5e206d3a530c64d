"""All parameters of a network in one array on the device, so that one launch updates them.

A layer asks for a *block*: its weight and bias, say, one behind the other in the layout that its kernels
read. Each block begins on a boundary of the optimizer's blocks of threads. The gradient of a block
comes in parts, where several blocks of threads shared the work; they lie one behind the other and are
added up by the optimizer's launch, always in the same order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlbench.helpers.update_rules import moments_of
from dlbench.spec.training import CLIP_EPS, Adadelta, Adam, AdamW, Optimizer, RMSprop, Sgd
from dlbench.spec.workload import Weights

from .device import Buffer, Defines, Device
from .program import Placed, Program

_SOURCES = ("optimizer",)
_THREADS = 64
_PER_BLOCK = 4 * _THREADS
"""Elements that a block of `update` updates; on their multiples, parameters begin."""
_SUM_THREADS = 512
"""A power of two: sums are halved until one is left."""

PROGRESS = np.dtype(
    [
        ("beta1_power", np.float64),
        ("beta2_power", np.float64),
        ("learning_rate", np.float32),
        ("draw", np.uint32),
        ("seed", np.uint32),
        ("clipping", np.float32),
    ]
)
"""`struct Progress` of the kernels."""

LEARNING_RATE_BYTES = slice(16, 20)
POWERS_BYTES = slice(0, 16)


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the network's arrays within its block.

    Attributes
    ----------
    name : of the parameter.
    shape : as the kernels read it.
    axes : the order of its axes that makes the canonical layout.
    offset : its first element in the block.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Block:
    """Arrays of one layer that lie one behind the other; `shares` is how many parts its gradient comes in."""

    def __init__(self, trainable: bool) -> None:
        self.trainable = trainable
        self.members: list[Member] = []
        self.shares = 1
        self.start = 0
        self.first_part = 0
        self.values_buffer: Buffer | None = None
        self.parts_buffer: Buffer | None = None

    def add(self, name: str, shape: Sequence[int], axes: Sequence[int] = (0,)) -> Member:
        """Puts an array at the end."""
        member = Member(name, tuple(shape), tuple(axes), self.size)
        self.members.append(member)
        return member

    @property
    def size(self) -> int:
        """Elements of all its arrays."""
        return sum(member.size for member in self.members)

    @property
    def padded(self) -> int:
        """Elements up to the next block."""
        return -(-self.size // _PER_BLOCK) * _PER_BLOCK


@dataclasses.dataclass(frozen=True)
class Current(Placed):
    """The values of an array, as a kernel's argument."""

    block: Block
    member: Member

    @property
    def memory(self) -> Buffer:
        """Its elements."""
        assert self.block.values_buffer is not None
        start = self.block.start + self.member.offset
        return self.block.values_buffer[start : start + self.member.size]


@dataclasses.dataclass(frozen=True)
class Parts(Placed):
    """The parts of a block's gradient, `block.padded` apart, from one of its arrays on."""

    block: Block
    member: Member | None = None

    @property
    def memory(self) -> Buffer:
        """All parts; one array's where there is one part of it."""
        block = self.block
        assert block.parts_buffer is not None
        if self.member is None:
            return block.parts_buffer[
                block.first_part : block.first_part + block.shares * block.padded
            ]
        start = block.first_part + self.member.offset
        return block.parts_buffer[start : start + self.member.size]


class Parameters:
    """The parameters of one session; ask for all blocks, then `allocate`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._blocks: dict[str, Block] = {}
        self._sizes = {True: 0, False: 0}
        self._buffers: dict[bool, Buffer] = {}

    def block(self, name: str, trainable: bool = True) -> tuple[Block, bool]:
        """The block of that name, and whether it is new and empty."""
        new = name not in self._blocks
        if new:
            self._blocks[name] = Block(trainable)
        return self._blocks[name], new

    def allocate(self) -> None:
        """Gives all values their memory."""
        for block in self._blocks.values():
            block.start = self._sizes[block.trainable]
            self._sizes[block.trainable] += block.padded
        for trainable, size in self._sizes.items():
            self._buffers[trainable] = self._device.zeros(max(size, 1))
        for block in self._blocks.values():
            block.values_buffer = self._buffers[block.trainable]

    @property
    def trained(self) -> list[Block]:
        """The blocks that the optimizer updates, in order."""
        return [block for block in self._blocks.values() if block.trainable]

    @property
    def trained_values(self) -> Buffer:
        """All of their elements."""
        return self._buffers[True]

    def load(self, weights: Weights) -> None:
        """Copies all arrays in from the canonical layout."""
        for trainable, size in self._sizes.items():
            host = np.zeros(max(size, 1), np.float32)
            for block in self._of(trainable):
                for member in block.members:
                    view = _view(host, block, member)
                    view[...] = weights[member.name].reshape(view.shape)
            self._device.write(self._buffers[trainable], host)

    def copy(self, shapes: dict[str, tuple[int, ...]]) -> Weights:
        """Copies of all arrays in the canonical layout."""
        found: Weights = {}
        for trainable in (True, False):
            host = self._device.to_host(self._buffers[trainable])
            for block in self._of(trainable):
                for member in block.members:
                    found[member.name] = np.array(_view(host, block, member), order="C")
        return {name: found[name].reshape(shape) for name, shape in shapes.items()}

    def _of(self, trainable: bool) -> list[Block]:
        return [block for block in self._blocks.values() if block.trainable == trainable]


def _view(host: npt.NDArray[np.float32], block: Block, member: Member) -> npt.NDArray[np.float32]:
    """An array's elements in `host`, seen in the canonical layout."""
    start = block.start + member.offset
    return host[start : start + member.size].reshape(member.shape).transpose(member.axes)


def betas_of(rule: Optimizer) -> tuple[float, float]:
    """Whose powers correct the moments of Adam; 0 where there are none."""
    return (rule.beta1, rule.beta2) if isinstance(rule, Adam | AdamW) else (0.0, 0.0)


class Update:
    """The optimizer: its state, and the launch that updates all parameters."""

    def __init__(self, device: Device, parameters: Parameters, optimizer: Optimizer) -> None:
        self._device = device
        self._rule = optimizer
        self._blocks = parameters.trained
        self._values = parameters.trained_values
        size = sum(block.padded for block in self._blocks)
        state = moments_of(optimizer)
        self._moments = [device.zeros(size if number < state else 1) for number in range(2)]

    def reset(self, progress: Buffer) -> None:
        """Back to the first step."""
        for moments in self._moments:
            self._device.write(moments, np.zeros(moments.size, np.float32))
        self._device.write(progress[POWERS_BYTES], np.ones(2, np.float64).view(np.uint8))

    def emit(self, program: Program) -> None:
        """Appends the launch. By now every layer has said in how many parts its gradients come."""
        device, places, total = self._device, [], 0
        for block in self._blocks:
            block.first_part = total
            # A weight lies before its bias, so what decays comes first.
            decayed = sum(m.size for m in block.members if self._rule.decay_of(m.name))
            for start in range(0, block.padded, _PER_BLOCK):
                places.append((total + start, block.shares, block.padded, decayed - start))
            total += block.shares * block.padded
        if total > 2**31 - 1:
            raise MemoryError(f"the parts of the gradients are {total} elements, over 2³¹")
        # Zeros, since nothing writes between the end of a block and the next one's beginning.
        parts = device.zeros(max(total, 1))
        for block in self._blocks:
            block.parts_buffer = parts
        if not places:
            return
        table = device.from_host(np.array(places, np.int32))
        rule = self._rule
        args = [self._values, parts, table, *self._moments, program.progress]
        args += [np.float32(number) for number in self._numbers()]
        defines: Defines = {
            "RULE": type(rule).__name__.upper(),
            "NESTEROV": int(isinstance(rule, Sgd) and rule.nesterov),
            "MOMENTUM": int(_momentum(rule) > 0),
            "CLIP": int(rule.clip_norm is not None),
        }
        if rule.clip_norm is not None:
            self._clip(program, rule.clip_norm, parts, table, len(places), defines)
        program.launch(_SOURCES, defines, "update", (len(places),), _THREADS, args)

    def _clip(
        self,
        program: Program,
        most: float,
        parts: Buffer,
        table: Buffer,
        count: int,
        defines: Defines,
    ) -> None:
        """Two launches: what all gradients are multiplied by, so that their norm is at most `most`."""
        squares = program.scratch(count)
        program.launch(
            _SOURCES, defines, "gradient_squares", (count,), _THREADS, (parts, table, squares)
        )
        told = (squares, count, program.progress, np.float32(most), np.float32(CLIP_EPS))
        program.launch(_SOURCES, defines, "clipping", (1,), _SUM_THREADS, told)

    def _numbers(self) -> tuple[float, ...]:
        """The kernel's momentum, weight decay, beta1 (or rho), 1 - beta1, beta2, 1 - beta2, eps."""
        rule = self._rule
        beta1, beta2 = betas_of(rule)
        if isinstance(rule, RMSprop | Adadelta):
            beta1 = rule.rho
        eps = 0.0 if isinstance(rule, Sgd) else rule.eps
        return _momentum(rule), rule.weight_decay, beta1, 1 - beta1, beta2, 1 - beta2, eps


def _momentum(rule: Optimizer) -> float:
    return rule.momentum if isinstance(rule, Sgd | RMSprop) else 0.0
