"""Batch normalisation, forward and backward: of the whole batch, or of each replica's part by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dlbench.oracle.layers import Layer, Pass, per_channel, repetition, root_mean_square
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Role


class BatchNorm(Layer):
    """Normalisation over batch, height and width, or over the batch; see `dlbench.spec.layers.BatchNorm`. Each of the
    pass' replicas by itself."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        runs = run.of_replicas() if run.replicas > 1 and run.training else [run]
        self.parts = [_Normalisation(node, weights, each) for each in runs]

    def forward(self, x: Array) -> Array:
        pieces = np.split(x, len(self.parts))
        y = [part.forward(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        self.run.state.update(self.parts[0].run.state)
        return np.concatenate(y)

    def backward(self, dy: Array) -> Array:
        pieces = np.split(dy, len(self.parts))
        dx = [part.backward(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        own = [part.run.gradients for part in self.parts]
        if len(own) > 1:
            for name in own[0]:
                each = np.stack([gradients[name] for gradients in own])
                size = np.sqrt(np.square(each).sum(0))
                self.run.gradients[name] = self.run.rounding(each.sum(0), len(own), size)
        return np.concatenate(dx)


class _Normalisation(Layer):
    """Of one replica."""

    def forward(self, x: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.BatchNorm)
        run, weights = self.run, self.weights
        self.axes = (0, *range(2, x.ndim))
        positions = math.prod(x.shape[2:])
        if run.training:
            self.values = int(run.counts.sum()) * positions
            size = root_mean_square(x, self.axes) / np.sqrt(self.values)
            terms = run.terms(positions)
            mean = run.rounding(run.weighted(x).sum(self.axes) / self.values, terms, size)
            squares = np.square(x - per_channel(mean, x.ndim))
            size = np.sqrt(np.mean(np.square(np.square(x)), self.axes) / self.values)
            total = run.weighted(squares).sum(self.axes)
            variance = run.rounding(total / self.values, terms, size)
            unbiased = variance * self.values / max(self.values - 1, 1)
            self._move("running_mean", mean, layer.momentum)
            self._move("running_variance", unbiased, layer.momentum)
        else:
            mean, variance = weights["running_mean"], weights["running_variance"]
        self.inverse = 1 / np.sqrt(variance + layer.eps)
        self.normal = (x - per_channel(mean, x.ndim)) * per_channel(self.inverse, x.ndim)
        scale, shift = (per_channel(weights[role], x.ndim) for role in ("scale", "shift"))
        y = self.normal * scale + shift
        slope = np.abs(weights["scale"]) * self.inverse
        reach = slope * (root_mean_square(x, self.axes) + np.abs(mean))
        y = run.rounding(y, 4, per_channel(np.hypot(reach, weights["shift"]), x.ndim))
        return run.rounding.stored(y)

    def _move(self, role: Role, batch: Array, momentum: float) -> None:
        old = self.weights[role]
        new = (1 - momentum) * old + momentum * batch
        size = np.hypot((1 - momentum) * old, momentum * batch)
        self.run.state[f"{self.node.name}.{role}"] = self.run.rounding(new, 4, size)

    def backward(self, dy: Array) -> Array:
        run, axes = self.run, self.axes
        total = run.weighted(dy)
        product = total * self.normal
        terms = run.terms(math.prod(dy.shape[2:]))
        length = terms * repetition(dy.reshape(*dy.shape[:2], -1))
        shift = run.rounding(total.sum(axes), length, np.sqrt((total * dy).sum(axes)))
        size = np.sqrt((product * dy * self.normal).sum(axes))
        scale = run.rounding(product.sum(axes), terms, size)
        self.gradient("shift", shift)
        self.gradient("scale", scale)
        slope = self.weights["scale"] * self.inverse
        back = self.normal * per_channel(scale / self.values, dy.ndim)
        mean = per_channel(shift / self.values, dy.ndim)
        dx = per_channel(slope, dy.ndim) * (dy - mean - back)
        size = np.abs(slope) * (
            root_mean_square(dy, axes) + np.abs(shift / self.values) + root_mean_square(back, axes)
        )
        return run.rounding.handed_back(run.rounding(dx, 8, per_channel(size, dy.ndim)))
