"""Which channels of a network can be left out without asking anybody else: those that one layer makes and one layer,
behind others that keep channels apart, reads.

What several layers read or add up (residual sums, concatenations), what is normalised across channels, and what a
convolution in groups reads would have to be left out in all places alike; such layers are left as they are, and the
reason is named.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

_APART = (
    spec.BatchNorm,
    spec.Relu,
    spec.LeakyRelu,
    spec.Sigmoid,
    spec.Tanh,
    spec.Relu6,
    spec.Silu,
    spec.HardSigmoid,
    spec.HardSwish,
    spec.Gelu,
    spec.MaxPool,
    spec.AvgPool,
    spec.GlobalAvgPool,
    spec.AdaptiveAvgPool,
    spec.Dropout,
    spec.Flatten,
)
"""Layers of which each channel comes from the same channel of what they read."""


@dataclasses.dataclass(frozen=True)
class Prunable:
    """A layer whose output channels can be left out.

    Attributes
    ----------
    maker : the layer, a convolution or a linear one; its channels are the rows of its weight.
    norms : the batch normalisations between, which have values for each channel.
    reader : the layer that reads them, a convolution or a linear one.
    features : how many of the reader's inputs come from one channel: more than one where an image is flattened between.
    """

    maker: Node
    norms: tuple[Node, ...]
    reader: Node
    features: int

    @property
    def channels(self) -> int:
        """How many channels it makes."""
        return self.maker.output_shape[0]


@dataclasses.dataclass(frozen=True)
class Left:
    """A layer with weights whose channels are left as they are, and why."""

    maker: Node
    reason: str


def find(nodes: Sequence[Node]) -> Iterator[Prunable | Left]:
    """Every layer that makes channels, in the order of computation."""
    yield from _of_sequence(nodes, "they are the network's output")


def _of_sequence(nodes: Sequence[Node], at_the_end: str) -> Iterator[Prunable | Left]:
    for place, node in enumerate(nodes):
        for body in node.bodies:
            yield from _of_sequence(body, _joined(node))
        if isinstance(node.layer, spec.Conv2d | spec.Linear | spec.ConvTranspose2d):
            yield _look(node, nodes[place + 1 :], at_the_end)


def _look(maker: Node, behind: Sequence[Node], at_the_end: str) -> Prunable | Left:
    if isinstance(maker.layer, spec.ConvTranspose2d):
        return Left(maker, "a transposed convolution")
    if isinstance(maker.layer, spec.Conv2d) and maker.layer.groups > 1:
        return Left(maker, "its groups tie its channels to those that it reads")
    norms: list[Node] = []
    for node in behind:
        if isinstance(node.layer, _APART):
            norms += [node] if isinstance(node.layer, spec.BatchNorm) else []
        elif isinstance(node.layer, spec.Linear) or (
            isinstance(node.layer, spec.Conv2d) and node.layer.groups == 1
        ):
            features = node.input_shape[0] // maker.output_shape[0]
            return Prunable(maker, tuple(norms), node, features)
        else:
            return Left(maker, _why(node))
    return Left(maker, at_the_end)


def _joined(node: Node) -> str:
    match node.layer:
        case spec.Residual():
            return f"{node.name} adds them to others"
        case spec.Concat():
            return f"{node.name} puts them beside others"
    return f"{node.name} multiplies others with them"


def _why(node: Node) -> str:
    match node.layer:
        case spec.Conv2d():
            return f"{node.name} reads them in groups"
        case spec.ConvTranspose2d():
            return f"{node.name}, a transposed convolution, reads them"
        case spec.Residual() | spec.Concat() | spec.Scale():
            return f"{node.name} reads them in several places"
    return f"{node.name} mixes channels"


def kept_count(channels: int, share: float) -> int:
    """How many channels are kept where `share` of them is to be left out: one at least."""
    return max(1, channels - math.floor(channels * share + 1e-9))
