"""Short precisions in PyTorch: every cast is written out here, in the layers themselves.

Autocast is not used: its lists of operations differ between CPU and CUDA, and weights that it has cast would outlive a
change of the masters inside one region. Parameters are float32 (the masters); a layer with a product rounds them, its
input and so the gradient that comes back, and leaves its output short. PyTorch computes everything between two stored
values in float32, but for what its CPU kernels do, and that is made up for:

- gradients of pools whose windows overlap are summed in the short format, and so is the scale of a dropout rounded:
  these layers are computed in float32;
- batch norm sums a gradient in the short format that lies in memory in another order than its input: it is given it in
  the same order;
- without AVX-512, gradients of convolutions are summed in the short format: where that is seen, products are computed
  in float32 from rounded factors;
- some convolutions of narrow images are wrong, and some in float32 write past their gradients: they are laid out
  otherwise (`placing`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dlbench.spec import layers as spec
from dlbench.spec.network import Node
from dlbench.spec.precision import Policy

from ..shared.framework import TERMS, is_misread, overlaps
from ..shared.framework import factors_seen as seen

_VECTOR = 16
"""Channels that the widest vector has; with AVX2's of 8 the kernel for single places was seen to be wrong below 8."""
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SHAPES = (4, 5, 8, 9, 9)
"""Of the convolution that is tried: samples, channels in and out, rows and columns."""
_FEATURES = (96, 160, 32)
"""Of the product that is tried: rows, what is summed, columns."""


@dataclasses.dataclass(frozen=True)
class Short:
    """How a device computes in a short format.

    Attributes
    ----------
    dtype : of activations, and of factors.
    wide_products : whether products are computed in float32 from rounded factors.
    on_cpu : whether what CPU kernels do is made up for: overlapping windows and the scale of a dropout are computed in
        float32, and batch norm is given its gradient in the order of its input.
    """

    dtype: torch.dtype
    wide_products: bool
    on_cpu: bool

    def around(self, layer: spec.Layer, module: nn.Module) -> nn.Module:
        """The module of a layer, or what makes up for its kernels with the module inside."""
        if self._widens(layer):
            return Widened(module)
        if self.on_cpu and isinstance(layer, spec.BatchNorm):
            return InOrder(module)
        return module

    def _widens(self, layer: spec.Layer) -> bool:
        """Whether a layer without factors is computed in float32."""
        if not self.on_cpu:
            return False
        if isinstance(layer, spec.MaxPool | spec.AvgPool):
            return overlaps(layer)
        if isinstance(
            layer, spec.AdaptiveAvgPool | spec.GroupNorm | spec.LayerNorm | spec.LocalResponseNorm
        ):
            return True
        if isinstance(layer, spec.Dropout) and layer.rate < 1:
            scale = 1 / (1 - layer.rate)
            return float(torch.tensor(scale).to(self.dtype)) != scale
        return False


def short_of(policy: Policy, device: torch.device) -> Short | None:
    """How `device` computes by `policy`; None for a policy that stores float32."""
    if not policy.is_mixed:
        return None
    dtype = _TYPES[policy.stored.name]
    return Short(dtype, not sums_are_float32(device, dtype), device.type == "cpu")


@functools.cache
def sums_are_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products and convolutions of short factors, and their gradients, are one rounding away from exact.

    Of positive terms, so that every further rounding of a sum shows. Cached: a device does not change.
    """
    roundoff = torch.finfo(dtype).eps / 2
    return all(error <= 1.1 * roundoff for error in _errors(device, dtype))


def _errors(device: torch.device, dtype: torch.dtype) -> Iterator[float]:
    """The largest relative errors of results and gradients, of a convolution and of a product."""
    samples, inside, outside, rows, columns = _SHAPES
    n, terms, m = _FEATURES
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator).to(dtype)

    for apply, factors in (
        (
            F.conv2d,
            [drawn(samples, inside, rows, columns), drawn(outside, inside, 3, 3), drawn(outside)],
        ),
        (F.linear, [drawn(n, terms), drawn(m, terms), drawn(m)]),
    ):
        found, exact = (
            _with_gradients(apply, [t.detach().to(where, kind) for t in factors])
            for where, kind in ((device, dtype), (torch.device("cpu"), torch.float64))
        )
        for one, other in zip(found, exact, strict=True):
            yield float(((one.cpu().double() - other) / other).abs().max())


def _with_gradients(apply: Any, factors: list[torch.Tensor]) -> list[torch.Tensor]:
    for factor in factors:
        factor.requires_grad_()
    result = apply(*factors)
    return [result.detach(), *torch.autograd.grad(result, factors, torch.ones_like(result))]


class Widened(nn.Sequential):
    """Layers without factors that take and leave short values and compute in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide: torch.Tensor = super().forward(x.float())  # type: ignore[no-untyped-call]
        return wide.to(x.dtype)


class _BackInOrder(torch.autograd.Function):
    """The identity, whose gradient comes back with given strides."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
        """`y`."""
        ctx.strides = strides
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient, copied where its strides differ."""
        (dy,) = gradients
        if dy.stride() != ctx.strides:
            dy = dy.new_empty_strided(dy.shape, ctx.strides).copy_(dy)
        return dy, None


