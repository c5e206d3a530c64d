"""Makes the layers of a network and strings their launches together: chains, residual sums, concatenations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node

from ..shared.fusion import pool_first
from .convolution import Convolution
from .grouped import GroupedConvolution
from .layers import (
    AS_IS,
    Apply,
    Back,
    Canonical,
    Curve,
    Ending,
    Flatten,
    Layer,
    OptionA,
    after,
    emit_apply,
    emit_gradient,
    inner_shape,
)
from .norm import BatchNorm, ResponseNorm, SampleNorm
from .parameters import Parameters
from .pool import Pool
from .program import PLAIN, Finish, Program, Value
from .scale import Scale
from .transposed import TransposedConvolution

HAS = (
    *(spec.Conv2d, spec.Linear, spec.BatchNorm, spec.MaxPool, spec.AvgPool, spec.GlobalAvgPool),
    *(spec.Relu, spec.LeakyRelu, spec.Sigmoid, spec.Tanh, spec.Dropout, spec.Flatten),
    *(spec.Residual, spec.OptionA, spec.Concat),
    *training.LOSSES.values(),
    *training.OPTIMIZERS.values(),
)
LACKS = (
    (spec.Conv2d, "groups"),
    *((rule, "clip_norm") for rule in training.OPTIMIZERS.values()),
)
"""What every backend that is made of launches has kernels of, and options that not all of them have."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What layers are made with: where parameters are, the arithmetic, and the numbers of the dropouts."""

    parameters: Parameters
    precision: str
    dropouts: dict[str, int]
    training: bool


@dataclasses.dataclass
class Stage:
    """A layer, and what its kernel does with the output: the activation and the dropout that follow it."""

    layer: Layer
    finish: Finish = PLAIN
    pool: Pool | None = None
    """A max pool that the kernel of a convolution takes before the finish."""

    @property
    def names(self) -> tuple[str, ...]:
        """The workload's layers that it is, without its finish."""
        layers = (self.layer,) if self.pool is None else (self.layer, self.pool)
        return tuple(layer.node.name for layer in layers)

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """Appends the forward launches; see `Layer.emit`."""
        if self.pool is not None and isinstance(self.layer, Convolution):
            return self.layer.emit_pooled(program, x, self.pool, ending)
        return self.layer.emit(program, x, ending)


