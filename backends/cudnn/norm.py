"""Batch normalisation: one call each way."""

from __future__ import annotations

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..launches.parameters import Parameters
from ..launches.program import Program, Value
from .calls import call, described, of_channels
from .layers import Back, Kept, Layer, into
from .library import BATCHNORM_SPATIAL, ONE, ZERO


class BatchNorm(Layer):
    """Over batch, height and width; features are images of one pixel.

    cuDNN normalises by the biased variance, and what enters its running variance is the unbiased one, as
    docs/semantics.md pins it; its exponential average factor is the pinned momentum.
    """

    def __init__(
        self, node: Node, layer: spec.BatchNorm, parameters: Parameters, training: bool
    ) -> None:
        super().__init__(node)
        self.layer = layer
        self.training = training
        self.scale, self.shift = (Kept(parameters, node, role) for role in ("scale", "shift"))
        self.running = [
            Kept(parameters, node, f"running_{statistic}").value
            for statistic in ("mean", "variance")
        ]

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Inference reads the running statistics; training moves them, and leaves the batch's own for the way back."""
        y = self.output(program)
        eps, channels = self.layer.eps, self.node.input_shape[0]
        image = described(program, x, self.node.input_shape)
        each = of_channels(program, channels)
        forward = (BATCHNORM_SPATIAL, ONE, ZERO, image, x, image, y, each)
        parameters = (self.scale.value, self.shift.value)
        saved = [program.scratch(channels) for _ in range(2)]
        if self.training:
            call(
                program,
                "cudnnBatchNormalizationForwardTraining",
                *(*forward, *parameters, self.layer.momentum, *self.running, eps, *saved),
            )
        else:
            call(
                program,
                "cudnnBatchNormalizationForwardInference",
                *(*forward, *parameters, *self.running, eps),
            )

        def back(dy: Value, other: Value | None = None) -> Value | None:
            dx, beta = into(program, x, other)
            call(
                program,
                "cudnnBatchNormalizationBackward",
                *(BATCHNORM_SPATIAL, ONE, beta, ONE, ZERO, image, x, image, dy, image, dx, each),
                *(self.scale.value, self.scale.gradient, self.shift.gradient, eps, *saved),
            )
            return dx if self.node.needs_input_gradient else None

        return y, back
