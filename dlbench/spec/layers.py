"""The layers a network can be made of, each with the one meaning that every backend must give it.

Frameworks disagree on several of these meanings; each docstring pins the one that dlbench uses and
says where it comes from. Shapes are per sample: channels × height × width, or features. Sizes
written as one number stand for height and width alike.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from dlbench.spec.decode import Padding, Pair, at_least, fraction, later, positive

Edges = tuple[Pair, Pair]
"""Of something around an image: ((top, bottom), (left, right))."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freezable:
    """What layers with parameters share: with `freeze`, training leaves their parameters as they are.

    They have no gradient: neither decay nor moments move them, and a norm that gradients are clipped by does not count
    them. A `BatchNorm` normalises by its running statistics then, and leaves them as they are. Source: Keras'
    ``layer.trainable = False`` and torchvision's ``FrozenBatchNorm2d``; with PyTorch's ``requires_grad = False`` alone
    a batch norm goes on with the statistics of each batch.
    """

    freeze: bool = later(default=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Windows:
    """What convolutions and pools share: windows of `kernel` over an image with something around it."""

    kernel: Pair = at_least(1)
    padding: Padding = at_least(0, (0, 0))

    @property
    def edges(self) -> Edges:
        """The padding of each side."""
        rows, columns = (
            sides if isinstance(sides, tuple) else (sides, sides) for sides in self.padding
        )
        return rows, columns

    @property
    def even_padding(self) -> Pair | None:
        """The padding (height, width) of both sides alike, which is what most frameworks take; None where the sides
        differ."""
        (top, bottom), (left, right) = self.edges
        return (top, left) if (top, left) == (bottom, right) else None

    @property
    def before(self) -> Pair:
        """The padding above and on the left, where the first window begins."""
        (top, _), (left, _) = self.edges
        return top, left

    @property
    def step(self) -> Pair:
        """The stride in force."""
        raise NotImplementedError

    @property
    def span(self) -> Pair:
        """Rows and columns from a window's first element to its last."""
        return self.kernel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv2d(_Windows, Freezable):
    """Two-dimensional cross-correlation (the kernel is not flipped) with zero padding.

    C×H×W → out_channels×H'×W' with H' = ⌊(H + top + bottom − dilation·(kernel − 1) − 1) / stride⌋ + 1.
    Weight O×I×kH×kW, bias O. Source: `torch.nn.Conv2d`, and `torch.nn.ZeroPad2d` before it where two sides
    differ; `tf.nn.conv2d` is the same with explicit padding (its ``SAME`` is one-sided for odd sums).

    With `groups`, the channels that come in and those that go out are cut into so many parts, in their order, and
    each part of the output reads the part of the input of the same number: the weight is O×(I/groups)×kH×kW. As many
    groups as channels come in are a depthwise convolution, whose output channels c·m to c·m + m − 1 read channel c.
    """

    out_channels: int = at_least(1)
    stride: Pair = at_least(1, (1, 1))
    dilation: Pair = at_least(1, (1, 1))
    groups: int = later(1, minimum=1)
    bias: bool = True

    @property
    def step(self) -> Pair:
        """The stride."""
        return self.stride

    @property
    def span(self) -> Pair:
        """Rows and columns of a window, with those that dilation leaves out."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvTranspose2d(Freezable):
    """What `Conv2d` with this kernel, stride and padding does to gradients, as a layer of its own.

    C×H×W → out_channels×H'×W' with H' = (H − 1)·stride − 2·padding + kernel + output_padding: each pixel adds its
    value times the kernel to as many places, the next one's a stride further. Rows and columns of `output_padding`,
    less than the stride, are added below and on the right. Weight I×O×kH×kW, bias O. Source:
    `torch.nn.ConvTranspose2d` with dilation and groups 1.
    """

    out_channels: int = at_least(1)
    kernel: Pair = at_least(1)
    stride: Pair = at_least(1, (1, 1))
    padding: Pair = at_least(0, (0, 0))
    output_padding: Pair = at_least(0, (0, 0))
    bias: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNorm(Freezable):
    """Batch normalisation over batch, height and width, or of features over the batch (Ioffe and Szegedy 2015,
    algorithm 1).

    Training: (x − mean) / √(var + eps) · scale + shift with the biased variance (÷ m); running ←
    (1 − momentum)·running + momentum·batch, where the variance that enters is the unbiased one
    (÷ (m − 1)). Inference uses the running estimates. One value per channel or feature cannot be trained on.
    Source: `torch.nn.BatchNorm2d` and `BatchNorm1d`; Keras' momentum 0.9 is this momentum 0.1.
    """

    eps: float = positive(1e-5)
    momentum: float = positive(0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupNorm(Freezable):
    """Normalisation of each sample over the channels of a group and their pixels (Wu and He 2018): the channels are cut
    into `groups` parts, in their order.

    (x − mean) / √(var + eps) · scale + shift with the biased variance and a scale and a shift for each channel, in
    training and in inference. Source: `torch.nn.GroupNorm`. One group is a layer norm over the whole sample.
    """

    groups: int = at_least(1)
    eps: float = positive(1e-5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNorm(Freezable):
    """Normalisation of each sample over its features, or over the channels at each pixel of an image (Ba et al. 2016;
    for images as in ConvNeXt, Liu et al. 2022).

    As `GroupNorm`, with a scale and a shift for each feature or channel. Source: `torch.nn.LayerNorm` of the last axis,
    which the channels are brought to.
    """

    eps: float = positive(1e-5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalResponseNorm:
    """x / (k + alpha / size · Σ x²)^beta with the sum over `size` neighbouring channels, those that there are, around
    each one (Krizhevsky et al. 2012, section 3.3, without the division by `size`).

    Source: `torch.nn.LocalResponseNorm`; `tf.nn.local_response_normalization` does not divide by the size, which is 2 ·
    depth_radius + 1 there. An even size has no middle and is not offered.
    """

    size: int = at_least(1)
    alpha: float = positive(1e-4)
    beta: float = positive(0.75)
    k: float = positive(1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relu:
    """max(x, 0); the derivative at 0 is 0 (as in every framework here)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeakyRelu:
    """x where x > 0, slope·x elsewhere; the derivative at 0 is the slope. `torch.nn.LeakyReLU`."""

    slope: float = positive(0.01)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """1 / (1 + e⁻ˣ)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tanh:
    """The hyperbolic tangent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relu6:
    """min(max(x, 0), 6); the derivative at 0 and at 6 is 0. `torch.nn.ReLU6`, `tf.nn.relu6`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Silu:
    """x / (1 + e⁻ˣ) (Elfwing et al. 2017); with no factor in the exponent, Swish. `torch.nn.SiLU`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSigmoid:
    """min(max(x + 3, 0), 6) / 6; the derivative at −3 and at 3 is 0. `torch.nn.Hardsigmoid`, Keras 3; before it, Keras
    had a slope of 0.2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSwish:
    """x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section 5.2); the derivative at −3 is 0 and at 3 is 1, that of
    the straight pieces. `torch.nn.Hardswish`, which had −1/2 and 3/2 there in earlier versions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gelu:
    """x·Φ(x) with Φ(x) = (1 + erf(x/√2)) / 2 (Hendrycks and Gimpel 2016), or with `approximate` = ``tanh`` their
    x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2, which differs by up to 5e-4. `torch.nn.GELU`."""

    approximate: Literal["none", "tanh"] = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pool(_Windows):
    """Windows of pools: the stride defaults to the kernel.

    H' = ⌊(H + top + bottom − kernel) / stride⌋ + 1. With `ceil_mode` it is ⌈…⌉ + 1, but the last window must
    begin inside the input or the padding before it, else it is left out: what `torch.nn.MaxPool2d` and
    `torch.nn.AvgPool2d` do (``pooling_output_shape`` in ATen/native/Pool.h), and ONNX' `MaxPool` for sides that
    differ. What such a window reaches beyond the padding never wins and never counts.
    """

    stride: Pair | None = at_least(1, None)
    ceil_mode: bool = later(default=False)

    @property
    def step(self) -> Pair:
        """The stride in force."""
        return self.stride or self.kernel


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPool(_Pool):
    """Maximum over windows; padding never wins.

    A tie sends the whole gradient to the first maximum in row-major order in our own kernels;
    frameworks differ there. Source: `torch.nn.MaxPool2d`.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class AvgPool(_Pool):
    """Mean over the elements of each window that lie inside the input, or with `count_include_pad` over those inside
    the input and its padding.

    Source: `torch.nn.AvgPool2d` with ``count_include_pad=False`` (not its default); its divisor with `ceil_mode` is
    that of ATen/native/cpu/AvgPoolKernel.cpp, which counts nothing beyond the padding. TensorFlow's and Keras'
    pools never count padding.
    """

    count_include_pad: bool = later(default=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalAvgPool:
    """Mean over height and width: C×H×W → C features."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveAvgPool:
    """Mean over as many windows as `output` says, along height and width: C×H×W → C×output.

    Row i of k averages the rows from ⌊i·H / k⌋ to before ⌈(i + 1)·H / k⌉, and columns alike, so that windows overlap
    where k does not divide H. Source: `torch.nn.AdaptiveAvgPool2d` (``start_index`` and ``end_index`` in
    ATen/native/AdaptivePooling.h).
    """

    output: Pair = at_least(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropout:
    """Inverted dropout (Srivastava et al. 2014, section 10): each element is 0 with probability `rate`,
    else divided by 1 − rate; a fresh mask each training step, the identity in inference."""

    rate: float = fraction()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatten:
    """C×H×W → C·H·W features in that (row-major) order, whatever layout a backend keeps inside."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Freezable):
    """x·Wᵀ + b with weight out×in. `in_features` is always inferred; stated, it must agree."""

    out_features: int = at_least(1)
    in_features: int | None = at_least(1, None)
    bias: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residual:
    """body(x) + shortcut(x) (He et al. 2015, equation 1). What follows the sum is a layer of its own.

    The layers of body and shortcut are the node's (`dlbench.spec.network.Node`); no shortcut is the identity.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptionA:
    """The parameter-free shortcut of He et al. 2015, section 4.2: every `stride`-th row and column,
    and `extra_channels` channels of zeros behind the ones that are there."""

    stride: Pair = at_least(1, (1, 1))
    extra_channels: int = at_least(0, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concat:
    """The channels of body(x) for each of several bodies, in their order (Szegedy et al. 2015, figure 2); a body
    without layers is x itself.

    The bodies are the node's (`dlbench.spec.network.Node`). With one `body`, x stands before it: the dense
    connection of Huang et al. 2017, section 3.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """x · body(x), channel by channel: the body ends in one number for each channel, C features or C×1×1 (the
    excitation of Hu et al. 2018, section 3.2, with whatever layers squeeze).

    The body is the node's (`dlbench.spec.network.Node`).
    """


Layer = (
    Conv2d
    | ConvTranspose2d
    | BatchNorm
    | GroupNorm
    | LayerNorm
    | LocalResponseNorm
    | Relu
    | LeakyRelu
    | Sigmoid
    | Tanh
    | Relu6
    | Silu
    | HardSigmoid
    | HardSwish
    | Gelu
    | MaxPool
    | AvgPool
    | GlobalAvgPool
    | AdaptiveAvgPool
    | Dropout
    | Flatten
    | Linear
    | Residual
    | OptionA
    | Concat
    | Scale
)

KINDS: dict[str, type[Layer]] = {
    "conv2d": Conv2d,
    "conv_transpose2d": ConvTranspose2d,
    "batch_norm": BatchNorm,
    "group_norm": GroupNorm,
    "layer_norm": LayerNorm,
    "local_response_norm": LocalResponseNorm,
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu6": Relu6,
    "silu": Silu,
    "hard_sigmoid": HardSigmoid,
    "hard_swish": HardSwish,
    "gelu": Gelu,
    "max_pool": MaxPool,
    "avg_pool": AvgPool,
    "global_avg_pool": GlobalAvgPool,
    "adaptive_avg_pool": AdaptiveAvgPool,
    "dropout": Dropout,
    "flatten": Flatten,
    "linear": Linear,
    "residual": Residual,
    "option_a": OptionA,
    "concat": Concat,
    "scale": Scale,
}
WORDS: dict[type[Layer], str] = {kind: word for word, kind in KINDS.items()}
