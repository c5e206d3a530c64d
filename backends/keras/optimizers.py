"""The specification's optimizers as a Keras optimizer.

Keras' own differ: its SGD and RMSprop have the learning rate inside the velocity, its Adam adds eps before the
correction, its RMSprop and Adagrad add it inside the root (https://keras.io/api/optimizers/, Keras 3.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from dlbench.helpers import update_rules
from dlbench.spec.training import AdamW, Optimizer


class Rule(keras.optimizers.Optimizer):
    """One of them, over the model's variables in their order.

    Parameters
    ----------
    rule : the specification's.
    decays : the weight decay of each variable.
    """

    def __init__(self, rule: Optimizer, decays: Sequence[float]) -> None:
        super().__init__(learning_rate=rule.learning_rate)
        self._rule, self._decays = rule, tuple(decays)

    def build(self, variables: Sequence[Any]) -> None:
        """Makes what the rule keeps for each variable, zeros."""
        if self.built:
            return
        super().build(variables)
        count = update_rules.moments_of(self._rule)
        self._moments = [
            [self.add_variable_from_reference(variable, name=f"moment{n}") for n in range(count)]
            for variable in variables
        ]

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """One step of all variables, their gradients clipped together."""
        named = {str(number): gradient for number, gradient in enumerate(grads)}
        clipped = update_rules.clipped(self._rule, keras.ops, named)
        return super().apply(list(clipped.values()), trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        number = self._get_variable_index(variable)
        moments, decay = self._moments[number], self._decays[number]
        coupled = decay and not isinstance(self._rule, AdamW)
        if coupled:
            gradient = gradient + decay * variable
        steps = keras.ops.cast(self.iterations + 1, "float32")
        old = tuple(keras.ops.convert_to_tensor(moment) for moment in moments)
        step, new = update_rules.direction(self._rule, keras.ops, gradient, old, steps)
        for moment, value in zip(moments, new, strict=True):
            self.assign(moment, value)
        if decay and not coupled:
            step = step + decay * variable
        self.assign_sub(variable, learning_rate * step)

    def reset(self) -> None:
        """As before the first step."""
        self.iterations.assign(0)
        for moment in (each for moments in self._moments for each in moments):
            moment.assign(np.zeros(moment.shape, np.float32))
