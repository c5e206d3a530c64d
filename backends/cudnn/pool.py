"""Pools."""

from __future__ import annotations

from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..launches.program import Program, Value
from .calls import call, described, libraries_of
from .layers import Back, Layer, into
from .library import AVERAGE_WITH_PADDING, AVERAGE_WITHOUT_PADDING, MAX_DETERMINISTIC, ONE, ZERO
from .products import even_padding

Pools = spec.MaxPool | spec.AvgPool | spec.GlobalAvgPool


class Pool(Layer):
    """The largest or the mean of each window, or the mean of each channel of an image."""

    def __init__(self, node: Node, layer: Pools) -> None:
        super().__init__(node)
        height, width = node.input_shape[1:]
        self.mode, self.sizes = AVERAGE_WITHOUT_PADDING, ((height, width), (0, 0), (1, 1))
        if isinstance(layer, spec.GlobalAvgPool):
            return
        self.sizes = (layer.kernel, even_padding(node, layer), layer.step)
        if isinstance(layer, spec.MaxPool):
            self.mode = MAX_DETERMINISTIC
        elif layer.count_include_pad:
            self.mode = AVERAGE_WITH_PADDING
        if node.output_shape[1:] != self._windows(height, width):
            raise PlanRefused(f"cudnn has no ceil_mode, and {node.name} has windows that need it")

    def _windows(self, height: int, width: int) -> tuple[int, int]:
        """What cuDNN would make of an image."""
        rows, columns = (
            (length + 2 * padding - kernel) // step + 1
            for length, kernel, padding, step in zip((height, width), *self.sizes, strict=True)
        )
        return rows, columns

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One call each way."""
        y = self.output(program)
        pooling = libraries_of(program).pooling(self.mode, *self.sizes)
        large, small = (
            described(program, value, shape)
            for value, shape in ((x, self.node.input_shape), (y, self.node.output_shape))
        )
        call(program, "cudnnPoolingForward", pooling, ONE, large, x, ZERO, small, y)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx, beta = into(program, x, other)
            call(
                program,
                "cudnnPoolingBackward",
                *(pooling, ONE, small, y, small, dy, large, x, beta, large, dx),
            )
            return dx

        return y, back
