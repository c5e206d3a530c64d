"""Builds the PyTorch network that a user would write by hand: plain modules in one `nn.Sequential`.

Only what PyTorch has no module for is written out here. Imported by the adapter
once a session is opened, because it needs PyTorch to define classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F

from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node, Role

from . import graphs, precision

_ATTRIBUTES: dict[Role, str] = {
    "weight": "weight",
    "bias": "bias",
    "scale": "weight",
    "shift": "bias",
    "running_mean": "running_mean",
    "running_variance": "running_var",
}
_LAYER = "dlbench_layer"
"""The attribute that says which layer of the specification a module is."""
_OPTIMIZERS: dict[type[training.Optimizer], type[torch.optim.Optimizer]] = {
    training.Sgd: torch.optim.SGD,
    training.Adam: torch.optim.Adam,
    training.AdamW: torch.optim.AdamW,
    training.Adagrad: torch.optim.Adagrad,
    training.RMSprop: torch.optim.RMSprop,
    training.Adadelta: torch.optim.Adadelta,
}


class Network(nn.Sequential):
    """The layers in order; `arrays` holds each parameter and running statistic by canonical name.

    PyTorch's own layouts are the canonical ones, so nothing is transposed anywhere. Outputs are float32, in which the
    loss is computed; between layers values are short where `short` says how.
    """

    def __init__(self, nodes: Iterable[Node], short: precision.Short | None = None) -> None:
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        super().__init__(*_modules(nodes, self._owners, short))

    @property
    def named_layers(self) -> dict[str, nn.Module]:
        """The module of each layer of the specification, by its name."""
        modules = self.modules()
        return {getattr(module, _LAYER): module for module in modules if hasattr(module, _LAYER)}

    @property
    def arrays(self) -> dict[str, torch.Tensor]:
        """By canonical name. Looked up each time, since moving a module replaces its running statistics."""
        return {name: getattr(*owner) for name, owner in self._owners.items()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return outputs.float()


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.body(x) + self.shortcut(x)
        return joined


class _Scale(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate: torch.Tensor = self.body(x)
        return x * gate.reshape(*gate.shape[:2], *[1] * (x.ndim - 2))


class _Concat(nn.Module):
    def __init__(self, bodies: Iterable[nn.Module]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([body(x) for body in self.bodies], 1)


class _PaddedConv2d(nn.Conv2d):
    """With zeros put around its input first, where they differ from side to side, or some of it taken away where
    `around` is negative."""

    around: tuple[int, int, int, int]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, self.around))


class _PaddedAvgPool(nn.Module):
    """A mean with padding that differs from side to side: of zeros around the input, over what counts."""

    share: torch.Tensor

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__()
        self.edges = node.window_edges
        # dividing by 1 leaves sums
        self.pool = nn.AvgPool2d(layer.kernel, layer.step, divisor_override=1)
        rows, columns = (torch.tensor(each, dtype=torch.float32) for each in node.divisors)
        self.register_buffer("share", 1 / torch.outer(rows, columns), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums: torch.Tensor = self.pool(F.pad(x, _around(self.edges)))
        return sums * self.share


def _around(edges: spec.Edges) -> tuple[int, int, int, int]:
    """((top, bottom), (left, right)) as PyTorch takes them."""
    rows, columns = edges
    return *columns, *rows


class _GroupNorm(nn.GroupNorm):
    """PyTorch's, whose backward pass ends the process (2.13.0, CPU) where channels come last in an input that needs no
    gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_safe = x.requires_grad or not torch.is_grad_enabled()
        return super().forward(x if is_safe else x.contiguous())


