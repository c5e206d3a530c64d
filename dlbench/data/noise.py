"""Random inputs and targets of any shape: for networks that no data set here fits.

There is nothing to learn in it; it is for timing and checking only.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.types import Dataset, Drawn, Split
from dlbench.rng import integers, uniform

NAME = "noise"
SIZES = {"train": 2_048, "validation": 256, "test": 256}
"""Samples of each part."""


def draw_noise(
    input_shape: tuple[int, ...], classes: int, target_shape: tuple[int, ...]
) -> Dataset:
    """Uniform bytes C×H×W, or uniform features of unit variance, in three parts; each sample is drawn where it is used.

    The fingerprint says what is drawn, by shapes and number of classes, which all values follow from.

    Parameters
    ----------
    input_shape : of one sample as it is stored.
    classes : labels below this; 0 for targets that are values in ±1 of shape `target_shape`.
    """
    parts = []
    for part, samples in SIZES.items():
        if len(input_shape) == 3:
            inputs = _bytes(samples, input_shape, part)
        else:
            inputs = _values(samples, input_shape, math.sqrt(3), part, "inputs")
        targets: NDArray[Any] | Drawn
        if classes:
            targets = integers(samples, classes, 0, NAME, part, "targets")
        else:
            targets = _values(samples, target_shape, 1.0, part, "targets")
        parts.append(Split(inputs, targets))
    train, validation, test = parts
    drawn = f"{NAME} {SIZES} {input_shape} {classes or target_shape}"
    return Dataset(
        name=NAME,
        source="noise: random inputs of the network's shape, nothing to learn",
        fingerprint=hashlib.sha256(drawn.encode()).hexdigest(),
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        is_stand_in=True,
    )


def _bytes(samples: int, shape: tuple[int, ...], part: str) -> Drawn:
    size = math.prod(shape)

    def draw(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        drawn = np.empty((len(rows), size), np.uint8)
        for row, values in zip(rows, drawn, strict=True):
            values[:] = integers(size, 256, 0, NAME, part, "inputs", start=int(row) * size)
        return drawn

    return Drawn((samples, *shape), np.uint8, draw)


def _values(samples: int, shape: tuple[int, ...], bound: float, part: str, what: str) -> Drawn:
    size = math.prod(shape)

    def draw(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        drawn = np.empty((len(rows), size), np.float32)
        for row, values in zip(rows, drawn, strict=True):
            values[:] = uniform((size,), bound, 0, NAME, part, what, start=int(row) * size)
        return drawn

    return Drawn((samples, *shape), np.float32, draw)
