"""Makes the layers of a network and strings their steps together: chains, sums, concatenations, scalings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..shared.fusion import pool_first
from ..shared.stamps import Owner
from . import activations as bent
from . import layers as plain
from .convolutions.dense import Conv2d
from .convolutions.grouped import Depthwise, Grouped
from .convolutions.row_pairs import convolution
from .convolutions.transposed import ConvTranspose2d
from .layers import Array, Back, Layer, inner_shape, scope_of
from .norm import BatchNorm
from .parameters import Parameters
from .pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool, MaxPool
from .sample_norm import GroupNorm, LayerNorm, LocalResponseNorm
from .schedule import Calls, Program, Value
from .workers import Chunk, Team


class Chain:
    """Layers one after the other; no layers are the identity."""

    def __init__(self, nodes: Sequence[Node], parameters: Parameters, team: Team) -> None:
        self.layers: list[Layer] = []
        self._names: list[tuple[str, ...]] = []
        """Of the specification's layers that each of them is."""
        for node in pool_first(nodes):
            last = self.layers[-1] if self.layers else None
            if isinstance(node.layer, spec.Dropout) and isinstance(last, plain.Relu):
                self.layers[-1] = plain.ReluDropout(last, node, node.layer.rate)
                self._names[-1] += (node.name,)
            else:
                self.layers.append(_make(node, parameters, team))
                self._names.append((node.name,))

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Appends the forward steps of all layers; see `Layer.emit`."""
        backs: list[Back] = []
        left = list(zip(self.layers, self._names, strict=True))
        while left:
            (layer, names), *left = left
            norm, its_names = left[0] if left and not program.training else (None, ())
            if isinstance(layer, Conv2d) and isinstance(norm, BatchNorm):
                with program.owned(Owner(names + its_names, "forward")):
                    x, left = layer.emit_folded(program, x, norm), left[1:]
                continue
            with program.owned(Owner(names, "forward")):
                x, back = layer.emit(program, x)
            backs.append(back)

        def back_through(dy: Value) -> Value | None:
            gradient: Value | None = dy
            made = zip(backs, self.layers, self._names, strict=True)
            for back, layer, names in reversed(list(made)):
                if gradient is None or not layer.node.has_backward:
                    return None
                with program.owned(Owner(names, "backward")):
                    gradient = back(gradient)
            return gradient

        return x, back_through


class Residual(Layer):
    """body(x) + shortcut(x)."""

    def __init__(self, node: Node, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.body = Chain(node.body, parameters, team)
        self.shortcut = Chain(node.shortcut, parameters, team)

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Both branches read the same value; what flows back through them is added."""
        through, body_back = self.body.emit(program, x)
        around, shortcut_back = self.shortcut.emit(program, x)
        through_back: Back = _same
        around_back: Back = _same
        if through.canonical != around.canonical:
            through, through_back = plain.Canonical(self.node).emit(program, through)
            around, around_back = plain.Canonical(self.node).emit(program, around)
        y = _add(program, through, around)

        def back(dy: Value) -> Value | None:
            first, second = through_back(dy), around_back(dy)
            assert first is not None
            assert second is not None
            side, main = shortcut_back(second), body_back(first)
            if side is None or main is None or not self.node.needs_input_gradient:
                return None
            return _add(program, main, side)

        return y, back