class _PixelNorm(nn.LayerNorm):
    """Over the channels at each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _FrozenNorm1d(nn.BatchNorm1d):
    """In inference always, as fine-tuning has it."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class _FrozenNorm2d(nn.BatchNorm2d):
    """The same of images."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class _OptionA(nn.Module):
    def __init__(self, layer: spec.OptionA) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, across = self.layer.stride
        return F.pad(x[:, :, ::down, ::across], (0, 0, 0, 0, 0, self.layer.extra_channels))


_Owners = dict[str, tuple[nn.Module, str]]
"""The module and the attribute that hold an array, by its canonical name."""


def _modules(
    nodes: Iterable[Node], owners: _Owners, short: precision.Short | None
) -> Iterator[nn.Module]:
    """A module for each node; what belongs to it goes into `owners`."""
    for node in nodes:
        module = _module(node, owners, short)
        if node.frozen:
            module.requires_grad_(False)
        for parameter in node.parameters:
            owners[parameter.name] = module, _ATTRIBUTES[parameter.role]
        if short is not None:
            module = short.around(node.layer, module)
        setattr(module, _LAYER, node.name)
        yield module


def _module(node: Node, owners: _Owners, short: precision.Short | None) -> nn.Module:
    match node.layer:
        case spec.Conv2d() as layer:
            return _conv2d(node, layer, short)
        case spec.ConvTranspose2d() as layer:
            return _conv_transpose2d(node, layer, short)
        case spec.Linear() as layer:
            return _linear(node, layer, short)
        case spec.GroupNorm() as layer:
            return _GroupNorm(layer.groups, node.input_shape[0], layer.eps)
        case spec.LayerNorm() as layer:
            over = nn.LayerNorm if len(node.input_shape) == 1 else _PixelNorm
            return over(node.input_shape[0], layer.eps)
        case spec.LocalResponseNorm() as layer:
            return nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
        case spec.BatchNorm() as layer:
            norms: tuple[type[nn.BatchNorm1d | nn.BatchNorm2d], ...] = (
                nn.BatchNorm1d,
                nn.BatchNorm2d,
            )
            if layer.freeze:
                norms = _FrozenNorm1d, _FrozenNorm2d
            norm = norms[len(node.input_shape) == 3]
            return norm(node.input_shape[0], eps=layer.eps, momentum=layer.momentum)
        case spec.Relu():
            return nn.ReLU()
        case spec.LeakyRelu() as layer:
            return nn.LeakyReLU(layer.slope)
        case spec.Sigmoid():
            return nn.Sigmoid()
        case spec.Tanh():
            return nn.Tanh()
        case spec.Relu6():
            return nn.ReLU6()
        case spec.Silu():
            return nn.SiLU()
        case spec.HardSigmoid():
            return nn.Hardsigmoid()
        case spec.HardSwish():
            return nn.Hardswish()
        case spec.Gelu() as layer:
            return nn.GELU(approximate=layer.approximate)
        case spec.MaxPool() as layer:
            if layer.even_padding is None:
                pad = nn.ConstantPad2d(_around(node.window_edges), -math.inf)
                return nn.Sequential(pad, nn.MaxPool2d(layer.kernel, layer.step))
            return nn.MaxPool2d(
                layer.kernel, layer.step, layer.even_padding, ceil_mode=layer.ceil_mode
            )
        case spec.AvgPool() as layer:
            if layer.even_padding is None:
                pool = _PaddedAvgPool(node, layer)
                # its sums are divided afterwards
                return pool if short is None else precision.Widened(pool)
            return nn.AvgPool2d(
                layer.kernel,
                layer.step,
                layer.even_padding,
                ceil_mode=layer.ceil_mode,
                count_include_pad=layer.count_include_pad,
            )
        case spec.GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case spec.AdaptiveAvgPool() as layer:
            return nn.AdaptiveAvgPool2d(layer.output)
        case spec.Dropout() as layer:
            return nn.Dropout(layer.rate)
        case spec.Flatten():
            return nn.Flatten()
        case spec.OptionA() as layer:
            return _OptionA(layer)
        case spec.Residual():
            return _Residual(_body(node.body, owners, short), _body(node.shortcut, owners, short))
        case spec.Scale():
            return _Scale(_body(node.body, owners, short))
        case spec.Concat():
            return _Concat(_body(body, owners, short) for body in node.bodies)


def _body(nodes: Iterable[Node], owners: _Owners, short: precision.Short | None) -> nn.Module:
    modules = list(_modules(nodes, owners, short))
    return nn.Sequential(*modules) if modules else nn.Identity()


def _conv2d(node: Node, layer: spec.Conv2d, short: precision.Short | None) -> nn.Conv2d:
    placing = precision.placing(node, layer, short)
    plain = nn.Conv2d if placing.around is None else _PaddedConv2d
    conv = (plain if short is None else precision.Conv2d)(
        node.input_shape[0],
        layer.out_channels,
        layer.kernel,
        stride=placing.stride,
        padding=placing.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )
    if isinstance(conv, _PaddedConv2d | precision.Conv2d) and placing.around is not None:
        conv.around = placing.around
    if isinstance(conv, precision.Conv2d) and short is not None:
        conv.round_by(short)
        # CPU kernels for groups were not seen to sum gradients in float32
        conv.wide = layer.groups > 1 and short.on_cpu
    return conv


def _conv_transpose2d(
    node: Node, layer: spec.ConvTranspose2d, short: precision.Short | None
) -> nn.ConvTranspose2d:
    conv = (nn.ConvTranspose2d if short is None else precision.ConvTranspose2d)(
        node.input_shape[0],
        layer.out_channels,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        bias=layer.bias,
    )
    if isinstance(conv, precision.ConvTranspose2d) and short is not None:
        conv.round_by(short)
        # as for groups
        conv.wide = short.on_cpu
    return conv


def _linear(node: Node, layer: spec.Linear, short: precision.Short | None) -> nn.Linear:
    if short is None:
        return nn.Linear(node.input_shape[0], layer.out_features, bias=layer.bias)
    linear = precision.Linear(node.input_shape[0], layer.out_features, bias=layer.bias)
    linear.round_by(short)
    return linear


def make_loss(loss: training.Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The module for a loss; each is the mean that the specification pins."""
    match loss:
        case training.CrossEntropy():
            return nn.CrossEntropyLoss(label_smoothing=loss.label_smoothing)
        case training.MeanSquaredError():
            return nn.MSELoss()


def make_optimizer(
    optimizer: training.Optimizer, network: Network, recorded_on: torch.device | None = None
) -> torch.optim.Optimizer:
    """PyTorch's own optimizer; the specification's rules are its rules.

    Raises
    ------
    PlanRefused : its steps cannot be recorded, and are to be, on a device.
    """
    options: dict[str, Any] = dataclasses.asdict(optimizer)
    del options["weight_decay"], options["decay_biases_and_norms"], options["clip_norm"]
    options["lr"] = options.pop("learning_rate")
    if isinstance(optimizer, training.Adam | training.AdamW):
        options["betas"] = options.pop("beta1"), options.pop("beta2")
    if isinstance(optimizer, training.RMSprop):
        options["alpha"] = options.pop("rho")
    if recorded_on is not None:
        options |= graphs.optimizer_options(optimizer, options["lr"], recorded_on)
    alike: dict[float, list[torch.Tensor]] = {}
    for name, tensor in network.arrays.items():
        if tensor.requires_grad:
            alike.setdefault(optimizer.decay_of(name), []).append(tensor)
    groups = [{"params": params, "weight_decay": decay} for decay, params in alike.items()]
    # An empty group, since there must be one: networks of pools alone can still infer.
    return _OPTIMIZERS[type(optimizer)](groups or [{"params": []}], **options)
