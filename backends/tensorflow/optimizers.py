"""The pinned update rules in TensorFlow's fused update ops: one pass a parameter, no temporaries.

Keras' optimizers are not used because their rules differ (Adam's eps, Adagrad's start, momentum
with a learning rate that changes). Where an op's rule differs too, its arguments make up for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dlbench.helpers.update_rules import moments_of
from dlbench.spec import training


class Rule:
    """Updates `variables`, by canonical name, by one optimizer's rule; `rate` is the learning rate's variable."""

    def __init__(
        self, optimizer: training.Optimizer, variables: Mapping[str, Any], rate: Any
    ) -> None:
        self._optimizer = optimizer
        self._variables = list(variables.values())
        self._decays = [optimizer.decay_of(name) for name in variables]
        self._rate = rate
        slots = range(moments_of(optimizer))
        self._slots = [[_zeros_like(v) for _ in slots] for v in self._variables]
        self._step = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def reset(self) -> None:
        """Forgets momentum, moments and the number of steps."""
        for slots in self._slots:
            for slot in slots:
                slot.assign(tf.zeros_like(slot))
        self._step.assign(0.0)

    def apply(self, gradients: Sequence[Any]) -> None:
        """The ops of one step, for the graph being traced."""
        gradients = self._clipped(gradients)
        match self._optimizer:
            case training.Sgd() as rule:
                self._sgd(rule, gradients)
            case training.Adam() | training.AdamW() as rule:
                self._adam(rule, gradients)
            case training.Adagrad() as rule:
                self._adagrad(rule, gradients)
            case training.RMSprop() as rule:
                self._rmsprop(rule, gradients)
            case training.Adadelta() as rule:
                self._adadelta(rule, gradients)

    def _clipped(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Not by ``tf.clip_by_global_norm``, which adds nothing to the norm."""
        most = self._optimizer.clip_norm
        if most is None or not gradients:
            return gradients
        norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g)) for g in gradients]))
        share = tf.minimum(most / (norm + training.CLIP_EPS), 1.0)
        return [gradient * share for gradient in gradients]

    def _decayed(self, gradients: Sequence[Any]) -> Iterator[tuple[Any, list[Any], Any]]:
        """Each variable with its slots and its gradient, coupled weight decay in it. Decoupled decay is done here: from
        the weight before the step, as the moments' part does not read the weight."""
        parts = zip(self._variables, self._decays, self._slots, gradients, strict=True)
        for variable, decay, slots, gradient in parts:
            if decay and isinstance(self._optimizer, training.AdamW):
                variable.assign_sub(self._rate * decay * variable)
            elif decay:
                gradient = gradient + decay * variable
            yield variable, slots, gradient

    def _sgd(self, rule: training.Sgd, gradients: Sequence[Any]) -> None:
        for variable, slots, gradient in self._decayed(gradients):
            if slots:
                self._apply_momentum(variable, slots[0], gradient, rule)
                continue
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=self._rate, delta=gradient
            )

    def _apply_momentum(
        self, variable: Any, velocity: Any, gradient: Any, rule: training.Sgd | training.RMSprop
    ) -> None:
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=self._rate,
            grad=gradient,
            momentum=rule.momentum,
            use_nesterov=isinstance(rule, training.Sgd) and rule.nesterov,
        )

    def _adam(self, rule: training.Adam | training.AdamW, gradients: Sequence[Any]) -> None:
        """The op scales eps along with the second moment's correction, so both go in beforehand.

        With c = √(1−β₂ᵗ), lr·m/(1−β₁ᵗ) / (√s/c + eps) = [lr·c/(1−β₁ᵗ)]·m / (√s + eps·c). In
        float64 from the float32 β that the op uses, as 1 − 0.999 in float32 is off by 1e-5.
        """
        step = self._step.assign_add(1.0)
        beta1, beta2 = np.float64(np.float32(rule.beta1)), np.float64(np.float32(rule.beta2))
        correction = tf.sqrt(1 - beta2**step)
        rate = tf.cast(self._rate, tf.float64) * correction / (1 - beta1**step)
        eps = tf.cast(rule.eps * correction, tf.float32)
        rate = tf.cast(rate, tf.float32)
        for variable, slots, gradient in self._decayed(gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=slots[0].handle,
                v=slots[1].handle,
                beta1_power=0.0,
                beta2_power=0.0,
                lr=rate,
                beta1=rule.beta1,
                beta2=rule.beta2,
                epsilon=eps,
                grad=gradient,
            )

    def _adagrad(self, rule: training.Adagrad, gradients: Sequence[Any]) -> None:
        for variable, slots, gradient in self._decayed(gradients):
            tf.raw_ops.ResourceApplyAdagradV2(
                var=variable.handle,
                accum=slots[0].handle,
                lr=self._rate,
                epsilon=rule.eps,
                grad=gradient,
            )

    def _rmsprop(self, rule: training.RMSprop, gradients: Sequence[Any]) -> None:
        """Not by the op of that name, which adds eps inside the root and has the learning rate inside the velocity."""
        for variable, (squares, *velocity), gradient in self._decayed(gradients):
            fresh = (1 - rule.rho) * tf.square(gradient)
            mean = squares.assign(rule.rho * squares + fresh, read_value=True)
            if velocity:
                step = gradient / (tf.sqrt(mean) + rule.eps)
                self._apply_momentum(variable, velocity[0], step, rule)
                continue
            # Adagrad's op, whose sum is not moved, is the rest of the rule.
            tf.raw_ops.ResourceApplyAdagradV2(
                var=variable.handle,
                accum=squares.handle,
                lr=self._rate,
                epsilon=rule.eps,
                grad=gradient,
                update_slots=False,
            )

    def _adadelta(self, rule: training.Adadelta, gradients: Sequence[Any]) -> None:
        for variable, slots, gradient in self._decayed(gradients):
            tf.raw_ops.ResourceApplyAdadelta(
                var=variable.handle,
                accum=slots[0].handle,
                accum_update=slots[1].handle,
                lr=self._rate,
                rho=rule.rho,
                epsilon=rule.eps,
                grad=gradient,
            )


def _zeros_like(variable: Any) -> Any:
    return tf.Variable(tf.zeros_like(variable), trainable=False)
