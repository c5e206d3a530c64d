"""Which operations of ATen are layers of the specification, and what to do about those that are none.

An operation's arguments are read by their names in its schema
(``aten/src/ATen/native/native_functions.yaml``); the table of a layer names the module's own arrays under
``parameters``, in the order of the layer's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dlbench.spec.layers import KINDS

Table = dict[str, Any]
Shape = tuple[int, ...]


POOLED: Table = {"type": "pooled"}
"""One value a channel that is an image still, until it is known what reads it."""
AS_IMAGE: Table = (
    {"type": "adaptive_avg_pool", "output": 1}
    if "adaptive_avg_pool" in KINDS
    else {"type": "global_avg_pool"}
)


class Refused(Exception):
    """No layer stands for an operation; the message says why, and what would."""


class Call(Protocol):
    """An operation: its arguments by name, and the shapes around it."""

    def __getitem__(self, name: str) -> Any:
        """An argument, or its default."""

    def array(self, name: str) -> str | None:
        """The module's name of an array that is an argument; None where there is none."""

    def array_shape(self, name: str) -> Shape:
        """Of such an array."""

    @property
    def input_shape(self) -> Shape:
        """Of what it reads, with the samples."""

    @property
    def output_shape(self) -> Shape:
        """Of what it gives, with the samples."""


def _layer(word: str, **options: Any) -> list[Table]:
    """The table of a layer, without the options that are None.

    Raises
    ------
    Refused : dlbench has no such layer.
    """
    if word not in KINDS:
        raise Refused(f"dlbench has no layer {word}")
    return [{"type": word, **{key: value for key, value in options.items() if value is not None}}]


