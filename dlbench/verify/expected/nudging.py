"""Moves the shifts before a network's relus so that zero falls into gaps between what they see."""

from __future__ import annotations

import numpy as np

from dlbench.oracle.layers import Layer, Pass
from dlbench.oracle.network import KINDS
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import Node


class Nudger:
    """Walks a network forward once, moving the shift before each relu as it comes to it.

    Attributes
    ----------
    weights, run : with what is moved; the run's branches are those of an exact run with these weights where `is_exact`.
    """

    def __init__(self, weights: dict[str, Array], run: Pass) -> None:
        self.weights = weights
        self.run = run
        self.moved: dict[str, None] = {}
        self.is_exact = True

    def sequence(
        self, nodes: tuple[Node, ...], x: Array, shifter: str | None
    ) -> tuple[Array, str | None]:
        """The output of `nodes` and the parameter whose shift would shift each of its channels, if any."""
        for node in nodes:
            match node.layer:
                case spec.Residual():
                    body, one = self.sequence(node.body, x, None)
                    shortcut, other = self.sequence(node.shortcut, x, None)
                    x, shifter = body + shortcut, one or other
                case spec.Concat():
                    parts = [self.sequence(body, x, None)[0] for body in node.bodies]
                    x, shifter = np.concatenate(parts, axis=1), None
                case spec.Scale():
                    gate, _ = self.sequence(node.body, x, None)
                    x = x * gate.reshape(*gate.shape[:2], *[1] * (x.ndim - 2))
                    shifter = None
                case spec.Relu() | spec.LeakyRelu() | spec.Relu6():
                    if shifter is not None:
                        x = self._shifted(x, shifter)
                    x, shifter = self._layer(node).forward(x), None
                case _:
                    x = self._layer(node).forward(x)
                    if isinstance(node.layer, spec.AvgPool) and any(map(any, node.layer.edges)):
                        # a mean that counts padding is shifted by less
                        self.is_exact = self.is_exact and shifter is None
                    shifter = _shifter_after(node, shifter)
        return x, shifter

    def _layer(self, node: Node) -> Layer:
        return KINDS[type(node.layer)](node, self.weights, self.run)

    def _shifted(self, x: Array, shifter: str) -> Array:
        channels = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        old = self.weights[shifter]
        new = (old + gap_shift(channels)).astype(np.float32).astype(np.float64)
        self.weights[shifter] = new
        self.moved[shifter] = None
        return x + (new - old).reshape(1, -1, *[1] * (x.ndim - 2))


_MEANS = spec.AvgPool | spec.GlobalAvgPool | spec.AdaptiveAvgPool


def _shifter_after(node: Node, before: str | None) -> str | None:
    for parameter in node.parameters:
        if parameter.role in ("bias", "shift"):
            return parameter.name
    if isinstance(node.layer, _MEANS | spec.MaxPool | spec.Dropout):
        return before
    return None


def gap_shift(channels: Array) -> Array:
    """For each row of values, the shift that puts zero in the middle of its widest gap.

    Only gaps near the row's median are candidates, so that about half of the values stay positive; with few
    values, the room beyond the smallest and the largest counts as a gap too.
    """
    values = np.sort(channels, axis=1)
    count = values.shape[1]
    room = 0.3 * (np.sqrt(np.mean(np.square(values))) + 1e-3)
    values = np.concatenate([values[:, :1] - 2 * room, values, values[:, -1:] + 2 * room], axis=1)
    widths = np.diff(values, axis=1)
    margin = int(0.3 * count) + (1 if count >= 8 else 0)
    candidates = widths[:, margin : widths.shape[1] - margin]
    start = candidates.argmax(1) + margin
    # A channel of equal values (one that sees nothing but padding) has no gap but the rooms around it.
    flat = candidates.max(1) < 0.01 * room
    start = np.where(flat, widths.argmax(1), start)
    rows = np.arange(len(values))
    return np.asarray(-0.5 * (values[rows, start] + values[rows, start + 1]))
