"""Every layer's forward and backward pass, side by side, for a batch N×C×H×W or N×F in float64.

A layer object lives for one pass: `forward` keeps what `backward` needs, and `backward` leaves its
parameters' gradients in the pass. Semantics are pinned in `dlbench.spec.layers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle.rounding import Array, Rounding, Size, absorbed, exact
from dlbench.spec import layers as spec
from dlbench.spec.network import Node


@dataclasses.dataclass
class Branch:
    """Which way a kinked layer went: `taken` (x > 0, or the winning element of each window), and by how much
    (`margin`: x itself, or along the last axis the distances to the elements that come next, which are `other`)."""

    taken: npt.NDArray[Any]
    margin: Array
    other: npt.NDArray[Any] | None = None


@dataclasses.dataclass
class Pass:
    """One evaluation of a network, and everything it depends on besides weights and inputs.

    Attributes
    ----------
    training : batch statistics and dropout, or running statistics.
    counts : how often each sample stands in the batch, so that a large batch of few distinct samples costs
        no more than those.
    rounding : what happens to every result.
    masks : for each dropout layer by name, 1 where an element is kept and 0 elsewhere; all kept if absent.
    forced : branches to take, by layer name; each layer's own choice if absent.
    branches, gradients, state : left behind by the pass; state is the updated running statistics.
    replicas : equal parts that the samples stand in one after the other, each of which is normalised by its own
        statistics, as ranks of a data-parallel training do; running statistics are those of the first.
    """

    training: bool
    counts: Array
    rounding: Rounding = exact
    masks: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)
    forced: Mapping[str, Branch] = dataclasses.field(default_factory=dict)
    branches: dict[str, Branch] = dataclasses.field(default_factory=dict)
    gradients: dict[str, Array] = dataclasses.field(default_factory=dict)
    state: dict[str, Array] = dataclasses.field(default_factory=dict)
    replicas: int = 1

    def of_replicas(self) -> list[Pass]:
        """A pass for each part."""
        parts = np.split(self.counts, self.replicas)
        return [
            dataclasses.replace(self, counts=part, gradients={}, state={}, replicas=1)
            for part in parts
        ]

    def terms(self, positions: int) -> int:
        """Length of a sum over the batch and `positions` of each sample, for the rounding of it.

        Copies of a sample bring the same terms again, whose roundings do not average out (see `repetition`),
        so the length counts them twice.
        """
        return int(self.counts.sum() * self.counts.max()) * positions

    def partial_sums(self, dy: Array) -> Array:
        """How large the sums of each channel of dy (N×C×P) may be on the way, as a root sum of squares: the sums of
        samples may cancel one another, but for what has been added up before they do."""
        squares = self.counts @ np.einsum("ncp,ncp->nc", dy, dy)
        return np.asarray(np.sqrt(squares + np.square(self.counts @ np.abs(dy.sum(2)))))

    def weighted(self, values: Array) -> Array:
        """`values` times each sample's count."""
        return values * self.counts.reshape(-1, *[1] * (values.ndim - 1))


def root_mean_square(values: Array, axis: Any = None) -> Any:
    """√ of the mean of squares, over `axis`."""
    if axis is None:
        flat = values.reshape(-1)
        return np.sqrt(np.einsum("i,i->", flat, flat) / flat.size)
    return np.sqrt(np.mean(np.square(values), axis=axis))


def norms(matrix: Array, axis: int) -> Array:
    """√ of the sum of squares of each row (`axis` 0) or column (1), without an array of the squares."""
    return np.asarray(np.sqrt(np.einsum(f"ij,ij->{'ij'[axis]}", matrix, matrix)))


def per_channel(values: Array, ndim: int) -> Array:
    """A vector over channels, shaped to broadcast along axis 1 of `ndim` axes."""
    return values.reshape(1, -1, *[1] * (ndim - 2))


def repetition(dy: Array) -> int:
    """How often the commonest terms of a channel's sum repeat, up to rounding: the largest, over channels
    of dy (N×C×P), of non-zero values per distinct value, of all samples or of one that counts.

    What a global average hands back is the same at every position; the roundings of the sum of such terms all
    go one way, so that c equal terms err by c times one, not √c times.
    """
    values = np.abs(dy.swapaxes(0, 1), dtype=np.float32)
    values.sort(axis=2)
    nonzero = (values > 0).sum(2)
    # what is left where larger values cancel differs by their rounding, not by its own
    sizes = np.sqrt(np.einsum("cnp,cnp->cn", values, values) / values.shape[2])
    steps = (np.diff(values) > 1e-6 * sizes[:, :, None]).sum(2)
    # of samples that hardly count, noise may be all there is
    counting = sizes > 0.01 * sizes.max(1, keepdims=True)
    of_each = counting * nonzero / np.maximum(steps, 1)
    # distinct is what differs by more than float32 can tell
    values = values.reshape(len(values), -1)
    values.sort(axis=1)
    steps = (np.diff(values) > 1e-5 * values[:, 1:]).sum(1)
    of_all = nonzero.sum(1) / np.maximum(steps, 1)
    return int(np.ceil(max(np.max(of_each), np.max(of_all))))


