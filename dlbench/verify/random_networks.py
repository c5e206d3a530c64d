"""Random small networks, so that a backend meets sizes, strides and orders of layers nobody thought of.

A seed gives the same network everywhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from dlbench.errors import WorkloadError
from dlbench.spec.blocks import Block
from dlbench.spec.layers import KINDS, Freezable
from dlbench.spec.network import read_network
from dlbench.spec.workload import Workload, read_workload

_GELU = ("none", "tanh")
_MOST_VALUES = 6_000
"""A layer's output that is larger than this is drawn again, to keep a network at milliseconds."""

_FREEZING = 0.25
"""Share of the networks that have frozen layers."""

Shape = tuple[int, ...]
Table = dict[str, Any]


def draw_workload(seed: int, *, freezes: bool = False) -> tuple[Workload, int]:
    """A network of one to seven layers with a loss and an optimizer, and a batch size, from `seed`; in some, layers are
    frozen, if `freezes`."""
    random_ = random.Random(seed)
    while True:
        table, batch = _draw(random_)
        if freezes and random_.random() < _FREEZING:
            table["layers"] = [_frozen(random_, layer) for layer in table["layers"]]
        try:
            workload = read_workload(table)
        except WorkloadError:
            continue
        if _trains(workload, batch):
            return workload, batch


def _draw(random_: random.Random) -> tuple[Table, int]:
    batch = random_.choice((1, 2, 3, 5))
    image = random_.random() < 0.85
    shape: Shape = (random_.randint(1, 3), random_.randint(3, 23), random_.randint(3, 23))
    if not image:
        shape = (random_.randint(1, 12),)
    start, layers = shape, []
    for _ in range(random_.randint(1, 6)):
        drawn = _layer(random_, shape)
        if drawn is not None:
            layer, shape = drawn
            layers.append(layer)
    squared = random_.random() < 0.2
    if len(shape) == 3:
        layers.append({"type": random_.choice(("flatten", "global_avg_pool"))})
        if random_.random() < 0.2:
            layers.append({"type": "batch_norm"})
    if random_.random() < 0.7 or not squared:
        layers.append(_linear(random_))
        if random_.random() < 0.3:
            layers += [_activation(random_), _linear(random_)]
    return {
        "input_shape": list(start),
        "layers": layers,
        "loss": "mean_squared_error" if squared else _cross_entropy(random_),
        "optimizer": _optimizer(random_),
    }, batch


def _frozen(random_: random.Random, layer: Table) -> Table:
    """A layer, or one and all inside it, frozen as often as not where there is anything to freeze."""
    can = issubclass(KINDS[layer["type"]], Freezable | Block)
    return layer | {"freeze": random_.random() < 0.5} if can else layer


def _cross_entropy(random_: random.Random) -> str | Table:
    smoothed = random_.choice((0.1, 0.3))
    if random_.random() < 0.75:
        return "cross_entropy"
    return {"type": "cross_entropy", "label_smoothing": smoothed}


def _layer(random_: random.Random, shape: Shape) -> tuple[Table, Shape] | None:
    """A layer that fits `shape`, and what comes out of it; None when none was found."""
    kinds: tuple[Callable[[random.Random, Shape], Table], ...] = (
        (_conv, _conv, _conv, _pool, _norm, _plain, _plain, _residual, _concat, _other)
        if len(shape) == 3
        else (_any_linear, _any_linear, _plain, _plain, _norm)
    )
    for _ in range(20):
        layer = random_.choice(kinds)(random_, shape)
        try:
            output = read_network([layer], shape)[-1].output_shape
        except WorkloadError:
            continue
        if math.prod(output) <= _MOST_VALUES:
            return layer, output
    return None


def _conv(random_: random.Random, shape: Shape) -> Table:
    kernel = [random_.choice((1, 2, 3, 3, 5)) for _ in range(2)]
    channels, groups = random_.randint(1, 7), 1
    if random_.random() < 0.25:
        groups = random_.choice([n for n in range(1, shape[0] + 1) if shape[0] % n == 0])
        channels = groups * random_.choice((1, 1, 2))
    return {
        "type": "conv2d",
        "out_channels": channels,
        "groups": groups,
        "kernel": kernel,
        "stride": [random_.choice((1, 1, 1, 2, 3)) for _ in range(2)],
        "padding": [_sides(random_, 2) for _ in range(2)],
        "dilation": [random_.choice((1, 1, 1, 2)) for _ in range(2)],
        "bias": random_.random() < 0.7,
    }