def _both(sizes: int | Sequence[int]) -> int | list[int]:
    """Sizes as a person writes them: one number where both are alike."""
    pair = [sizes, sizes] if isinstance(sizes, int) else [*sizes] * (2 // len(sizes))
    return pair[0] if pair[0] == pair[1] else pair


def _unless(usual: Any, value: Any) -> Any:
    """The value, or None where it is what a layer has anyway."""
    return None if value == usual else value


def _conv2d(call: Call) -> list[Table]:
    outputs, _, *kernel = call.array_shape("weight")
    padding = call["padding"]
    sizes = [1, 1] if call["dilation"] is None else list(call["dilation"])
    dilation = sizes * (2 // len(sizes))
    if padding == "valid":
        padding = 0
    elif padding == "same":
        both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        # the smaller half before, as `torch.nn.Conv2d` has it
        padding = [[total // 2, total - total // 2] for total in both]
        if all(before == behind for before, behind in padding):
            padding = _both([before for before, _ in padding])
    else:
        padding = _both(padding)
    groups = call["groups"]
    if groups != 1 and "groups" not in {
        field.name for field in dataclasses.fields(KINDS["conv2d"])
    }:
        raise Refused(f"a convolution of {groups} groups, of which dlbench has none")
    weight, bias = call.array("weight"), call.array("bias")
    options = {
        "out_channels": outputs,
        "kernel": _both(kernel),
        "stride": _unless(1, _both(call["stride"])),
        "padding": _unless(0, padding),
        "dilation": _unless(1, _both(dilation)),
        "groups": _unless(1, groups),
        "bias": _unless(True, bias is not None),
    }
    return _layer("conv2d", **options, parameters=[name for name in (weight, bias) if name])


def _linear(call: Call) -> list[Table]:
    if len(call.input_shape) != 2:
        raise Refused("a linear layer on more than features; put a flatten before it")
    weight, bias = call.array("weight"), call.array("bias")
    return _layer(
        "linear",
        out_features=call.array_shape("weight")[0],
        bias=_unless(True, bias is not None),
        parameters=[name for name in (weight, bias) if name],
    )


def _batch_norm(call: Call) -> list[Table]:
    names = [call.array(name) for name in ("weight", "bias", "running_mean", "running_var")]
    if None in names:
        raise Refused(
            "batch normalisation without scale and shift or without running statistics; dlbench's has them:"
            " affine=True, track_running_stats=True"
        )
    return _layer(
        "batch_norm",
        eps=_unless(1e-5, call["eps"]),
        momentum=_unless(0.1, call["momentum"]),
        parameters=names,
    )


def _max_pool(call: Call) -> list[Table]:
    if _both(call["dilation"]) != 1:
        raise Refused("a max pool with dilation, of which dlbench has none")
    return _layer("max_pool", **_windows(call))


def _avg_pool(call: Call) -> list[Table]:
    if call["divisor_override"] is not None:
        raise Refused("an average pool with divisor_override, of which dlbench has none")
    counts = call["count_include_pad"] and _both(call["padding"]) != 0
    return _layer("avg_pool", **_windows(call), count_include_pad=_unless(False, counts))


def _windows(call: Call) -> Table:
    kernel = _both(call["kernel_size"])
    stride = _both(call["stride"]) if call["stride"] else kernel
    return {
        "kernel": kernel,
        "stride": _unless(kernel, stride),
        "padding": _unless(0, _both(call["padding"])),
        "ceil_mode": _unless(False, call["ceil_mode"]),
    }


def _adaptive_avg_pool(call: Call) -> list[Table]:
    size, wanted = call.input_shape[2:], call.output_shape[2:]
    if size == wanted:
        return []
    if wanted == (1, 1):
        return [POOLED]
    if "adaptive_avg_pool" in KINDS:
        return _layer("adaptive_avg_pool", output=_both(wanted))
    if all(there % asked == 0 for there, asked in zip(size, wanted, strict=True)):
        kernel = [there // asked for there, asked in zip(size, wanted, strict=True)]
        return _layer("avg_pool", kernel=_both(kernel))
    raise Refused(
        f"an adaptive pool from {size[0]} × {size[1]} to {wanted[0]} × {wanted[1]}; dlbench has it where one divides"
        " the other, so choose another --input"
    )


def _mean(call: Call) -> list[Table]:
    axes = sorted(axis % len(call.input_shape) for axis in call["dim"] or ())
    if len(call.input_shape) != 4 or axes != [2, 3]:
        raise Refused("a mean over other axes than height and width, of which dlbench has none")
    return [POOLED] if call["keepdim"] else _layer("global_avg_pool")


def _flatten(call: Call) -> list[Table]:
    given, made = call.input_shape, call.output_shape
    if given == made or (len(given) == 2 and made == (*given, 1, 1)):
        # features as an image of one pixel, to scale channels with
        return []
    if len(made) != 2 or made[0] != given[0]:
        told = " × ".join(map(str, made[1:]))
        raise Refused(f"a reshape to {told}; dlbench has flatten, to features")
    return _layer("flatten")


def _dropout(call: Call) -> list[Table]:
    return _layer("dropout", rate=call["p"]) if call["p"] else []


def _hardtanh(call: Call) -> list[Table]:
    if (call["min_val"], call["max_val"]) != (0, 6):
        raise Refused("hardtanh of other ends than 0 and 6, of which dlbench has none")
    return _layer("relu6")


def _gelu(call: Call) -> list[Table]:
    return _layer("gelu", approximate=_unless("none", call["approximate"]))


def _plain(word: str) -> Callable[[Call], list[Table]]:
    return lambda call: _layer(word)


def _nothing(call: Call) -> list[Table]:
    """What gives what it reads."""
    return []


_ACTIVATIONS: dict[str, Callable[[Call], list[Table]]] = {
    "relu": _plain("relu"),
    "leaky_relu": lambda call: _layer("leaky_relu", slope=_unless(0.01, call["negative_slope"])),
    "sigmoid": _plain("sigmoid"),
    "tanh": _plain("tanh"),
    "relu6": _plain("relu6"),
    "hardtanh": _hardtanh,
    "silu": _plain("silu"),
    "hardsigmoid": _plain("hard_sigmoid"),
    "hardswish": _plain("hard_swish"),
    "gelu": _gelu,
    "dropout": _dropout,
}

TABLES: dict[str, Callable[[Call], list[Table]]] = {
    **_ACTIVATIONS,
    # the same in place
    **{f"{word}_": table for word, table in _ACTIVATIONS.items()},
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool,
    "mean": _mean,
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    "squeeze": _flatten,
    "unsqueeze": _flatten,
    "contiguous": _nothing,
    "clone": _nothing,
    "alias": _nothing,
}
"""By the operation's name."""

REMEDIES = {
    "pad": "write the padding into the convolution: padding = [[top, bottom], [left, right]]",
    "constant_pad_nd": "write the padding into the convolution: padding = [[top, bottom], [left, right]]",
    "layer_norm": "put batch_norm in its place",
    "group_norm": "put batch_norm in its place",
    "instance_norm": "put batch_norm in its place",
    "max": "put a max_pool in its place",
    "amax": "put a max_pool in its place",
    "adaptive_max_pool2d": "put a max_pool of the same windows in its place",
    "elu": "put leaky_relu or relu in its place",
    "mish": "put relu in its place",
    "prelu": "put leaky_relu in its place, whose slope is not trained",
    "feature_dropout": "put dropout in its place",
    "scaled_dot_product_attention": "dlbench has convolutional networks, and no attention",
    "upsample_nearest2d": "dlbench classifies and has no way to enlarge an image",
    "softmax": "leave it to the loss, which is of logits",
    "log_softmax": "leave it to the loss, which is of logits",
    "add": "dlbench adds what branches from one value compute, and no constants",
    "mul": "dlbench multiplies a value with what is computed of it, and with no constants",
    "sub": "dlbench has sums of branches, and no differences",
    "transpose": "dlbench keeps the axes as they are",
    "permute": "dlbench keeps the axes as they are",
}
"""What to do about an operation that has no counterpart, as the end of a sentence."""