class Layer:
    """A layer for one pass. The base is the identity without parameters."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        self.node = node
        self.run = run
        self.weights = {p.role: weights[p.name] for p in node.parameters}

    def forward(self, x: Array) -> Array:
        """The layer's output."""
        return x

    def backward(self, dy: Array) -> Array:
        """The gradient with respect to the input, from the one with respect to the output; both
        of one copy of each sample."""
        return dy

    def left(self, y: Array, bias: Array | None, terms: int, size: Size) -> Array:
        """A product with its bias as it leaves the layer; the bias may be added before the product is stored, or
        after, rounded as it is stored too."""
        y = self.run.rounding(y, terms, size)
        if not self.run.rounding.policy.is_mixed:
            return y
        return (
            self.run.rounding.stored(y)
            if bias is None
            else self.run.rounding.stored(y, y - bias, bias)
        )

    def gradient(self, role: str, value: Any) -> None:
        """Leaves a parameter's gradient in the pass, unless it is frozen."""
        if not self.node.frozen:
            self.run.gradients[f"{self.node.name}.{role}"] = value


class Linear(Layer):
    """x·Wᵀ + b."""

    def forward(self, x: Array) -> Array:
        self.x = x = self.run.rounding.factor(x)
        self.weight = weight = self.run.rounding.known(self.weights["weight"])
        y = x @ weight.T
        bias = self.weights.get("bias")
        if bias is not None:
            y = y + bias

        def size() -> Array:
            found = norms(weight, 0) * root_mean_square(x)
            return np.asarray(found if bias is None else np.hypot(found, bias))

        return self.left(y, bias, weight.shape[1] + 1, size)

    def backward(self, dy: Array) -> Array:
        weight, rounding = self.weight, self.run.rounding
        dy, given = rounding.factor(dy), dy
        summed = self.run.weighted(absorbed(dy, self.x[:, None], self.run.counts, rounding))
        terms = self.run.terms(1)
        strength = np.sqrt((self.run.weighted(dy) * dy).sum(0))
        gradient = rounding(
            summed.T @ self.x, terms, lambda: strength[:, None] * root_mean_square(self.x)
        )
        self.gradient("weight", rounding.handed_back(gradient))
        if "bias" in self.weights:
            bias = self.run.weighted(given).sum(0)
            self.gradient("bias", rounding.handed_back(rounding(bias, terms, strength)))
        dx = rounding(dy @ weight, len(weight), lambda: norms(weight, 1) * root_mean_square(dy))
        return rounding.handed_back(dx)


class Dropout(Layer):
    """Kept elements divided by 1 − rate, with the masks that the pass was given."""

    def forward(self, x: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.Dropout)
        self.factor = np.ones_like(x)
        if self.run.training and layer.rate > 0 and self.node.name in self.run.masks:
            self.factor = self.run.masks[self.node.name].reshape(x.shape) / (1 - layer.rate)
        y = x * self.factor
        return self.run.rounding.stored(self.run.rounding(y, 2, y))

    def backward(self, dy: Array) -> Array:
        dx = dy * self.factor
        return self.run.rounding.handed_back(self.run.rounding(dx, 2, dx))


class Flatten(Layer):
    """C×H×W → C·H·W."""

    def forward(self, x: Array) -> Array:
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(len(dy), *self.node.input_shape)


class OptionA(Layer):
    """Every stride-th pixel, and channels of zeros behind."""

    def forward(self, x: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.OptionA)
        taken = x[:, :, :: layer.stride[0], :: layer.stride[1]]
        return np.pad(taken, ((0, 0), (0, layer.extra_channels), (0, 0), (0, 0)))

    def backward(self, dy: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.OptionA)
        dx = np.zeros((len(dy), *self.node.input_shape))
        dx[:, :, :: layer.stride[0], :: layer.stride[1]] = dy[:, : dx.shape[1]]
        return dx
