"""Pooling layers: one launch each way."""

from __future__ import annotations

import itertools

import numpy as np

from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .layers import Back, Ending, Layer, input_gradient, together
from .program import Program, Value

_SOURCE = "pool"
_PLACES = 256
"""A place within a window is kept in a byte."""


class Pool(Layer):
    """The largest or the mean of each window, or the mean of each channel of an image."""

    def __init__(
        self,
        node: Node,
        layer: spec.MaxPool | spec.AvgPool | spec.GlobalAvgPool | spec.AdaptiveAvgPool,
    ) -> None:
        super().__init__(node)
        self.padding, window = None, (1, 1, 1, 1)
        self.kernel = "global_avg_pool"
        if isinstance(layer, spec.AdaptiveAvgPool):
            # Its windows follow from the sizes alone.
            self.padding, self.kernel = (0, 0), "adaptive_avg_pool"
        elif not isinstance(layer, spec.GlobalAvgPool):
            self.padding, window = layer.before, (*layer.kernel, *layer.step)
            self.kernel = "max_pool" if isinstance(layer, spec.MaxPool) else "avg_pool"
        self.defines = dict(zip(("KH", "KW", "SH", "SW"), window, strict=True))
        if isinstance(layer, spec.AvgPool) and layer.count_include_pad:
            sides = itertools.chain(*layer.edges)
            self.defines |= dict(zip(("TOP", "BOTTOM", "LEFT", "RIGHT"), sides, strict=True))
        self.largest = isinstance(layer, spec.MaxPool)
        if self.largest and window[0] * window[1] > _PLACES:
            raise PlanRefused(f"this backend has no max_pool over more than {_PLACES} places")

    @property
    def is_quarter(self) -> bool:
        """Whether it is the maximum of 2×2, side by side, which a convolution can take itself."""
        if not self.largest or self.node.window_edges != ((0, 0), (0, 0)):
            return False
        return set(self.defines.values()) == {2}

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """A maximum also leaves which place of its window it came from, for the way back."""
        y = self.output(program, ending)
        places = (program.value(y.shape, np.uint8),) if self.largest else ()
        vector = together(program, x, y)
        sizes, finish = self._geometry(x, y), program.finish_args(y.finish)
        program.launch_elements(
            _SOURCE,
            y.finish.defines | self.defines | {"VC": vector},
            self.kernel,
            y.size // vector,
            (*x.at, *y.at, *places, *sizes, y.size, *finish),
        )
        return y, self.back(program, x, y, *places)

    def back(self, program: Program, x: Value, y: Value, *places: Value) -> Back:
        """The way back from `y`, whose maxima came from `places`, to `x`."""

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            dx, sizes = end.dx, self._geometry(x, y)
            program.launch_elements(
                _SOURCE,
                end.defines | self.defines | {"VC": end.vector},
                f"{self.kernel}_gradient",
                dx.size // end.vector,
                (*dy.at, *places, *end.other, *end.x, *dx.at, *sizes, dx.size, *end.finish),
            )
            return dx

        return back

    def _geometry(self, x: Value, y: Value) -> tuple[int, ...]:
        if self.padding is None:
            return x.height * x.width, x.channels
        return (*x.shape, y.height, y.width, *self.padding)
