"""The specification's optimizers on MXNet's arrays: its own operators where they are the same rule or can be made so by
their arguments.

Its SGD has the learning rate inside the velocity: where the rate changes, the velocity is brought to the new one (Goyal
et al. 2017, equation 10). Its Adam has no correction, which goes into the rate, and adds eps before it, so that eps is
made as much smaller. Its AdaGrad and RMSprop add eps inside the root and its AdaDelta has no rate; these three are
the rules of `dlbench.helpers.update_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np

from dlbench.helpers import update_rules
from dlbench.spec.training import Adam, AdamW, Optimizer, Sgd

nd = mx.nd


class Rule:
    """An optimizer over parameters.

    Parameters
    ----------
    rule : the specification's.
    trained : the array of each parameter and that of its gradient, by name.
    """

    def __init__(self, rule: Optimizer, trained: Mapping[str, tuple[Any, Any]]) -> None:
        self._rule = rule
        self._weights = {name: weight for name, (weight, _) in trained.items()}
        self._gradients = {name: gradient for name, (_, gradient) in trained.items()}
        self._decays = {name: rule.decay_of(name) for name in trained}
        self.reset()

    def reset(self) -> None:
        """As before the first step."""
        count = update_rules.moments_of(self._rule)
        self._steps = 0
        self._moments = {
            name: tuple(nd.zeros_like(weight) for _ in range(count))
            for name, weight in self._weights.items()
        }
        self._unit = self._rule.learning_rate
        """Of the velocity: the rate that it has inside it."""

    def step(self, rate: float) -> None:
        """Moves every parameter by its gradient."""
        self._steps += 1
        gradients = update_rules.clipped(self._rule, nd, self._gradients)
        match self._rule:
            case Sgd(momentum=0):
                apply = self._sgd
            case Sgd():
                self._adopt(rate)
                apply = self._sgd_with_velocity if rate else self._velocity_alone
            case Adam() | AdamW():
                apply = self._adam
            case _:
                apply = self._pinned
        for name, gradient in gradients.items():
            apply(name, self._weights[name], gradient, rate)

    def _sgd(self, name: str, weight: Any, gradient: Any, rate: float) -> None:
        nd.sgd_update(weight, gradient, lr=rate, wd=self._decays[name], out=weight)

    def _adopt(self, rate: float) -> None:
        """Brings velocities to another rate; at none they keep the one that they have."""
        if rate and rate != self._unit:
            for (velocity,) in self._moments.values():
                velocity *= rate / self._unit
            self._unit = rate

    def _sgd_with_velocity(self, name: str, weight: Any, gradient: Any, rate: float) -> None:
        assert isinstance(self._rule, Sgd)
        (velocity,), decay = self._moments[name], self._decays[name]
        of = {"lr": rate, "momentum": self._rule.momentum, "out": weight}
        if not self._rule.nesterov:
            nd.sgd_mom_update(weight, gradient, velocity, wd=decay, **of)
            return
        # whose own decay is not in the velocity as in the step
        decayed = gradient + decay * weight if decay else gradient
        nd.nag_mom_update(weight, decayed, velocity, **of)

    def _velocity_alone(self, name: str, weight: Any, gradient: Any, rate: float) -> None:
        """A step at the rate 0."""
        assert isinstance(self._rule, Sgd)
        (velocity,) = self._moments[name]
        velocity *= self._rule.momentum
        velocity -= self._unit * (gradient + self._decays[name] * weight)

    def _adam(self, name: str, weight: Any, gradient: Any, rate: float) -> None:
        rule, decay = self._rule, self._decays[name]
        assert isinstance(rule, Adam | AdamW)
        root = math.sqrt(self._weight_of(rule.beta2))
        of = {
            "lr": rate * root / self._weight_of(rule.beta1),
            "beta1": rule.beta1,
            "beta2": rule.beta2,
            "epsilon": rule.eps * root,
            "out": weight,
        }
        if isinstance(rule, Adam):
            nd.adam_update(weight, gradient, *self._moments[name], wd=decay, **of)
            return
        # its decay is not multiplied with its rate
        one = nd.ones(1)
        decayed = {"wd": rate * decay, "eta": 1.0}
        nd.contrib.adamw_update(weight, gradient, *self._moments[name], one, **decayed, **of)

    def _weight_of(self, beta: float) -> float:
        """1 − βᵗ, the weight that a moment has gathered by this step: of the β that MXNet has, in float32, since 1 − β
        loses digits."""
        return 1.0 - float(np.float32(beta)) ** self._steps

    def _pinned(self, name: str, weight: Any, gradient: Any, rate: float) -> None:
        if decay := self._decays[name]:
            gradient = gradient + decay * weight
        moments, steps = self._moments[name], self._steps
        step, self._moments[name] = update_rules.direction(self._rule, nd, gradient, moments, steps)
        weight -= rate * step
