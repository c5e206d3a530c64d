"""What a suite that is built in code is made of: layers, optimizers and schedules, a function for each word of a file.

Each gives the table that a file would have; `dlbench.Suite.build` reads and checks it. What a word means exactly, with
its source, stands in docs/semantics.md. A size that is one number stands for height and width alike; the input size of
a layer is always inferred. `name` is what a layer is called, its kind and a number by default; one that is told to
`freeze` keeps its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = dict[str, Any]
Layers = Sequence[Mapping[str, Any]]
Size = int | tuple[int, int]
"""Height and width."""
Padding = Size | tuple[tuple[int, int], tuple[int, int]]
"""Of height and width; or of each side, ((top, bottom), (left, right))."""


def conv2d(
    out_channels: int,
    kernel: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = True,
    freeze: bool = False,
    name: str = "",
) -> Part:
    """Cross-correlation with zero padding: C×H×W → out_channels×H'×W'. With as many `groups` as channels come in it is
    depthwise."""
    sizes = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return _part(
        "conv2d", name, out_channels=out_channels, **sizes, groups=groups, bias=bias, freeze=freeze
    )


def conv_transpose2d(
    out_channels: int,
    kernel: Size,
    *,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    bias: bool = True,
    freeze: bool = False,
    name: str = "",
) -> Part:
    """The transpose of a convolution: C×H×W → out_channels×H'×W', larger where there is a stride."""
    sizes = {"kernel": kernel, "stride": stride, "padding": padding}
    return _part(
        "conv_transpose2d",
        name,
        out_channels=out_channels,
        **sizes,
        output_padding=output_padding,
        bias=bias,
        freeze=freeze,
    )


def linear(out_features: int, *, bias: bool = True, freeze: bool = False, name: str = "") -> Part:
    """x·Wᵀ + b: features → out_features."""
    return _part("linear", name, out_features=out_features, bias=bias, freeze=freeze)


def batch_norm(
    *, eps: float = 1e-5, momentum: float = 0.1, freeze: bool = False, name: str = ""
) -> Part:
    """Batch normalisation of channels, or of features; `momentum` is the share of the new batch (Keras' 0.9 is 0.1)."""
    return _part("batch_norm", name, eps=eps, momentum=momentum, freeze=freeze)


def group_norm(groups: int, *, eps: float = 1e-5, freeze: bool = False, name: str = "") -> Part:
    """Normalisation of each sample over the channels of a group and their pixels."""
    return _part("group_norm", name, groups=groups, eps=eps, freeze=freeze)


def layer_norm(*, eps: float = 1e-5, freeze: bool = False, name: str = "") -> Part:
    """Normalisation of each sample over its features, or over the channels at each pixel."""
    return _part("layer_norm", name, eps=eps, freeze=freeze)


def local_response_norm(
    size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, name: str = ""
) -> Part:
    """x / (k + alpha / size · Σ x²)^beta over `size` neighbouring channels."""
    return _part("local_response_norm", name, size=size, alpha=alpha, beta=beta, k=k)


def relu(*, name: str = "") -> Part:
    """max(x, 0)."""
    return _part("relu", name)


def leaky_relu(slope: float = 0.01, *, name: str = "") -> Part:
    """x where x > 0, slope·x elsewhere."""
    return _part("leaky_relu", name, slope=slope)


def sigmoid(*, name: str = "") -> Part:
    """1 / (1 + e⁻ˣ)."""
    return _part("sigmoid", name)


def tanh(*, name: str = "") -> Part:
    """The hyperbolic tangent."""
    return _part("tanh", name)


def relu6(*, name: str = "") -> Part:
    """min(max(x, 0), 6)."""
    return _part("relu6", name)


def silu(*, name: str = "") -> Part:
    """x / (1 + e⁻ˣ)."""
    return _part("silu", name)


def hard_sigmoid(*, name: str = "") -> Part:
    """min(max(x + 3, 0), 6) / 6."""
    return _part("hard_sigmoid", name)


def hard_swish(*, name: str = "") -> Part:
    """x · min(max(x + 3, 0), 6) / 6."""
    return _part("hard_swish", name)


def gelu(*, approximate: str = "none", name: str = "") -> Part:
    """x times the normal distribution function of x, or with ``tanh`` its usual approximation."""
    return _part("gelu", name, approximate=approximate)


def max_pool(
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    name: str = "",
) -> Part:
    """The maximum over windows; without `stride` these lie side by side."""
    return _part(
        "max_pool", name, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode
    )


def avg_pool(
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    name: str = "",
) -> Part:
    """The mean over windows, of what lies inside the input unless padding is to be counted."""
    sizes = {"kernel": kernel, "stride": stride, "padding": padding}
    counted = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _part("avg_pool", name, **sizes, **counted)


def global_avg_pool(*, name: str = "") -> Part:
    """The mean over height and width: C×H×W → C features."""
    return _part("global_avg_pool", name)


def adaptive_avg_pool(output: Size, *, name: str = "") -> Part:
    """The mean over as many windows as `output` says: C×H×W → C×output."""
    return _part("adaptive_avg_pool", name, output=output)


def dropout(rate: float, *, name: str = "") -> Part:
    """Inverted dropout: each element is 0 with probability `rate` in training; the identity in inference."""
    return _part("dropout", name, rate=rate)


def flatten(*, name: str = "") -> Part:
    """C×H×W → C·H·W features."""
    return _part("flatten", name)


def residual(body: Layers, *, shortcut: Layers | str | None = None, name: str = "") -> Part:
    """body(x) + shortcut(x); by default the shortcut is x, and ``option_a`` or ``projection`` name the usual ones."""
    return _part("residual", name, body=body, shortcut=shortcut)


def option_a(*, stride: Size = 1, extra_channels: int = 0, name: str = "") -> Part:
    """A shortcut without parameters: every `stride`-th row and column, and channels of zeros behind."""
    return _part("option_a", name, stride=stride, extra_channels=extra_channels)


def concat(*bodies: Layers, name: str = "") -> Part:
    """The channels of body(x) for each of the bodies, in their order; an empty one is x itself. One alone is put behind
    x."""
    if len(bodies) == 1:
        return _part("concat", name, body=bodies[0])
    return _part("concat", name, bodies=bodies)


def scale(body: Layers, *, name: str = "") -> Part:
    """x · body(x), channel by channel; the body ends in C features or C×1×1."""
    return _part("scale", name, body=body)


def sgd(
    learning_rate: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """Stochastic gradient descent, with momentum or without; weight decay is coupled."""
    own = {"momentum": momentum, "nesterov": nesterov}
    return _optimizer("sgd", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, **own)


def adam(
    learning_rate: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """Adam; eps is added after the root of the corrected moment, weight decay is coupled."""
    own = {"beta1": beta1, "beta2": beta2, "eps": eps}
    return _optimizer("adam", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, **own)


def adamw(
    learning_rate: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """Adam with weight decay beside it."""
    own = {"beta1": beta1, "beta2": beta2, "eps": eps}
    return _optimizer(
        "adamw", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, **own
    )


def adagrad(
    learning_rate: float,
    *,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """Adagrad, whose accumulator starts at 0."""
    return _optimizer(
        "adagrad", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, eps=eps
    )


def rmsprop(
    learning_rate: float,
    *,
    rho: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """RMSprop, eps outside the root; `rho` is PyTorch's alpha."""
    own = {"rho": rho, "eps": eps, "momentum": momentum}
    return _optimizer(
        "rmsprop", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, **own
    )


def adadelta(
    learning_rate: float,
    *,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decay_biases_and_norms: bool = True,
    clip_norm: float | None = None,
) -> Part:
    """Adadelta, eps inside both roots."""
    own = {"rho": rho, "eps": eps}
    return _optimizer(
        "adadelta", learning_rate, weight_decay, decay_biases_and_norms, clip_norm, **own
    )


def constant() -> Part:
    """The learning rate stays as it is."""
    return _part("constant")


def step(every: int, *, gamma: float = 0.1) -> Part:
    """The learning rate is multiplied by `gamma` every so many epochs."""
    return _part("step", every=every, gamma=gamma)


def cosine(epochs: int) -> Part:
    """Half a cosine down to 0 over so many epochs."""
    return _part("cosine", epochs=epochs)


def data(
    name: str,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    padding: int = 0,
    augment: bool = False,
) -> Part:
    """Which data feeds the network: ``mnist``, ``fashion-mnist``, ``kmnist``, ``cifar10``, ``cifar100``, ``images`` of
    one's own, ``digits``, ``linear``, ``noise`` or a stand-in, and how images become inputs: zero-padded by `padding`
    pixels on each side, divided by 255, normalised per channel."""
    return {
        "name": name,
        "mean": list(mean),
        "std": list(std),
        "padding": padding,
        "augment": augment,
    }


def _part(type: str, name: str = "", **options: Any) -> Part:
    given = {key: value for key, value in options.items() if value is not None}
    return {"type": type, **given, **({"name": name} if name else {})}


def _optimizer(
    type: str,
    learning_rate: float,
    weight_decay: float,
    decays_all: bool,
    clip_norm: float | None,
    **own: Any,
) -> Part:
    shared = {
        "weight_decay": weight_decay,
        "decay_biases_and_norms": decays_all,
        "clip_norm": clip_norm,
    }
    return _part(type, "", learning_rate=learning_rate, **own, **shared)
