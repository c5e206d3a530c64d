"""Inference in integers on the CPU, by oneDNN's int8 convolutions and products, which PyTorch has as operators.

They take unsigned activations, so that an int8 q is kept as the uint8 q + 128, with 128 for the zero point: the
numbers are the same. Whatever is no product is a few elementwise operations in float32, rounded half to even.

On processors without VNNI oneDNN adds pairs of products in int16, which saturates where weights and activations are
large; the fact ``int8_sums`` says what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from dlbench.contract import SessionBase
from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec import quantization
from dlbench.spec.quantization import Step
from dlbench.spec.workload import Weights, Workload

_ZERO, _MOST = 128, 255
_Function = Callable[[torch.Tensor], torch.Tensor]
_onednn: Any = torch.ops.onednn


class IntegerSession(SessionBase):
    """A calibrated network. Inputs come as float32; quantising them is part of `infer`."""

    def __init__(
        self, workload: Workload, weights: Weights, batch: int, facts: Mapping[str, str | int]
    ) -> None:
        self._steps = quantization.program(workload)
        self._batch = batch
        self.facts = {**facts, "int8_sums": _observed_sums()}
        self.load(weights)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> torch.Tensor:
        """The inputs alone, images with their channels innermost."""
        images = torch.tensor(np.ascontiguousarray(inputs))
        return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images

    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """The last integers times their scale."""
        first, last = self._steps[0].input_scale, self._steps[-1].output_scale
        with torch.inference_mode():
            whole = self._network(_quantised(batch / first))
            return (whole.to(torch.float32) - _ZERO) * last

    def download(self, result: torch.Tensor) -> npt.NDArray[np.float32]:
        """A copy of the result."""
        return np.array(result.numpy(), np.float32, order="C")

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Folds, quantises and packs other weights; the scales of activations stay."""
        self._network = _chain(self._steps, weights, self._batch)


def _chain(steps: Sequence[Step], weights: Weights, batch: int) -> _Function:
    functions: list[_Function] = []
    for place, step in enumerate(steps):
        kinds = [type(each.node.layer) for each in steps[place : place + 2]]
        match step.node.layer:
            case spec.Conv2d() as layer:
                functions.append(_conv2d(step, layer, weights, batch, _relu_name(kinds)))
            case spec.Linear():
                functions.append(_linear(step, weights, batch, _relu_name(kinds)))
            case spec.Relu():
                if not place or not isinstance(
                    steps[place - 1].node.layer, spec.Conv2d | spec.Linear
                ):
                    functions.append(lambda x: x.clamp_min(_ZERO))
            case spec.Dropout():
                pass
            case spec.Flatten():
                functions.append(lambda x: x.flatten(1))
            case _:
                functions.append(_other(step, weights, batch))

    def run(x: torch.Tensor) -> torch.Tensor:
        for function in functions:
            x = function(x)
        return x

    return run


def _relu_name(kinds: Sequence[type[spec.Layer]]) -> str:
    """What oneDNN is to do with a product before it rounds it, by the layers from it on."""
    return "relu" if kinds[1:] == [spec.Relu] else "none"


def _conv2d(step: Step, layer: spec.Conv2d, weights: Weights, batch: int, after: str) -> _Function:
    found = quantization.product(step, weights)
    scales, zeros, bias = _channels(found)
    channels, height, width = step.node.input_shape
    (top, bottom), (left, right) = layer.edges
    padding, stride = layer.even_padding, layer.stride
    if padding and (padding[0] >= layer.span[0] or padding[1] >= layer.span[1]):
        # oneDNN 3.12 leaves the zero point out of windows that lie in the padding altogether
        padding = None
    if step.node.output_shape[2] == 1 and stride[1] > 1:
        # one output a row, from which oneDNN 3.12 goes on by the stride: wrong in all images but the first
        padding, right, stride = None, layer.span[1] - width - left, (stride[0], 1)
    around = (left, right, top, bottom) if padding is None else None
    options = list(stride), list(padding or (0, 0)), list(layer.dilation), 1
    if around:
        height, width = height + top + bottom, width + left + right
    shape = [batch, channels, height, width]
    packed = _onednn.qconv_prepack(
        torch.from_numpy(found.weight), scales, 1.0, _ZERO, *options, shape
    )
    convolve = _onednn.qconv2d_pointwise

    def run(x: torch.Tensor) -> torch.Tensor:
        if around:
            x = F.pad(x, around, value=_ZERO)
        y: torch.Tensor = convolve(
            *(x, 1.0, _ZERO, packed, scales, zeros, bias, *options, 1.0, _ZERO),
            *(torch.uint8, after, [], ""),
        )
        return y

    return run


