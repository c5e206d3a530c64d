"""The convolution kernels, called one by one with tiles of any size, beside the oracle's convolution.

Images go in and come out as N×C×H×W and weights as O×I×kH×kW, as the oracle has them; here they get the
kernels' layout, with channels of somebody else's between the pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from dlbench.backends.cupy.tiling import Tile

from dlbench.oracle.convolution import Conv2d
from dlbench.oracle.layers import Pass
from dlbench.oracle.rounding import Array
from dlbench.spec.workload import read_workload

PRODUCT = ("common", "gemm", "convolution")
SHARES = ("common", "shares")
_FLAT_THREADS = 128
SLOPE = np.float32(0.25)

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Kernel, stride and dilation of a convolution: what kernels are compiled for."""

    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    def defines(self) -> dict[str, int]:
        """The constants of convolution.cu."""
        values = (*self.kernel, *self.stride, *self.dilation)
        return dict(zip(("KH", "KW", "SH", "SW", "DH", "DW"), values, strict=True))


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Problem:
    """One convolution: sizes, numbers and what the oracle makes of them.

    `bound` of a result is what float32 may err by at the most: the number of terms, times the unit
    roundoff, times the sum of the terms' sizes (Higham 2002, section 3.1).
    """

    geometry: Geometry
    padding: tuple[int, int]
    x: Floats
    weight: Floats
    bias: Floats
    dy: Floats
    y: Array
    dx: Array
    dweight: Array
    dbias: Array
    y_bound: Array
    dx_bound: Array
    dweight_bound: Array
    dbias_bound: Array

    def shape(self) -> list[np.int32]:
        """The kernels' SHAPE_PARAMETERS without the last."""
        (_, c, h, w), (_, o, oh, ow) = self.x.shape, self.dy.shape
        return [np.int32(v) for v in (h, w, c, oh, ow, o, *self.padding)]


