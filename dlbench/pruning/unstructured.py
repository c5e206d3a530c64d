"""Sets the weights of the smallest magnitude to zero, wherever they are: the network stays as it is, and so does what a
dense kernel computes of it (Han et al. 2015, "Learning both weights and connections for efficient neural networks")."""

from __future__ import annotations

import numpy as np

from dlbench.errors import UsageError
from dlbench.spec.workload import Weights, Workload


def zeroed(workload: Workload, weights: Weights, share: float) -> Weights:
    """The same weights with so large a `share` of each convolution's and linear layer's weight at zero: the smallest in
    magnitude, of equal ones the first. Biases and normalisations stay.

    Raises
    ------
    UsageError : a share that is none.
    """
    if not 0 < share < 1:
        raise UsageError(f"share {share:g} must be above 0 and below 1, such as 0.5")
    found = dict(weights)
    for parameter in workload.parameters:
        if parameter.role == "weight":
            flat = weights[parameter.name].ravel().copy()
            order = np.argsort(np.abs(flat), kind="stable")
            flat[order[: int(flat.size * share + 1e-9)]] = 0.0
            found[parameter.name] = flat.reshape(parameter.shape)
    return found


def share_of_zeros(workload: Workload, weights: Weights) -> float:
    """Of the values of convolutions' and linear layers' weights, how many are zero."""
    own = [weights[p.name] for p in workload.parameters if p.role == "weight"]
    return sum(int((each == 0).sum()) for each in own) / sum(each.size for each in own)
