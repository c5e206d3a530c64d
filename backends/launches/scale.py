"""Channels times a number each, which a body makes of them; see `scale` among the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dlbench.spec.network import Node

from .layers import (
    AS_IS,
    Back,
    Canonical,
    Ending,
    InputGradient,
    Layer,
    after,
    input_gradient,
    together,
)
from .program import Program, Value


class Body(Protocol):
    """Layers one after the other."""

    @property
    def stages(self) -> Sequence[Any]:
        """None where it is the identity."""

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """As `Layer.emit`, with an output of their own."""


class Scale(Layer):
    """x · body(x), a number for each channel of an image."""

    def __init__(self, node: Node, body: Body) -> None:
        super().__init__(node)
        self.body = body

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch forward and two back besides the body's."""
        factors, body_back = self.body.emit(program, x)
        scaled, to_x = x, None
        if factors.canonical != x.canonical:
            reorder = Canonical(self.node).emit
            factors, body_back = after(*reorder(program, factors, AS_IS), body_back)
            scaled, to_x = reorder(program, x, AS_IS)
        y = self.output(program, ending)
        y.canonical = scaled.canonical
        sizes = (x.height * x.width, x.channels)
        vector = together(program, scaled, factors, y)
        program.launch_elements(
            "scale",
            y.finish.defines | {"VC": vector},
            "scale",
            y.size // vector,
            (*scaled.at, *factors.at, *y.at, *sizes, y.size, *program.finish_args(y.finish)),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            # The factors of a body without layers are x, whose finish is undone for both in the end.
            end = input_gradient(program, factors, dy, None, bool(self.body.stages))
            self._launch(program, "factor_gradient", end, (*dy.at, *scaled.at), scaled, sizes)
            side = body_back(end.dx, other, undo=False)
            if not self.node.needs_input_gradient:
                return None
            if to_x is None:
                end = input_gradient(program, x, dy, side, undo, in_place=True)
            else:
                end = input_gradient(program, scaled, dy, None, True)
            self._launch(program, "scale_gradient", end, (*dy.at, *factors.at), factors, sizes)
            return end.dx if to_x is None else to_x(end.dx, side, undo)

        return y, back

    def _launch(
        self,
        program: Program,
        name: str,
        end: InputGradient,
        values: tuple[Any, ...],
        read: Value,
        sizes: tuple[int, int],
    ) -> None:
        """What makes the gradient that `end` is of, from `values`, of which `read` is the second."""
        vector = min(end.vector, together(program, read))
        program.launch_elements(
            "scale",
            end.defines | {"VC": vector},
            name,
            end.dx.size // vector,
            (*values, *end.other, *end.x, *end.dx.at, *sizes, end.dx.size, *end.finish),
        )