def _linear(step: Step, weights: Weights, batch: int, after: str) -> _Function:
    found = quantization.product(step, weights)
    scales, zeros, bias = _channels(found)
    shape = [batch, *step.node.input_shape]
    packed = _onednn.qlinear_prepack(torch.from_numpy(found.weight), shape)
    multiply = _onednn.qlinear_pointwise

    def run(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = multiply(
            *(x, 1.0, _ZERO, packed, scales, zeros, bias, 1.0, _ZERO),
            *(torch.uint8, after, [], ""),
        )
        return y

    return run


def _channels(
    found: quantization.Product,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Multipliers, zero points and biases, which oneDNN takes in the output's scale."""
    multiplier = found.multiplier.astype(np.float32)
    bias = found.bias * multiplier.astype(np.float64)
    return (
        torch.from_numpy(multiplier),
        torch.zeros(len(multiplier), dtype=torch.int32),
        torch.from_numpy(bias.astype(np.float32)),
    )


def _other(step: Step, weights: Weights, batch: int) -> _Function:
    """A layer that is no product."""
    match step.node.layer:
        case spec.BatchNorm():
            numbers = quantization.affine(step, weights)
            axes = [1] * (len(step.node.input_shape) - 1)
            multiplier, offset = (
                torch.from_numpy(each.astype(np.float32)).reshape(-1, *axes)
                for each in (numbers.multiplier, numbers.offset)
            )
            return lambda x: _quantised(_centred(x) * multiplier + offset)
        case spec.MaxPool() as layer:
            return _max_pool(step, layer)
        case spec.AvgPool() as layer:
            return _mean(step, layer)
        case spec.GlobalAvgPool():
            factor = step.input_scale / step.output_scale
            return lambda x: _quantised(_centred(x).mean((2, 3)) * factor)
        case spec.OptionA() as layer:
            (down, across), more = layer.stride, (0, 0, 0, 0, 0, layer.extra_channels)
            return lambda x: F.pad(x[:, :, ::down, ::across], more, value=_ZERO)
        case spec.Residual() | spec.Concat():
            bodies = [_chain(body, weights, batch) for body in step.bodies]
            scaled = list(zip(bodies, step.multipliers, strict=True))
            if isinstance(step.node.layer, spec.Concat):
                return lambda x: torch.cat([_quantised(_centred(f(x)) * m) for f, m in scaled], 1)
            (body, m), (shortcut, n) = scaled
            return lambda x: _quantised(_centred(body(x)) * m + _centred(shortcut(x)) * n)
    raise PlanRefused(f"torch has no {spec.WORDS[type(step.node.layer)]} in int8")


def _max_pool(step: Step, layer: spec.MaxPool) -> _Function:
    """The maximum over rows, then over columns: PyTorch's own pool takes no large images of uint8."""
    around, outputs = _around(step.node.window_edges), step.node.output_shape[1:]

    def run(x: torch.Tensor) -> torch.Tensor:
        if any(around):
            # the least integer never wins
            x = F.pad(x, around, value=0)
        for axis, (kernel, step_, count) in enumerate(
            zip(layer.kernel, layer.step, outputs, strict=True), 2
        ):
            last = (count - 1) * step_ + 1
            whole = x
            x = _every(whole, axis, 0, last, step_)
            for place in range(1, kernel):
                x = torch.maximum(x, _every(whole, axis, place, last, step_))
        return x

    return run


def _every(x: torch.Tensor, axis: int, begin: int, length: int, step: int) -> torch.Tensor:
    """Every so many-th row or column."""
    places = slice(begin, begin + length, step)
    return x[:, :, places] if axis == 2 else x[:, :, :, places]


def _mean(step: Step, layer: spec.AvgPool) -> _Function:
    """Sums of windows, which float32 has exactly, times what they are to be divided by."""
    rows, columns = (np.array(each, np.float64) for each in step.node.divisors)
    shares = step.input_scale / step.output_scale / np.outer(rows, columns)
    share, around = torch.from_numpy(shares.astype(np.float32)), _around(step.node.window_edges)

    def run(x: torch.Tensor) -> torch.Tensor:
        sums = F.avg_pool2d(
            F.pad(_centred(x), around), layer.kernel, layer.step, divisor_override=1
        )
        return _quantised(sums * share)

    return run


def _quantised(values: torch.Tensor) -> torch.Tensor:
    """Integers nearest to values, half to even, saturated."""
    return (values.round_() + _ZERO).clamp_(0, _MOST).to(torch.uint8)


def _centred(x: torch.Tensor) -> torch.Tensor:
    """Integers as float32."""
    return x.to(torch.float32) - _ZERO


def _around(edges: spec.Edges) -> tuple[int, int, int, int]:
    """((top, bottom), (left, right)) as PyTorch takes them."""
    rows, columns = edges
    return *columns, *rows


def _observed_sums() -> str:
    """Whether sums of large products are exact here, ``exact``, or were seen to be others, ``saturating``."""
    terms = 64
    weight = torch.full((terms, terms), 127, dtype=torch.int8)
    packed = _onednn.qlinear_prepack(weight, [terms, terms])
    x = torch.full((terms, terms), _MOST, dtype=torch.uint8)
    ones, zeros = torch.ones(terms), torch.zeros(terms, dtype=torch.int32)
    y = _onednn.qlinear_pointwise(
        *(x, 1.0, 0, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    )
    return "exact" if bool((y == terms * 127 * _MOST).all()) else "saturating"
