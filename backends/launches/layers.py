"""What a layer is to the program, and the layers that work element by element.

A layer appends its forward launches and returns its output with a function that appends the backward
ones. Two rules keep the launches few:

An activation, and a dropout behind it, is done by the kernel that makes the value; the value then
carries it as its `finish`. Whoever makes the gradient of such a value undoes that in the same kernel, so
a layer's `dy` is always the gradient of what it computed before the finish.

Where two paths of gradients meet, the kernel of the second adds the first (`other`), in its memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .program import PLAIN, Finish, Program, Value

POINTWISE = "pointwise"


class Back(Protocol):
    """Appends a layer's backward launches."""

    def __call__(self, dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
        """The gradient of the layer's input, or None where nobody needs it.

        Parameters
        ----------
        dy : gradient of the layer's output before its finish. It may be overwritten.
        other : what another path brought to the same input, to be added. It may be overwritten.
        undo : whether to undo the input's finish; not where a third path still has to add to it.
        """


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a layer's output ends.

    Attributes
    ----------
    finish : what is done with the output; layers whose output is nobody's to finish take `PLAIN`.
    out : where the output goes; None for a value of its own.
    addend : added to the output before it is finished, by layers that have `adds`.
    joins : the workload's layers that this sum is.
    """

    finish: Finish = PLAIN
    out: Value | None = None
    addend: Value | None = None
    joins: tuple[str, ...] = ()


AS_IS = Ending()
"""An output of its own, not finished."""


class Layer:
    """One layer of a network."""

    adds = False
    """Whether `emit` takes an ending with an `addend`."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def output(self, program: Program, ending: Ending) -> Value:
        """Where the layer's output goes."""
        assert self.adds or ending.addend is None
        y = ending.out or program.value(inner_shape(self.node.output_shape))
        y.finish = ending.finish
        return y

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """Appends the forward launches for the input `x`: the output, finished, and the way back."""
        raise NotImplementedError


def inner_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """C×H×W as H×W×C, features as 1×1×F."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, shape[0])


@dataclasses.dataclass(frozen=True)
class InputGradient:
    """The last arguments and constants of every kernel that makes the gradient of a layer's input."""

    dx: Value
    defines: dict[str, int | str]
    other: tuple[Any, ...]
    x: tuple[Any, ...]
    finish: tuple[Any, ...]
    vector: int
    """How many neighbouring channels of all of them can be read and written at once."""


def input_gradient(
    program: Program,
    x: Value,
    dy: Value,
    other: Value | None,
    undo: bool,
    *,
    in_place: bool = False,
) -> InputGradient:
    """Where the gradient of `x` goes and how it is finished.

    It takes the place of `other`, unless the kernel still reads that as its `dy`; kernels that read of
    `dy` only the element they write may be `in_place`.
    """
    finish = x.finish if undo else PLAIN
    program.serves(finish.names)
    free = other is not None and (in_place or not other.overlaps(dy))
    dx = other if other is not None and free else program.like(x)
    # Kernels do not look at what they have no use for; dy stands in, so that nothing lives longer for it.
    added, known = other or dy, x if finish.activation != "identity" else dy
    return InputGradient(
        dx,
        finish.defines | {"ADD": int(other is not None)},
        added.at,
        known.at,
        program.finish_args(finish),
        together(program, dx, dy, added, known),
    )


def together(program: Program, *values: Value) -> int:
    """How many neighbouring channels of all values a thread can read and write at once."""
    return min(value.together(program.device.lanes) for value in values)


def after(y: Value, back: Back, earlier: Back) -> tuple[Value, Back]:
    """The output of two layers in a row, and the way back through both."""

    def through(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
        between = back(dy)
        return None if between is None else earlier(between, other, undo)

    return y, through


def emit_apply(
    program: Program, x: Value, y: Value, finish: Finish, addend: Value | None = None
) -> None:
    """y = x (+ addend), finished."""
    y.finish = finish
    program.launch_elements(
        POINTWISE,
        finish.defines | {"ADD": int(addend is not None), "SH": 1, "SW": 1},
        "apply",
        y.size,
        (*x.at, *(addend or x).at, *y.at, y.rows, y.channels, *program.finish_args(finish)),
    )


def emit_gradient(
    program: Program, x: Value, dy: Value, other: Value | None = None, undo: bool = True
) -> Value:
    """The gradient of `x` where nothing but its finish stands between it and `dy`."""
    end = input_gradient(program, x, dy, other, undo, in_place=True)
    dx = end.dx
    program.launch_elements(
        POINTWISE,
        end.defines | {"SH": 1, "SW": 1},
        "apply_gradient",
        dx.size,
        (*dy.at, *end.other, *end.x, *dx.at, dx.rows, dx.channels, *end.finish),
    )
    return dx


class Apply(Layer):
    """Activation and dropout by themselves, where no layer before could finish its output with them."""

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch each way."""
        y = self.output(program, ending)
        y.canonical = x.canonical
        emit_apply(program, x, y, ending.finish)

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            return emit_gradient(program, x, dy, other, undo)

        return y, back


def _curve_of(layer: spec.Silu | spec.HardSwish | spec.Gelu) -> str:
    """What the kernels call it."""
    if isinstance(layer, spec.Gelu):
        return "GELU_TANH" if layer.approximate == "tanh" else "GELU"
    return "SILU" if isinstance(layer, spec.Silu) else "HARD_SWISH"


class Curve(Layer):
    """An activation whose slope cannot be told from its output. Its input is kept for the way back, so that no other
    layer's kernel finishes its output with it."""

    def __init__(self, node: Node, layer: spec.Silu | spec.HardSwish | spec.Gelu) -> None:
        super().__init__(node)
        self.defines: dict[str, int | str] = {"CURVE": _curve_of(layer)}

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch each way."""
        y = self.output(program, ending)
        y.canonical = x.canonical
        vector = together(program, x, y)
        program.launch_elements(
            "curve",
            y.finish.defines | self.defines | {"VC": vector},
            "curve",
            y.size // vector,
            (*x.at, *y.at, y.channels, y.size, *program.finish_args(y.finish)),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo, in_place=True)
            dx, width = end.dx, min(end.vector, together(program, x))
            values = (*dy.at, *x.at, *end.other, *end.x, *dx.at, dx.channels, dx.size)
            program.launch_elements(
                "curve",
                end.defines | self.defines | {"VC": width},
                "curve_gradient",
                dx.size // width,
                (*values, *end.finish),
            )
            return dx

        return y, back


class Flatten(Layer):
    """Another view of the same memory. The features keep the order H×W×C; see `Value.canonical`."""

    def __init__(self, node: Node, shared_input: bool) -> None:
        super().__init__(node)
        self.shared_input = shared_input

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """No launch, unless the input is part of a wider value."""
        if x.height * x.width == 1 and not self.shared_input:
            return x, _same(program, x)
        dense, back_to_x = x, None
        if not x.is_dense:
            dense = program.like(x)
            emit_apply(program, x, dense, PLAIN)
            back_to_x = _same(program, x, through=True)
        y = dense.reshaped((1, 1, x.height * x.width * x.channels))
        y.canonical = x.canonical
        if x.height * x.width > 1 and x.channels > 1:
            y.canonical = (x.channels, x.height, x.width)
        if self.shared_input:
            # Others read x too, and the last of them undoes its finish.
            y.finish, back_to_x = PLAIN, _same(program, x, through=True)

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx = dy.reshaped(x.shape)
            return back_to_x(dx, other, undo) if back_to_x else dx

        return y, back


def _same(program: Program, x: Value, *, through: bool = False) -> Back:
    """The way back through nothing. `through`: the finish of x has not been undone on the way."""

    def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
        if other is None and (not through or not undo or x.finish.is_identity):
            return dy
        return emit_gradient(program, x, dy, other, undo and through)

    return back


class Canonical(Layer):
    """Features in the order C×H×W, where those of another branch are so."""

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch each way; none where the features are in that order."""
        if x.canonical is None:
            return x, _same(program, x)
        channels, height, width = x.canonical
        y = program.like(x)
        self._exchange(program, x, y, height * width, channels)

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            dx = program.like(x)
            self._exchange(program, dy, dx, channels, height * width)
            return emit_gradient(program, x, dx, other, undo)

        return y, back

    def _exchange(self, program: Program, x: Value, y: Value, one: int, two: int) -> None:
        program.launch_elements(
            POINTWISE,
            {"SH": 1, "SW": 1},
            "exchange_axes",
            y.size,
            (*x.at, *y.at, one, two, y.rows, y.channels),
        )


class OptionA(Layer):
    """Every so many rows and columns, and channels of zeros."""

    def __init__(self, node: Node, layer: spec.OptionA) -> None:
        super().__init__(node)
        self.defines = {"SH": layer.stride[0], "SW": layer.stride[1]}

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch each way."""
        y = self.output(program, ending)
        finish = program.finish_args(y.finish)
        program.launch_elements(
            POINTWISE,
            y.finish.defines | self.defines,
            "subsample",
            y.size,
            (*x.at, *x.shape, *y.at, y.height, y.width, y.rows, y.channels, *finish),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            dx = end.dx
            sizes = (y.height, y.width, *end.other, *end.x, x.height, x.width)
            program.launch_elements(
                POINTWISE,
                end.defines | self.defines,
                "subsample_gradient",
                dx.size,
                (*dy.at, *sizes, *dx.at, dx.rows, dx.channels, *end.finish),
            )
            return dx

        return y, back