class Concat(Layer):
    """The channels of each body, in their order."""

    def __init__(self, node: Node, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.bodies = [Chain(body, parameters, team) for body in node.bodies]

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """The gradient's channels are parted again; what flows back through the bodies is added."""
        emitted = [body.emit(program, x) for body in self.bodies]
        y = Value(inner_shape(self.node.output_shape))
        program.add(self.join, [made for made, _ in emitted], [y])

        def back(dy: Value) -> Value | None:
            parts = [Value(made.shape) for made, _ in emitted]
            program.add(self.part, [dy], [*parts])
            found = [back(part) for (_, back), part in zip(emitted, parts, strict=True)]
            total, *others = reversed(found)
            for other in others:
                if total is None or other is None or not self.node.needs_input_gradient:
                    return None
                total = _add(program, total, other)
            return total

        return y, back

    def join(self, chunk: Chunk, *arrays: Array) -> Calls:
        """Writes all but the last beside each other into the last."""
        *made, y = arrays
        for part, each in zip(_beside(y, made), made, strict=True):
            yield np.copyto, part, each

    def part(self, chunk: Chunk, dy: Array, *parts: Array) -> Calls:
        """The reverse of `join`."""
        for part, each in zip(_beside(dy, parts), parts, strict=True):
            yield np.copyto, each, part


class Scale(Layer):
    """x · body(x), channel by channel."""

    def __init__(self, node: Node, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.body = Chain(node.body, parameters, team)

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """What flows back through the body is added to what flows back beside it."""
        gate, gate_back = self.body.emit(program, x)
        gate, canonical_back = plain.Canonical(self.node).emit(program, gate)
        x, x_back = plain.Canonical(self.node).emit(program, x)
        y = Value(x.shape)
        program.add(self.scaled, [x, gate], [y], scope=scope_of(x))

        def back(dy: Value) -> Value | None:
            to_gate, around = Value(gate.shape), Value(x.shape)
            program.add(self.parted, [dy, x, gate], [around, to_gate], scope=scope_of(x))
            between, beside = canonical_back(to_gate), x_back(around)
            assert between is not None
            through = gate_back(between)
            if through is None or beside is None or not self.node.needs_input_gradient:
                return None
            return _add(program, through, beside)

        return y, back

    def scaled(self, chunk: Chunk, x: Array, gate: Array, y: Array) -> Calls:
        """The output."""
        yield np.multiply, x, _along(gate, x), y

    def parted(
        self, chunk: Chunk, dy: Array, x: Array, gate: Array, around: Array, to_gate: Array
    ) -> Calls:
        """The gradients of x as a factor, and of the gate."""
        yield np.multiply, dy, _along(gate, x), around
        if x.ndim == 2:
            yield np.multiply, dy, x, to_gate
            return
        product = chunk.worker.buffer("temporary", x.shape)
        sums = to_gate if to_gate.ndim == 2 else to_gate[0, :, 0]
        yield np.multiply, dy, x, product
        yield np.add.reduce, product, (0, 2), None, sums


def _along(gate: Array, x: Array) -> Array:
    """A number for each channel, n×C or 1×n×1×C, to be multiplied with H×n×W×C or n×C."""
    return gate[:, None] if gate.ndim == 2 and x.ndim == 4 else gate


def _beside(whole: Array, parts: Sequence[Array]) -> Iterator[Array]:
    """The channels of `whole` that belong to each of `parts`, one after the other."""
    start = 0
    for part in parts:
        yield whole[..., start : start + part.shape[-1]]
        start += part.shape[-1]


def _same(dy: Value) -> Value | None:
    return dy


def _add(program: Program, a: Value, b: Value) -> Value:
    y = Value(a.shape)
    y.canonical = a.canonical
    program.add(_sum, [a, b], [y], scope=scope_of(a), in_place=True)
    return y


def _sum(chunk: Chunk, a: Array, b: Array, y: Array) -> Calls:
    yield np.add, a, b, y


def _make(node: Node, parameters: Parameters, team: Team) -> Layer:
    match node.layer:
        case spec.Conv2d() as layer:
            if layer.groups == 1:
                return convolution(node, layer, parameters, team)
            each = layer.groups == node.input_shape[0] == layer.out_channels
            return (Depthwise if each else Grouped)(node, layer, parameters, team)
        case spec.BatchNorm() as layer:
            return BatchNorm(node, layer, parameters, team)
        case spec.ConvTranspose2d() as layer:
            return ConvTranspose2d(node, layer, parameters, team)
        case spec.GroupNorm() as layer:
            return GroupNorm(node, layer, parameters)
        case spec.LayerNorm() as layer:
            return LayerNorm(node, layer, parameters)
        case spec.LocalResponseNorm() as layer:
            return LocalResponseNorm(node, layer)
        case spec.Relu():
            return plain.Relu(node)
        case spec.LeakyRelu(slope=slope):
            return plain.LeakyRelu(node, slope)
        case spec.Sigmoid():
            return plain.Sigmoid(node)
        case spec.Tanh():
            return plain.Tanh(node)
        case spec.Relu6():
            return bent.Relu6(node)
        case spec.Silu():
            return bent.Silu(node)
        case spec.HardSigmoid():
            return bent.HardSigmoid(node)
        case spec.HardSwish():
            return bent.HardSwish(node)
        case spec.Gelu(approximate=approximate):
            return bent.Gelu(node) if approximate == "none" else bent.GeluTanh(node)
        case spec.MaxPool() as layer:
            return MaxPool(node, layer)
        case spec.AvgPool() as layer:
            return AvgPool(node, layer)
        case spec.GlobalAvgPool():
            return GlobalAvgPool(node)
        case spec.AdaptiveAvgPool():
            return AdaptiveAvgPool(node)
        case spec.Dropout(rate=rate):
            return plain.Dropout(node, rate)
        case spec.Flatten():
            return plain.Flatten(node)
        case spec.Linear():
            return plain.Linear(node, parameters, team)
        case spec.Residual():
            return Residual(node, parameters, team)
        case spec.OptionA() as layer:
            return plain.OptionA(node, layer)
        case spec.Concat():
            return Concat(node, parameters, team)
        case spec.Scale():
            return Scale(node, parameters, team)
