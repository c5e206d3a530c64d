"""Pooling layers: one launch each way."""

from __future__ import annotations

import numpy as np

from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .layers import Back, Ending, Layer, input_gradient
from .program import Program, Value

_SOURCE = "pool.cu"
_NO_WINDOW = {"KH": 1, "KW": 1, "SH": 1, "SW": 1}
_PLACES = 256
"""A place within a window is kept in a byte."""


class Pool(Layer):
    """The largest or the mean of each window."""

    def __init__(self, node: Node, layer: spec.MaxPool | spec.AvgPool) -> None:
        super().__init__(node)
        self.padding = layer.padding
        self.largest = isinstance(layer, spec.MaxPool)
        self.defines = dict(
            zip(("KH", "KW", "SH", "SW"), (*layer.kernel, *layer.step), strict=True)
        )
        if self.largest and layer.kernel[0] * layer.kernel[1] > _PLACES:
            raise PlanRefused(f"cupy has no max_pool over more than {_PLACES} places")

    @property
    def is_quarter(self) -> bool:
        """Whether it is the maximum of 2×2, side by side, which a convolution can take itself."""
        return self.largest and self.padding == (0, 0) and set(self.defines.values()) == {2}

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """A maximum also leaves which place of its window it came from, for the way back."""
        y = self.output(program, ending)
        places = program.value(y.shape, np.uint8) if self.largest else None
        vector = min(x.vector, y.vector)
        program.launch_elements(
            _SOURCE,
            y.finish.defines | self.defines | {"VC": vector},
            "max_pool" if self.largest else "avg_pool",
            y.size // vector,
            (
                *(x, x.stride, y, y.stride),
                *(() if places is None else (places,)),
                *self._geometry(x, y),
                y.size,
                *program.finish_args(y.finish),
            ),
        )
        return y, self.back(program, x, y, places)

    def back(self, program: Program, x: Value, y: Value, places: Value | None) -> Back:
        """The way back from `y`, whose maxima came from `places`, to `x`."""

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            dx, vector = end.dx, end.vector
            program.launch_elements(
                _SOURCE,
                end.defines | self.defines | {"VC": vector},
                "max_pool_gradient" if self.largest else "avg_pool_gradient",
                dx.size // vector,
                (
                    *(dy, dy.stride),
                    *(() if places is None else (places,)),
                    *(*end.other, *end.x, dx, dx.stride),
                    *self._geometry(x, y),
                    dx.size,
                    *end.finish,
                ),
            )
            return dx

        return back

    def _geometry(self, x: Value, y: Value) -> tuple[int, ...]:
        return (*x.shape, y.height, y.width, *self.padding)


class GlobalAvgPool(Layer):
    """The mean of each channel of an image."""

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """A thread sums a channel of an image."""
        y = self.output(program, ending)
        pixels, vector = x.height * x.width, min(x.vector, y.vector)
        program.launch_elements(
            _SOURCE,
            y.finish.defines | _NO_WINDOW | {"VC": vector},
            "global_avg_pool",
            y.size // vector,
            (x, x.stride, y, y.stride, pixels, x.channels, y.size, *program.finish_args(y.finish)),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            dx, vector = end.dx, end.vector
            program.launch_elements(
                _SOURCE,
                end.defines | _NO_WINDOW | {"VC": vector},
                "global_avg_pool_gradient",
                dx.size // vector,
                (
                    dy,
                    dy.stride,
                    *end.other,
                    *end.x,
                    dx,
                    dx.stride,
                    pixels,
                    x.channels,
                    dx.size,
                    *end.finish,
                ),
            )
            return dx

        return y, back