def draw(
    geometry: Geometry,
    padding: tuple[int, int],
    images: tuple[int, int, int, int],
    outputs: int,
    seed: int,
    tf32: bool = False,
) -> Problem:
    """A convolution with normal numbers, rounded to TF32 where that is what is multiplied."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        made = random.normal(size=shape).astype(np.float32)
        return (made.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) if tf32 else made

    count, channels, height, width = images
    convolution = {
        "type": "conv2d",
        "out_channels": outputs,
        "kernel": list(geometry.kernel),
        "stride": list(geometry.stride),
        "dilation": list(geometry.dilation),
        "padding": list(padding),
    }
    # Behind a layer with weights, so that the oracle works out the input's gradient too.
    first = {"type": "conv2d", "out_channels": channels, "kernel": 1}
    table = {"input_shape": [channels, height, width], "layers": [first, convolution]}
    sgd = {"type": "sgd", "learning_rate": 0.1}
    node = read_workload({**table, "loss": "mean_squared_error", "optimizer": sgd}).nodes[1]
    x = normal(*images)
    weight, bias = normal(outputs, channels, *geometry.kernel), normal(outputs)
    dy = normal(count, *node.output_shape)

    def oracle(*arrays: Floats) -> tuple[Array, Array, Array, Array]:
        x, weight, bias, dy = (array.astype(np.float64) for array in arrays)
        run = Pass(training=True, counts=np.ones(count))
        names = {f"{node.name}.weight": weight, f"{node.name}.bias": bias}
        layer = Conv2d(node, names, run)
        y, dx = layer.forward(x), layer.backward(dy)
        return y, dx, run.gradients[f"{node.name}.weight"], run.gradients[f"{node.name}.bias"]

    numbers = (x, weight, bias, dy)
    sums = oracle(*map(np.abs, numbers))
    taps = geometry.kernel[0] * geometry.kernel[1]
    pixels = dy[:, 0].size
    terms = (taps * channels + 1, taps * outputs, pixels, pixels)
    bounds = [(n + 4) * 2.0**-24 * s for n, s in zip(terms, sums, strict=True)]
    return Problem(geometry, padding, *numbers, *oracle(*numbers), *bounds)


class Bench:
    """Runs the kernels of one tile on one device."""

    def __init__(
        self,
        device: Any,
        tile: Tile,
        geometry: Geometry,
        loads: tuple[int, int],
        **options: int | str,
    ) -> None:
        self.device = device
        self.tile = tile
        usual: dict[str, int | str] = {"POINTWISE": 0, "SPLIT": 0, "STORE": 0, "BIAS": 1}
        usual |= {"ADD": 0, "POOL": 0, "ACTIVATION": "IDENTITY", "DROPOUT": 0}
        usual["THREADS"] = tile.threads
        vectors = dict(zip(("VA", "VB"), loads, strict=True))
        self.defines = {**tile.defines, **vectors, **geometry.defines(), **usual, **options}
        self.flat_defines = self.defines | {"THREADS": _FLAT_THREADS}
        self.nothing = device.zeros(32, np.uint8)

    def compile(self) -> None:
        """Asks for all kernels, so that they are made meanwhile."""
        for product in ("forward", "input_gradient", "weight_gradient"):
            self._kernel(f"convolution_{product}")
        if self.defines["SPLIT"]:
            self.device.kernel(SHARES, self.flat_defines, "finish_forward")

    def forward(self, p: Problem, apart: int, shares: int) -> Array:
        """y, N×O×H×W, with `apart` channels between the pixels of images, by `shares` shares of the sum."""
        x, x_stride = self._image(p.x, apart)
        n, o, oh, ow = p.dy.shape
        rows, k = n * oh * ow, p.weight[0].size
        weight, bias = self._weight(p), self.device.from_host(p.bias)
        y, y_stride = self._image(np.full(p.dy.shape, np.nan, np.float32), apart)
        if not self.defines["SPLIT"]:
            args = (x, x_stride, weight, bias, y, y_stride, *p.shape(), np.int32(rows), np.int32(k))
            self._launch("convolution_forward", (rows, o, 1), (*args, *self._finish()))
        else:
            share = self._share(k, shares)
            parts = self.device.buffer(shares * rows * o)
            args = (
                x,
                x_stride,
                weight,
                bias,
                parts,
                np.int32(o),
                *p.shape(),
                np.int32(rows),
                share,
            )
            self._launch("convolution_forward", (rows, o, shares), (*args, *self._finish()))
            sizes = map(np.int32, (shares, rows, o))
            args = (parts, *sizes, bias, y, y_stride, *self._finish())
            self._launch_flat("finish_forward", rows * o, args)
        return self._read(y, p.dy.shape, apart)

    def input_gradient(self, p: Problem, apart: int, shares: int, other: Floats) -> Array:
        """dx, N×C×H×W, of a dy that is as is: with ADD `other` is added, with an activation undone at x."""
        dy, dy_stride = self._image(p.dy, apart)
        n, c, h, w = p.x.shape
        rows, k = n * h * w, p.weight[:, 0].size
        weight = self._weight(p)
        more = (*self._image(other, 1), *self._image(p.x, apart))
        dx, dx_stride = self._image(np.full(p.x.shape, np.nan, np.float32), apart)
        if not self.defines["SPLIT"]:
            args = (
                dy,
                dy_stride,
                weight,
                dx,
                dx_stride,
                *more,
                *p.shape(),
                np.int32(rows),
                np.int32(k),
            )
            self._launch("convolution_input_gradient", (rows, c, 1), (*args, *self._finish()))
        else:
            share = self._share(k, shares)
            parts = self.device.buffer(shares * rows * c)
            args = (
                dy,
                dy_stride,
                weight,
                parts,
                np.int32(c),
                *more,
                *p.shape(),
                np.int32(rows),
                share,
            )
            self._launch("convolution_input_gradient", (rows, c, shares), (*args, *self._finish()))
            sizes = map(np.int32, (shares, rows, c))
            args = (parts, *sizes, dx, dx_stride, *more, *self._finish())
            self._launch_flat("finish_input_gradient", rows * c, args)
        return self._read(dx, p.x.shape, apart)

    def weight_gradient(self, p: Problem, apart: int, shares: int) -> tuple[Array, Array]:
        """Gradients of the weight, O×I×kH×kW, and of the bias, from `shares` parts of the sum."""
        x, x_stride = self._image(p.x, apart)
        dy, dy_stride = self._image(p.dy, apart)
        n, o, oh, ow = p.dy.shape
        taps, pixels = p.weight[0].size, n * oh * ow
        size = taps * o + (o if self.defines["BIAS"] else 0)
        apart_parts = -(-size // 4) * 4
        share = self._share(pixels, shares)
        parts = self.device.buffer(shares * apart_parts)
        args = (x, x_stride, dy, dy_stride, parts, np.int32(apart_parts))
        args = (*args, *p.shape(), np.int32(pixels), share)
        self._launch("convolution_weight_gradient", (taps, o, shares), args)
        total = self.device.to_host(parts).reshape(shares, -1)[:, :size].astype(np.float64).sum(0)
        shape = (*p.geometry.kernel, p.x.shape[1], o)
        return total[: taps * o].reshape(shape).transpose(3, 2, 0, 1), total[taps * o :]

    def _share(self, k: int, shares: int) -> np.int32:
        step = self.tile.depth
        return np.int32(math.ceil(math.ceil(k / step) / shares) * step)

    def _weight(self, p: Problem) -> Any:
        return self.device.from_host(np.ascontiguousarray(p.weight.transpose(2, 3, 1, 0)))

    def _image(self, image: Floats, apart: int) -> tuple[Any, np.int32]:
        """The pixels' channels, `apart` more numbers behind those of each, which are not to be touched."""
        last = np.moveaxis(image, 1, -1)
        wide = np.full((*last.shape[:3], last.shape[3] + apart), np.nan, np.float32)
        wide[..., : last.shape[3]] = last
        flat = self.device.from_host(wide)
        return flat, np.int32(wide.shape[3])

    def _read(self, flat: Any, shape: tuple[int, ...], apart: int) -> Array:
        n, c, h, w = shape
        wide = self.device.to_host(flat).reshape(n, h, w, c + apart)
        assert np.isnan(wide[..., c:]).all(), "somebody else's channels were written"
        return np.moveaxis(wide[..., :c], -1, 1).astype(np.float64)

    def _finish(self) -> tuple[Any, ...]:
        return (self.nothing, SLOPE, np.float32(1), np.uint32(0), np.uint32(0))

    def _launch(self, name: str, size: tuple[int, int, int], args: tuple[Any, ...]) -> None:
        grid = (-(-size[0] // self.tile.rows), -(-size[1] // self.tile.columns), size[2])
        self.device.bind(self._kernel(name), grid, (self.tile.threads, 1, 1), args)()

    def _kernel(self, name: str) -> Any:
        source = name.removeprefix("convolution_")
        return self.device.kernel((*PRODUCT, source), self.defines, name)

    def _launch_flat(self, name: str, size: int, args: tuple[Any, ...]) -> None:
        kernel = self.device.kernel(SHARES, self.flat_defines, name)
        grid = (-(-size // _FLAT_THREADS), 1, 1)
        self.device.bind(kernel, grid, (_FLAT_THREADS, 1, 1), args)()
