"""Convolutions and linear layers: three matrix products each; see `convolution` among the kernels.

A linear layer is a convolution of 1×1 on images of one pixel. Where its features were flattened from an
image its weight lies in the order of that image, H×W×C×O, so nothing moves in memory at a flatten.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .device import Defines
from .layers import AS_IS, Back, Ending, Layer, after, input_gradient
from .parameters import Block, Current, Parameters, Parts
from .pool import Pool
from .program import PLAIN, Program, Value
from .tiling import Product, Tiling

SHARES_SOURCE = "shares"


@dataclasses.dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution lie: (height, width) each.

    `padding` is above and on the left; how much lies on the other sides follows from the sizes.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    has_padding: bool = False
    """On any side."""

    @property
    def taps(self) -> int:
        """Places of a window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def defines(self) -> dict[str, int]:
        """The constants of the kernels."""
        pointwise = self.taps == 1 and self.stride == (1, 1) and not self.has_padding
        sizes = (*self.kernel, *self.stride, *self.dilation, int(pointwise))
        return dict(zip(("KH", "KW", "SH", "SW", "DH", "DW", "POINTWISE"), sizes, strict=True))


def windows_of(layer: spec.Conv2d | spec.Linear) -> Windows:
    """Those of a layer; of a linear one, the image of one pixel."""
    if isinstance(layer, spec.Linear):
        return Windows()
    padded = layer.even_padding != (0, 0)
    return Windows(layer.kernel, layer.stride, layer.dilation, layer.before, padded)