class InOrder(nn.Sequential):
    """Layers whose output has its gradient handed back in their input's order in memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # neither a part of an array, nor one value at many places
        x = x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()
        y: torch.Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        if not y.requires_grad:
            return y
        in_order: torch.Tensor = _BackInOrder.apply(y, x.stride())  # type: ignore[no-untyped-call]
        return in_order


class _Rounding(nn.Module):
    """A layer whose factors are rounded.

    In inference the rounded weights are kept: they are made anew when the layer is put into inference, in the same
    memory.
    """

    short: Short
    wide = False
    """Whether it is computed in float32 from rounded factors whatever `short` says."""
    weight: Any
    bias: Any
    short_weight: Any
    short_bias: Any

    def round_by(self, short: Short) -> None:
        """To be called once, when the layer is made."""
        self.short = short
        for name in ("weight", "bias"):
            own = getattr(self, name)
            kept = None if own is None else torch.empty_like(own, dtype=short.dtype)
            self.register_buffer(f"short_{name}", kept, persistent=False)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if not mode:
            with torch.no_grad():
                for name in ("weight", "bias"):
                    kept = getattr(self, f"short_{name}")
                    if kept is not None:
                        kept.copy_(getattr(self, name))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = self.short.dtype
        if self.training:
            weight = self.weight.to(dtype)
            bias = None if self.bias is None else self.bias.to(dtype)
        else:
            weight, bias = self.short_weight, self.short_bias
        x = x.to(dtype)
        if not (self.short.wide_products or self.wide):
            return self.product(x, weight, bias)
        wide_bias = None if bias is None else bias.float()
        return self.product(x.float(), weight.float(), wide_bias).to(dtype)

    def product(self, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        """In the format of its factors."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Placing:
    """Where the windows of a convolution lie: `around` is what is put around its input first, as `pad` takes it, or
    taken away where it is negative; `padding` and `stride` are what the module itself has then."""

    around: tuple[int, int, int, int] | None
    padding: tuple[int, int]
    stride: tuple[int, int]


def placing(node: Node, layer: spec.Conv2d, short: Short | None) -> Placing:
    """As the layer says it, but for what a CPU would compute wrong from short factors: there the windows lie in an
    input that is padded already, or is the one window of each row; and where it would write past gradients, the input
    is without its last column or row, which no window reads."""
    if overruns(node, layer):
        moves_on = layer.stride[1] > 1
        return Placing((0, -1, 0, 0) if moves_on else (0, 0, 0, -1), (0, 0), layer.stride)
    (top, bottom), (left, right) = layer.edges
    misread = short is not None and short.on_cpu and is_misread(node, layer)
    if misread and node.output_shape[2] == 1:
        around = (left, layer.span[1] - left - node.input_shape[2], top, bottom)
        return Placing(around, (0, 0), (layer.stride[0], 1))
    if misread or layer.even_padding is None:
        return Placing((left, right, top, bottom), (0, 0), layer.stride)
    return Placing(None, layer.even_padding, layer.stride)


def overruns(node: Node, layer: spec.Conv2d) -> bool:
    """Whether oneDNN writes past the gradient of a convolution's weights, in float32 with channels innermost: single
    places of fewer channels than a vector has, of which as many are passed over at the end as between others."""
    channels, *sizes = node.input_shape
    single = layer.kernel == (1, 1) and layer.stride != (1, 1) and not any(map(any, layer.edges))
    ends_passed_over = not any(size % step for size, step in zip(sizes, layer.stride, strict=True))
    return single and ends_passed_over and layer.groups == 1 and channels < _VECTOR


class Conv2d(_Rounding, nn.Conv2d):
    """A convolution of short factors; `around` is what is put around its input first, as `pad` takes it."""

    around: tuple[int, int, int, int] | None = None

    def product(self, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        """N×O×H×W."""
        padded = x if self.around is None else F.pad(x, self.around)
        found: torch.Tensor = self._conv_forward(padded, weight, bias)
        return found


class ConvTranspose2d(_Rounding, nn.ConvTranspose2d):
    """The transpose of a convolution, of short factors."""

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        return _Rounding.forward(self, x)

    def product(self, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        """N×O×H×W."""
        padding: Any = self.padding
        return F.conv_transpose2d(x, weight, bias, self.stride, padding, self.output_padding)


class Linear(_Rounding, nn.Linear):
    """A linear layer of short factors."""

    def product(self, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        """N×O."""
        return F.linear(x, weight, bias)


def factors_seen(policy: Policy, device: torch.device) -> str:
    """The format of the factors in this process' convolutions and products by `policy`, as seen; both where they
    differ."""
    short = short_of(policy, device)
    conv = Conv2d(TERMS, 64, 1, bias=False) if short else nn.Conv2d(TERMS, 64, 1, bias=False)
    linear = Linear(TERMS, 64, bias=False) if short else nn.Linear(TERMS, 64, bias=False)
    found = []
    for layer, shape in ((conv, (8, TERMS, 8, 8)), (linear, (64, TERMS))):
        if isinstance(layer, _Rounding) and short:
            layer.round_by(short)
        torch.nn.init.ones_(layer.weight)
        layer.to(device).eval()

        def difference(value: float, layer: nn.Module = layer, shape: Any = shape) -> float:
            x = torch.full(shape, -1.0, device=device)
            x[:, ::2] = value
            with torch.inference_mode():
                return float(layer(x).abs().max())

        found.append(seen(difference))
    return " and ".join(sorted(set(found)))