class Chain:
    """Layers one after the other; none are the identity."""

    def __init__(self, nodes: Sequence[Node], context: Context, *, branch: bool = False) -> None:
        self.stages: list[Stage] = []
        for node in pool_first(nodes):
            finish = _finish(node, context)
            if finish is None:
                layer = _make(node, context, branch and not self.stages)
                if isinstance(layer, Pool) and self._pool(layer):
                    continue
                self.stages.append(Stage(layer))
            elif not finish.is_identity:
                finish = dataclasses.replace(finish, names=(node.name,))
                if not self._attach(finish):
                    self.stages.append(Stage(Apply(node), finish))

    def _pool(self, pool: Pool) -> bool:
        """Lets the convolution before do it."""
        last = self.stages[-1] if self.stages else Stage(pool)
        fits = isinstance(last.layer, Convolution) and last.pool is None
        if not (fits and last.finish.is_identity and pool.is_quarter):
            return False
        last.pool = pool
        return True

    def _attach(self, finish: Finish) -> bool:
        """Lets the last stage's kernel do it; dropout goes behind a relu or nothing."""
        if not self.stages:
            return False
        last = self.stages[-1]
        if isinstance(last.layer, Flatten | Concat):
            return False
        if last.finish.is_identity:
            last.finish = finish
        elif finish.rate and last.finish == Finish("relu"):
            names = (*last.finish.names, *finish.names)
            last.finish = dataclasses.replace(finish, activation="relu", names=names)
        else:
            return False
        return True

    @property
    def overwrites(self) -> bool:
        """Whether its way back writes over the gradient that it is given."""
        return bool(self.stages) and isinstance(self.stages[-1].layer, Residual | Concat)

    @property
    def ends_in_sum(self) -> bool:
        """Whether its last kernel can add another value and finish the sum."""
        if not self.stages:
            return False
        return self.stages[-1].layer.adds and self.stages[-1].finish.is_identity

    def emit(self, program: Program, x: Value, ending: Ending = AS_IS) -> tuple[Value, Back]:
        """Appends all layers' launches. `ending` is for the last one, and a finish in it takes the place of its own."""
        first, y = x, x
        backs: list[Back] = []
        endings = [
            Ending(stage.finish, place)
            for stage, place in zip(
                self.stages, _places(program, self.stages, ending.out), strict=True
            )
        ]
        if endings:
            finish = self.stages[-1].finish if ending.finish.is_identity else ending.finish
            endings[-1] = dataclasses.replace(ending, finish=finish, out=endings[-1].out)
        for stage, own in zip(self.stages, endings, strict=True):
            with program.owned((*stage.names, *own.finish.names, *own.joins), "forward"):
                y, back = stage.emit(program, y, own)
            backs.append(back)

        def back_through(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not backs:
                if other is None and (not undo or first.finish.is_identity):
                    return dy
                return emit_gradient(program, first, dy, other, undo)
            gradient: Value | None = dy
            for number in reversed(range(len(backs))):
                if gradient is None:
                    return None
                with program.owned(self.stages[number].names, "backward"):
                    if number:
                        gradient = backs[number](gradient)
                    else:
                        gradient = backs[number](gradient, other, undo)
            return gradient

        return y, back_through


def _places(program: Program, stages: Sequence[Stage], out: Value | None) -> list[Value | None]:
    """Where each stage's output goes: a row of concatenations behind their inputs, and what comes before it, into one
    value."""
    places: list[Value | None] = [None] * len(stages)
    if stages:
        places[-1] = out
    for number in reversed(range(len(stages))):
        layer = stages[number].layer
        if not isinstance(layer, Concat) or layer.bodies[0].stages:
            continue
        whole = places[number] or program.value(inner_shape(layer.node.output_shape))
        places[number] = whole
        if number and not isinstance(stages[number - 1].layer, Flatten):
            places[number - 1] = whole.part(0, layer.node.input_shape[0])
    return places


class Residual(Layer):
    """body(x) + shortcut(x)."""

    def __init__(self, node: Node, context: Context) -> None:
        super().__init__(node)
        self.body = Chain(node.body, context, branch=True)
        self.shortcut = Chain(node.shortcut, context, branch=True)

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """The body's last kernel adds the shortcut where it can."""
        around, around_back = self.shortcut.emit(program, x)
        if self.body.ends_in_sum:
            y = self.output(program, ending)
            y, through_back = self.body.emit(
                program, x, Ending(ending.finish, y, around, (self.node.name,))
            )
            through_finish = PLAIN
        else:
            through, through_back = self.body.emit(program, x)
            if through.canonical != around.canonical:
                reorder = Canonical(self.node).emit
                through, through_back = after(*reorder(program, through, AS_IS), through_back)
                around, around_back = after(*reorder(program, around, AS_IS), around_back)
            y = self.output(program, ending)
            y.canonical = through.canonical
            emit_apply(program, through, y, ending.finish, around)
            through_finish = through.finish

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            # An identity's finish is that of x, which the body's way back undoes for both.
            to_shortcut, to_body = dy, dy
            if self.shortcut.stages and not around.finish.is_identity:
                to_shortcut = emit_gradient(program, around, dy)
            elif self.shortcut.overwrites:
                to_shortcut = _copy(program, dy)
            if self.body.stages and not through_finish.is_identity:
                to_body = emit_gradient(program, through, dy)
            elif self.body.overwrites:
                to_body = _copy(program, dy)
            side = around_back(to_shortcut, other, undo=False)
            return through_back(to_body, side, undo)

        return y, back


def _copy(program: Program, value: Value) -> Value:
    copy = program.like(value)
    emit_apply(program, value, copy, PLAIN)
    return copy


class Concat(Layer):
    """The channels of each body in one wide value; the input as a body is copied only where it lies elsewhere."""

    def __init__(self, node: Node, context: Context) -> None:
        super().__init__(node)
        self.bodies = [Chain(body, context, branch=True) for body in node.bodies]
        self.ends = list(itertools.accumulate(_channels(node, body) for body in node.bodies))

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """What flows back through one body is added to by the next. That of the input itself comes first: its place
        is where the others add to it."""
        y = self.output(program, ending)
        made, backs = zip(
            *(
                body.emit(program, x, Ending(out=part))
                if body.stages
                else _copied(program, x, part)
                for body, part in zip(self.bodies, self._parts(y), strict=True)
            ),
            strict=True,
        )
        order = sorted(range(len(made)), key=lambda number: bool(self.bodies[number].stages))

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            parts, gradient = self._parts(dy), other
            for number in order:
                part = parts[number]
                if not made[number].finish.is_identity:
                    part = emit_gradient(program, made[number], part)
                gradient = backs[number](part, gradient, undo and number == order[-1])
            return gradient

        return y, back

    def _parts(self, whole: Value) -> list[Value]:
        starts = [0, *self.ends[:-1]]
        return [whole.part(a, b - a) for a, b in zip(starts, self.ends, strict=True)]


def _channels(node: Node, body: tuple[Node, ...]) -> int:
    """Of what a body makes of its concatenation's input."""
    return (body[-1].output_shape if body else node.input_shape)[0]


def _copied(program: Program, x: Value, part: Value) -> tuple[Value, Back]:
    """The input in its part of a wider value, and the way back to it."""
    if (x.root, x.offset, x.stride) != (part.root, part.offset, part.stride):
        emit_apply(program, x, part, PLAIN)

    def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
        if other is None and (not undo or x.finish.is_identity):
            return dy
        return emit_gradient(program, x, dy, other, undo)

    return part, back


def _finish(node: Node, context: Context) -> Finish | None:
    """What an activation or a dropout does to a value; None for other layers."""
    match node.layer:
        case spec.LeakyRelu(slope=slope):
            return Finish("leaky_relu", slope)
        case spec.Dropout(rate=rate):
            if not context.training or not rate:
                return PLAIN
            return Finish(rate=rate, layer=context.dropouts[node.name])
        case (
            spec.Relu() | spec.Sigmoid() | spec.Tanh() | spec.Relu6() | spec.HardSigmoid() as layer
        ):
            return Finish(spec.WORDS[type(layer)])
    return None


def _make(node: Node, context: Context, first_of_branch: bool) -> Layer:
    match node.layer:
        case spec.Conv2d() as layer if layer.groups > 1:
            return GroupedConvolution(node, layer, context.parameters)
        case spec.ConvTranspose2d() as layer:
            return TransposedConvolution(node, layer, context.parameters, context.precision)
        case spec.Conv2d() | spec.Linear() as layer:
            return Convolution(node, layer, context.parameters, context.precision)
        case spec.BatchNorm() as layer:
            return BatchNorm(node, layer, context.parameters)
        case spec.GroupNorm() | spec.LayerNorm() as layer:
            return SampleNorm(node, layer, context.parameters)
        case spec.LocalResponseNorm() as layer:
            return ResponseNorm(node, layer)
        case spec.Silu() | spec.HardSwish() | spec.Gelu() as layer:
            return Curve(node, layer)
        case (
            spec.MaxPool() | spec.AvgPool() | spec.GlobalAvgPool() | spec.AdaptiveAvgPool() as layer
        ):
            return Pool(node, layer)
        case spec.Flatten():
            return Flatten(node, first_of_branch)
        case spec.OptionA() as layer:
            return OptionA(node, layer)
        case spec.Residual():
            return Residual(node, context)
        case spec.Concat():
            return Concat(node, context)
        case spec.Scale():
            return Scale(node, Chain(node.body, context, branch=True))
    raise AssertionError(f"{node.layer} has no kernel")