class Convolution(Layer):
    """A `conv2d` or `linear` layer."""

    def __init__(
        self, node: Node, layer: spec.Conv2d | spec.Linear, parameters: Parameters, precision: str
    ) -> None:
        super().__init__(node)
        self.precision = precision
        self.parameters = parameters
        self.bias = layer.bias
        self.windows = windows_of(layer)

    def _block(self, x: Value, outputs: int) -> Block:
        """Weight and bias, in the layout that fits the input's."""
        block, new = self.parameters.block(self.node.name)
        if new:
            inner = (*self.windows.kernel, x.channels)
            if x.canonical:
                channels, height, width = x.canonical
                inner = (height, width, channels)
            block.add(f"{self.node.name}.weight", (*inner, outputs), (3, 2, 0, 1))
            if self.bias:
                block.add(f"{self.node.name}.bias", (outputs,))
        return block

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch forward, two backward, and one more for each whose sum is shared out."""
        y = self.output(program, ending)
        self._forward(program, x, y, self._forward_tiling(program, x, y))
        return y, self._back(program, x, y.channels)

    def emit_pooled(
        self, program: Program, x: Value, pool: Pool, ending: Ending
    ) -> tuple[Value, Back]:
        """The same with a max pool of 2×2 behind it, in one launch where the sum is not shared out."""
        full = self.output(program, AS_IS)
        pooled = pool.output(program, ending)
        tiling = self._forward_tiling(program, x, pooled, 4 * pooled.rows, 2)
        if tiling.shares > 1:
            _, convolution_back = self.emit(program, x, Ending(out=full))
            pooling = Ending(ending.finish, pooled)
            return after(*pool.emit(program, full, pooling), convolution_back)
        places = program.value(pooled.shape, np.uint8)
        self._forward(program, x, pooled, tiling, places)
        pool_back = pool.back(program, full, pooled, places)
        return after(pooled, pool_back, self._back(program, x, full.channels))

    def _back(self, program: Program, x: Value, outputs: int) -> Back:
        block = self._block(x, outputs)
        weight = Current(block, block.members[0])

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            self._weight_gradient(program, x, dy, block)
            if not self.node.needs_input_gradient:
                return None
            return self._input_gradient(program, x, weight, dy, other, undo)

        return back

    def _forward_tiling(
        self, program: Program, x: Value, y: Value, rows: int = 0, launches_to_share: int = 1
    ) -> Tiling:
        depth = self.windows.taps * x.channels
        rows = rows or y.rows
        product = Product("forward", rows, y.channels, depth, self.precision, launches_to_share)
        return program.device.tiling(product)

    def _forward(
        self, program: Program, x: Value, y: Value, tiling: Tiling, places: Value | None = None
    ) -> None:
        block = self._block(x, y.channels)
        weight, bias = Current(block, block.members[0]), Current(block, block.members[-1])
        shared = tiling.shares > 1
        target = program.scratch(tiling.shares * y.size) if shared else y
        finish = PLAIN if shared else y.finish
        kept = () if places is None else (places,)
        pixels = 1 if places is None else 4
        launch_product(
            program,
            self.windows,
            "forward",
            tiling,
            (x.vector, dense_vector(y.channels)),
            finish.defines
            | {"BIAS": int(self.bias and not shared), "SPLIT": int(shared), "POOL": len(kept)}
            # Rows in the order of windows are not in that of the input's pixels.
            | ({"POINTWISE": 0} if kept else {})
            | {"STORE": rows_together(y.channels if shared else y)},
            (*x.at, weight, bias, target, y.stride, *kept),
            (x, y, pixels * y.rows),
            program.finish_args(finish),
            pixels,
        )
        if shared:
            sums = (target, tiling.shares, y.rows, y.channels, bias)
            program.launch_elements(
                SHARES_SOURCE,
                y.finish.defines | {"BIAS": int(self.bias)},
                "finish_forward",
                y.size,
                (*sums, *y.at, *program.finish_args(y.finish)),
            )

    def _input_gradient(
        self,
        program: Program,
        x: Value,
        weight: Current,
        dy: Value,
        other: Value | None,
        undo: bool,
    ) -> Value:
        end = input_gradient(program, x, dy, other, undo)
        dx = end.dx
        depth = self.windows.taps * dy.channels
        product = Product("input_gradient", x.rows, x.channels, depth, self.precision, 1)
        tiling = program.device.tiling(product)
        shared = tiling.shares > 1
        target = program.scratch(tiling.shares * x.size) if shared else dx
        defines = PLAIN.defines if shared else end.defines
        launch_product(
            program,
            self.windows,
            "input_gradient",
            tiling,
            (dy.vector, dense_vector(dy.channels)),
            defines | {"SPLIT": int(shared), "STORE": rows_together(x.channels if shared else dx)},
            (*dy.at, weight, target, dx.stride, *end.other, *end.x),
            (x, dy, x.rows),
            end.finish,
        )
        if shared:
            sums = (target, tiling.shares, x.rows, x.channels)
            program.launch_elements(
                SHARES_SOURCE,
                end.defines | {"BIAS": 0},
                "finish_input_gradient",
                x.size,
                (*sums, *dx.at, *end.other, *end.x, *end.finish),
            )
        return dx

    def _weight_gradient(self, program: Program, x: Value, dy: Value, block: Block) -> None:
        """The parts of the gradient; the optimizer's launch adds them up."""
        rows = self.windows.taps * x.channels
        product = Product("weight_gradient", rows, dy.channels, dy.rows, self.precision, 0)
        tiling = program.device.tiling(product)
        block.shares = tiling.shares
        launch_product(
            program,
            self.windows,
            "weight_gradient",
            tiling,
            (x.vector, dy.vector),
            {"BIAS": int(self.bias), "SPLIT": 1, "STORE": rows_together(dy.channels)},
            (*x.at, *dy.at, Parts(block), block.padded),
            (x, dy, dy.rows),
        )


def launch_product(
    program: Program,
    windows: Windows,
    product: str,
    tiling: Tiling,
    vectors: tuple[int, int],
    defines: Defines,
    args: tuple[Any, ...],
    sizes: tuple[Value, Value, int],
    finish: tuple[Any, ...] = (),
    pixels: int = 1,
) -> None:
    """One of the products of a convolution.

    `sizes` are its input and output, and the kernel's rows or, for a weight, terms; `pixels` of the output are made for
    each that is stored.
    """
    x, y, count = sizes
    loads = {"VA": vectors[0], "VB": vectors[1]}
    program.launch(
        ("gemm", "convolution", product),
        {**tiling.tile.defines, **loads, **windows.defines, **defines},
        f"convolution_{product}",
        tiling.grid,
        tiling.tile.threads,
        (*args, *x.shape, *y.shape, *windows.padding, count, tiling.per_share, *finish),
        2 * pixels * y.size * windows.taps * x.channels,
    )


def dense_vector(channels: int) -> int:
    """`Value.vector` of a dense array of so many columns."""
    return 1 if channels % 4 else 4


def rows_together(target: Value | int) -> int:
    """Whether rows of a target, or of a dense one of so many columns, can be stored several at a time."""
    return int((target.vector if isinstance(target, Value) else dense_vector(target)) == 4)
