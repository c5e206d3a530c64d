"""Batch normalisation, forward and backward: of the whole batch, or of each replica's part by itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dlbench.oracle.layers import Layer, Pass, per_channel, repetition
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Role


class BatchNorm(Layer):
    """Normalisation over batch, height and width, or over the batch; see `dlbench.spec.layers.BatchNorm`. Each of the
    pass' replicas by itself."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        by_batch = run.training and not node.frozen
        runs = run.of_replicas() if run.replicas > 1 and by_batch else [run]
        self.parts = [_Normalisation(node, weights, each) for each in runs]

    def forward(self, x: Array) -> Array:
        if len(self.parts) == 1:
            return self.parts[0].forward(x)
        pieces = np.split(x, len(self.parts))
        y = [part.forward(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        self.run.state.update(self.parts[0].run.state)
        return np.concatenate(y)

    def backward(self, dy: Array) -> Array:
        if len(self.parts) == 1:
            return self.parts[0].backward(dy)
        pieces = np.split(dy, len(self.parts))
        dx = [part.backward(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        own = [part.run.gradients for part in self.parts]
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
        run, weights, values = self.run, self.weights, x.reshape(*x.shape[:2], -1)
        positions = values.shape[2]
        all_values = len(x) * positions

        def squares() -> Array:
            """The mean of each channel's squares."""
            return np.asarray(np.einsum("ncp,ncp->c", values, values) / all_values)

        def size_of_variance() -> Array:
            squared = np.square(values)
            fourth: Array = np.einsum("ncp,ncp->c", squared, squared)
            return np.asarray(np.sqrt(fourth / all_values / self.values))

        if run.training and not self.node.frozen:
            self.values = int(run.counts.sum()) * positions
            terms = run.terms(positions)
            total = run.counts @ values.sum(2)
            mean = run.rounding(
                total / self.values, terms, lambda: np.sqrt(squares() / self.values)
            )
            normal = values - per_channel(mean, 3)
            total = run.counts @ np.einsum("ncp,ncp->nc", normal, normal)
            variance = run.rounding(total / self.values, terms, size_of_variance)
            unbiased = variance * self.values / max(self.values - 1, 1)
            self._move("running_mean", mean, layer.momentum)
            # the mean of squares less the square of the mean is right too, and cancels where the mean is large
            kept = run.rounding(unbiased, terms, squares)
            self._move("running_variance", kept, layer.momentum)
        else:
            mean, variance = weights["running_mean"], weights["running_variance"]
            normal = values - per_channel(mean, 3)
        self.inverse = 1 / np.sqrt(variance + layer.eps)
        normal *= per_channel(self.inverse, 3)
        self.normal = normal
        y = normal * per_channel(weights["scale"], 3)
        y += per_channel(weights["shift"], 3)

        def size() -> Array:
            slope = np.abs(weights["scale"]) * self.inverse
            reach = slope * (np.sqrt(squares()) + np.abs(mean))
            return per_channel(np.hypot(reach, weights["shift"]), 3)

        return run.rounding.stored(run.rounding(y, 4, size).reshape(x.shape))

    def _move(self, role: Role, batch: Array, momentum: float) -> None:
        old = self.weights[role]
        new = (1 - momentum) * old + momentum * batch
        size = np.hypot((1 - momentum) * old, momentum * batch)
        self.run.state[f"{self.node.name}.{role}"] = self.run.rounding(new, 4, size)

    def backward(self, dy: Array) -> Array:
        run, normal, given = self.run, self.normal, dy.reshape(self.normal.shape)
        if self.node.frozen:
            dx = given * per_channel(self.weights["scale"] * self.inverse, 3)
            return run.rounding.handed_back(run.rounding(dx, 4, dx).reshape(dy.shape))
        terms = run.terms(normal.shape[2])
        all_values = len(normal) * normal.shape[2]
        squares: list[Array] = []

        def of_samples() -> Array:
            """The sum of squares of each sample's channels."""
            if not squares:
                squares.append(np.einsum("ncp,ncp->nc", given, given))
            return squares[0]

        def length() -> int:
            return terms * repetition(given)

        def size_of_scale() -> Array:
            product = given * normal
            return np.asarray(np.sqrt(run.counts @ np.einsum("ncp,ncp->nc", product, product)))

        total = run.counts @ given.sum(2)
        shift = run.rounding(total, length, lambda: np.sqrt(run.counts @ of_samples()))
        total = run.counts @ np.einsum("ncp,ncp->nc", given, normal)
        scale = run.rounding(total, terms, size_of_scale)
        self.gradient("shift", shift)
        self.gradient("scale", scale)
        slope = self.weights["scale"] * self.inverse
        dx = normal * per_channel(-scale / self.values, 3)
        dx += given
        dx -= per_channel(shift / self.values, 3)
        dx *= per_channel(slope, 3)

        def size() -> Array:
            squares = np.einsum("ncp,ncp->c", normal, normal) / all_values
            each = np.sqrt(of_samples().sum(0) / all_values) + np.abs(shift / self.values)
            found = each + np.sqrt(squares) * np.abs(scale / self.values)
            return per_channel(np.abs(slope) * found, 3)

        return run.rounding.handed_back(run.rounding(dx, 8, size).reshape(dy.shape))
