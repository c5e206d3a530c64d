"""The 1,797 real handwritten digits that come with scikit-learn: real data without a network.

They are 8 x 8 pixels; scaling them to 28 x 28 lets the MNIST networks train on them unchanged.
"""

from __future__ import annotations

import importlib

import numpy as np
from numpy.typing import NDArray

from dlbench.errors import DataError
from dlbench.rng import permutation

_CLASSES = 10
_FROM_SIDE = 8
_SIDE = 28
_FULL_SCALE = 16
_STEPS = 14


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read scikit-learn's digits, scaled up.

    Returns
    -------
    images, uint8 1797 x 1 x 28 x 28 (0 to 255), and labels, int64 (1797,), 0 to 9.

    Raises
    ------
    DataError : scikit-learn is not installed.
    """
    try:
        # By name: the package is optional, and its absence must not stop this module's import.
        bundle = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise DataError(
            "the digits come with scikit-learn, which cannot be imported here "
            f"({error}): pip install 'dlbench[data]'"
        ) from error
    small = np.asarray(bundle.images).astype(np.int64)
    return scale_up(small)[:, None], np.asarray(bundle.target).astype(np.int64)


def scale_up(small: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Scale 8 x 8 images of levels 0 to 16 to 28 x 28 images of levels 0 to 255.

    Bilinear between pixel centres, in integers, so that no machine rounds differently: output
    pixel i lies at (4 i - 5) / 14 input pixels, held within the image.

    Parameters
    ----------
    small : integers 0 to 16, N x 8 x 8.

    Returns
    -------
    uint8, N x 28 x 28.
    """
    position = np.clip(4 * np.arange(_SIDE) - 5, 0, _STEPS * (_FROM_SIDE - 1))
    left = np.minimum(position // _STEPS, _FROM_SIDE - 2)
    weights = np.zeros((_SIDE, _FROM_SIDE), dtype=np.int64)
    rows = np.arange(_SIDE)
    weights[rows, left + 1] = position - _STEPS * left
    weights[rows, left] = _STEPS - weights[rows, left + 1]
    total = weights @ small @ weights.T
    full = _FULL_SCALE * _STEPS**2
    return ((total * 255 + full // 2) // full).astype(np.uint8)


def stratified_parts(
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Part samples 70 : 10 : 20 within every class, the same way on every machine.

    Parameters
    ----------
    labels : class numbers 0 to 9, shape (N,).

    Returns
    -------
    indices to train on, to validate with, to test with: int64, ascending, every index once.
    """
    train, validation, test = [], [], []
    for label in range(_CLASSES):
        members = np.flatnonzero(labels == label)
        shuffled = members[permutation(len(members), 0, "digits parts", label)]
        first = (len(members) * 2 + 5) // 10
        second = first + (len(members) + 5) // 10
        test.append(shuffled[:first])
        validation.append(shuffled[first:second])
        train.append(shuffled[second:])
    merged = [np.sort(np.concatenate(part)).astype(np.int64) for part in (train, validation, test)]
    return merged[0], merged[1], merged[2]
