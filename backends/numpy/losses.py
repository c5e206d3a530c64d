"""Losses as the spec pins them: the mean over the batch, and its gradient, in one pass over the logits.

Value and gradient sit together because they share nearly all of their arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec.training import CrossEntropy, Loss

Array = npt.NDArray[np.float32]


def loss_and_gradient(loss: Loss, outputs: Array, targets: npt.NDArray[Any]) -> tuple[Array, Array]:
    """The mean loss (a 0-d array) and its gradient with respect to `outputs`.

    `targets` are labels N (integers) for cross-entropy, values in the shape of `outputs` otherwise.
    """
    if isinstance(loss, CrossEntropy):
        return _cross_entropy(outputs, targets, loss.label_smoothing)
    return _mean_squared_error(outputs, targets.reshape(outputs.shape))


def _cross_entropy(
    logits: Array, labels: npt.NDArray[Any], smoothing: float
) -> tuple[Array, Array]:
    rows = np.arange(len(logits))
    # Shifted by the row's maximum so that no exponential overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    chosen = shifted[rows, labels]
    if smoothing:
        chosen = np.float32(1 - smoothing) * chosen + np.float32(smoothing) * shifted.mean(axis=1)
    value = np.mean(np.log(sums[:, 0]) - chosen, dtype=np.float32)
    gradient = exponentials / sums
    gradient[rows, labels] -= np.float32(1 - smoothing)
    if smoothing:
        gradient -= np.float32(smoothing / logits.shape[1])
    gradient /= np.float32(len(logits))
    return np.asarray(value), gradient


def _mean_squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    difference = outputs - targets
    value = np.mean(np.square(difference), dtype=np.float32)
    difference *= np.float32(2 / difference.size)
    return np.asarray(value), difference
