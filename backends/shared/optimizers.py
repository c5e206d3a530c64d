"""What backends whose update rules are written here have to know of an optimizer."""

from __future__ import annotations

from dlbench.spec.training import Adagrad, Optimizer, RMSprop, Sgd


def state_vectors(optimizer: Optimizer) -> int:
    """How many numbers it keeps for each weight: a velocity, a sum of squares, both, or two moments."""
    if isinstance(optimizer, Sgd):
        return int(optimizer.momentum > 0)
    if isinstance(optimizer, RMSprop):
        return 1 + int(optimizer.momentum > 0)
    return 1 if isinstance(optimizer, Adagrad) else 2