def _pool(random_: random.Random, shape: Shape) -> Table:
    kernel = [random_.randint(1, 3) for _ in range(2)]
    table: Table = {
        "type": random_.choice(("max_pool", "avg_pool")),
        "kernel": kernel,
        "stride": [random_.randint(1, 3) for _ in range(2)],
        "padding": [_sides(random_, size // 2) for size in kernel],
        "ceil_mode": random_.random() < 0.4,
    }
    if table["type"] == "avg_pool":
        table["count_include_pad"] = random_.random() < 0.5
    return table


def _sides(random_: random.Random, most: int) -> list[int]:
    """The padding before and behind an axis, up to `most`; alike more often than not."""
    before = random_.randint(0, most)
    return [before, before if random_.random() < 0.7 else random_.randint(0, most)]


def _norm(random_: random.Random, shape: Shape) -> Table:
    return {"type": "batch_norm"}


def _plain(random_: random.Random, shape: Shape) -> Table:
    return _activation(random_)


def _activation(random_: random.Random) -> Table:
    if random_.random() < 0.75:
        return {"type": random_.choice(("relu", "relu", "leaky_relu", "sigmoid", "tanh"))}
    kind = random_.choice(("relu6", "silu", "hard_sigmoid", "hard_swish", "gelu"))
    return {"type": kind, **({"approximate": random_.choice(_GELU)} if kind == "gelu" else {})}


def _any_linear(random_: random.Random, shape: Shape) -> Table:
    return _linear(random_)


def _linear(random_: random.Random) -> Table:
    return {
        "type": "linear",
        "out_features": random_.randint(2, 9),
        "bias": random_.random() < 0.8,
    }


def _residual(random_: random.Random, shape: Shape) -> Table:
    shortcut = random_.choice(("identity", "option_a", "projection"))
    stride = 1 if shortcut == "identity" else random_.choice((1, 2))
    channels = shape[0] if shortcut == "identity" else shape[0] + random_.randint(0, 3)
    first = {
        "type": "conv2d",
        "out_channels": channels,
        "kernel": 3,
        "stride": stride,
        "padding": 1,
    }
    body = [first, {"type": "batch_norm"}, _activation(random_)]
    return {"type": "residual", "shortcut": shortcut, "body": body[: random_.randint(1, 3)]}


def _concat(random_: random.Random, shape: Shape) -> Table:
    conv = {"type": "conv2d", "out_channels": random_.randint(1, 4), "kernel": 3, "padding": 1}
    body = [{"type": "batch_norm"}, _activation(random_), conv | {"bias": random_.random() < 0.5}]
    body = body[random_.randint(0, 2) :]
    if random_.random() < 0.5:
        return {"type": "concat", "body": body}
    pool = {
        "type": random_.choice(("max_pool", "avg_pool")),
        "kernel": 3,
        "stride": 1,
        "padding": 1,
    }
    others: list[list[Table]] = [
        [],
        [pool],
        [conv | {"kernel": 1, "padding": 0}],
        [_activation(random_)],
    ]
    bodies = [body, *random_.sample(others, random_.randint(1, 2))]
    random_.shuffle(bodies)
    return {"type": "concat", "bodies": bodies}


def _other(random_: random.Random, shape: Shape) -> Table:
    """A layer that few networks have."""
    return random_.choice((_adaptive_pool, _scale, _transposed, _sample_norm, _responses))(
        random_, shape
    )


def _adaptive_pool(random_: random.Random, shape: Shape) -> Table:
    return {"type": "adaptive_avg_pool", "output": [random_.randint(1, 5) for _ in range(2)]}


def _transposed(random_: random.Random, shape: Shape) -> Table:
    stride = [random_.choice((1, 2, 2, 3)) for _ in range(2)]
    return {
        "type": "conv_transpose2d",
        "out_channels": random_.randint(1, 5),
        "kernel": [random_.randint(1, 4) for _ in range(2)],
        "stride": stride,
        "padding": [random_.randint(0, 2) for _ in range(2)],
        "output_padding": [random_.randrange(each) for each in stride],
        "bias": random_.random() < 0.7,
    }


def _sample_norm(random_: random.Random, shape: Shape) -> Table:
    divisors = [n for n in range(1, shape[0] + 1) if shape[0] % n == 0]
    if random_.random() < 0.5:
        return {"type": "group_norm", "groups": random_.choice(divisors)}
    return {"type": "layer_norm"}


def _responses(random_: random.Random, shape: Shape) -> Table:
    size, alpha = random_.choice((1, 3, 5)), random_.choice((0.01, 0.5))
    return {"type": "local_response_norm", "size": size, "alpha": alpha, "k": 2.0}


def _scale(random_: random.Random, shape: Shape) -> Table:
    squeeze: list[Table] = [{"type": "global_avg_pool"}, _linear(random_), _activation(random_)]
    last: Table = {"type": "linear", "out_features": shape[0]}
    if random_.random() < 0.5:
        conv: Table = {"type": "conv2d", "out_channels": random_.randint(1, 4), "kernel": 1}
        squeeze = [{"type": "adaptive_avg_pool", "output": 1}, conv, _activation(random_)]
        last = conv | {"out_channels": shape[0]}
    gate = {"type": random_.choice(("sigmoid", "hard_sigmoid", "tanh"))}
    return {"type": "scale", "body": [*squeeze[: random_.choice((1, 3))], last, gate]}


def _optimizer(random_: random.Random) -> Table:
    decay = random_.choice((0.0, 0.0, 0.01))
    kind = random_.choice(("sgd", "sgd", "adam", "adamw", "adagrad", "rmsprop", "adadelta"))
    table: Table = {"type": kind, "learning_rate": random_.choice((0.1, 0.01, 0.001))}
    if kind == "sgd":
        momentum = random_.choice((0.0, 0.5, 0.9))
        table |= {"momentum": momentum, "nesterov": momentum > 0 and random_.random() < 0.4}
    if kind == "rmsprop":
        table |= {"momentum": random_.choice((0.0, 0.9)), "rho": random_.choice((0.9, 0.99))}
    if random_.random() < 0.2:
        table["clip_norm"] = random_.choice((0.1, 1.0))
    return table | {"weight_decay": decay, "decay_biases_and_norms": random_.random() < 0.7}


def _trains(workload: Workload, batch: int) -> bool:
    """Whether there is a parameter to train, and more than one value per channel to normalise."""
    trainable = any(p.trainable for p in workload.parameters)
    return trainable and workload.untrainable(batch) is None
