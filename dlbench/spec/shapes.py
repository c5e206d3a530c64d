"""What shape each layer gives, and the arrays that belong to it."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from dlbench.errors import WorkloadError
from dlbench.spec import layers as spec
from dlbench.spec import windows
from dlbench.spec.layers import Layer

Shape = tuple[int, ...]
Role = Literal["weight", "bias", "scale", "shift", "running_mean", "running_variance"]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """An array that belongs to a layer, in the canonical layout (conv O×I×kH×kW, linear out×in, else one axis).

    `fan_in` is the number of inputs that one output element sums over (1 where nothing is summed); `frozen` is whether
    its layer stays as it is.
    """

    name: str
    role: Role
    shape: Shape
    fan_in: int
    frozen: bool = False

    @property
    def trainable(self) -> bool:
        """Whether the optimizer updates it (running statistics are state, not trained)."""
        return not (self.frozen or self.role.startswith("running"))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def format_shape(shape: Shape) -> str:
    """A shape as people write it, ``64 × 5 × 5``."""
    return " × ".join(str(size) for size in shape)


def infer(layer: Layer, name: str, shape: Shape, path: str) -> tuple[Shape, tuple[Parameter, ...]]:
    """The output shape and the parameters of a layer without layers inside.

    Raises
    ------
    WorkloadError : it does not fit an input of this shape.
    """
    match layer:
        case spec.Conv2d():
            channels = _image(layer, shape, path)[0]
            if channels % layer.groups or layer.out_channels % layer.groups:
                raise WorkloadError(
                    f"{path}.groups",
                    f" = {layer.groups} must divide the {channels} channels of the input and the"
                    f" {layer.out_channels} of the output",
                )
            output = (layer.out_channels, *windows.count(layer, shape, path))
            weights = (layer.out_channels, channels // layer.groups, *layer.kernel)
            fan_in = math.prod(weights[1:])
            weight = Parameter(f"{name}.weight", "weight", weights, fan_in)
            bias = Parameter(f"{name}.bias", "bias", (layer.out_channels,), fan_in)
            return output, (weight, bias) if layer.bias else (weight,)
        case spec.Linear():
            if len(shape) != 1:
                raise WorkloadError(
                    path,
                    f": linear needs features, its input is {format_shape(shape)}; put a flatten before it",
                )
            if layer.in_features not in (None, shape[0]):
                raise WorkloadError(
                    f"{path}.in_features",
                    f" = {layer.in_features} does not fit its input of {shape[0]} features",
                )
            weight = Parameter(f"{name}.weight", "weight", (layer.out_features, shape[0]), shape[0])
            bias = Parameter(f"{name}.bias", "bias", (layer.out_features,), shape[0])
            return (layer.out_features,), (weight, bias) if layer.bias else (weight,)
        case spec.BatchNorm():
            if layer.momentum > 1:
                raise WorkloadError(f"{path}.momentum", f" = {layer.momentum} must be at most 1")
            roles: tuple[Role, ...] = ("scale", "shift", "running_mean", "running_variance")
            return shape, tuple(Parameter(f"{name}.{role}", role, shape[:1], 1) for role in roles)
        case spec.ConvTranspose2d():
            return _transposed(layer, name, shape, path)
        case spec.GroupNorm() | spec.LayerNorm():
            return shape, _of_samples(layer, name, shape, path)
        case spec.LocalResponseNorm():
            _image(layer, shape, path)
            if layer.size % 2 == 0:
                raise WorkloadError(f"{path}.size", f" = {layer.size} must be odd")
            return shape, ()
        case spec.MaxPool() | spec.AvgPool():
            channels = _image(layer, shape, path)[0]
            return (channels, *windows.count(layer, shape, path)), ()
        case spec.GlobalAvgPool():
            return (_image(layer, shape, path)[0],), ()
        case spec.AdaptiveAvgPool():
            return (_image(layer, shape, path)[0], *layer.output), ()
        case spec.Flatten():
            return (math.prod(shape),), ()
        case spec.OptionA():
            channels, height, width = _image(layer, shape, path)
            rows, columns = (
                -(-size // step) for size, step in zip((height, width), layer.stride, strict=True)
            )
            return (channels + layer.extra_channels, rows, columns), ()
    return shape, ()


def _transposed(
    layer: spec.ConvTranspose2d, name: str, shape: Shape, path: str
) -> tuple[Shape, tuple[Parameter, ...]]:
    channels, *size = _image(layer, shape, path)
    output, most = [layer.out_channels], channels
    for axis, length in enumerate(size):
        kernel, stride = layer.kernel[axis], layer.stride[axis]
        added, padding = layer.output_padding[axis], layer.padding[axis]
        if added >= stride:
            raise WorkloadError(
                f"{path}.output_padding",
                f" = {list(layer.output_padding)} must be less than the stride"
                f" {list(layer.stride)}",
            )
        output.append((length - 1) * stride - 2 * padding + kernel + added)
        if output[-1] < 1:
            raise WorkloadError(
                f"{path}.padding",
                f" = {list(layer.padding)} leaves nothing of {format_shape(shape)}",
            )
        most *= -(-kernel // stride)
    weights = (channels, layer.out_channels, *layer.kernel)
    weight = Parameter(f"{name}.weight", "weight", weights, most)
    bias = Parameter(f"{name}.bias", "bias", (layer.out_channels,), most)
    return tuple(output), (weight, bias) if layer.bias else (weight,)


def _of_samples(
    layer: spec.GroupNorm | spec.LayerNorm, name: str, shape: Shape, path: str
) -> tuple[Parameter, ...]:
    values = shape[0]
    if isinstance(layer, spec.GroupNorm):
        if shape[0] % layer.groups:
            raise WorkloadError(
                f"{path}.groups",
                f" = {layer.groups} must divide the {shape[0]} channels of the input",
            )
        values = math.prod(shape) // layer.groups
    if values == 1:
        raise WorkloadError(
            path, f": {spec.WORDS[type(layer)]} has one value to normalise in {format_shape(shape)}"
        )
    roles: tuple[Role, ...] = ("scale", "shift")
    return tuple(Parameter(f"{name}.{role}", role, shape[:1], 1) for role in roles)


def _image(layer: Layer, shape: Shape, path: str) -> Shape:
    if len(shape) != 3:
        raise WorkloadError(
            path,
            f": {spec.WORDS[type(layer)]} needs channels × height × width,"
            f" its input has {format_shape(shape)} features",
        )
    return shape
