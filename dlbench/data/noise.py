"""Random inputs and targets of any shape: for networks that no data set here fits.

There is nothing to learn in it; it is for timing and checking only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.types import Dataset, Split, fingerprint
from dlbench.rng import integers, uniform

NAME = "noise"
_SIZES = {"train": 2_048, "validation": 256, "test": 256}


def draw_noise(
    input_shape: tuple[int, ...], classes: int, target_shape: tuple[int, ...]
) -> Dataset:
    """Uniform bytes C×H×W, or uniform features of unit variance, in three parts.

    Parameters
    ----------
    input_shape : of one sample as it is stored.
    classes : labels below this; 0 for targets that are values in ±1 of shape `target_shape`.
    """
    parts = []
    for part, samples in _SIZES.items():
        shape = (samples, *input_shape)
        if len(input_shape) == 3:
            flat = integers(math.prod(shape), 256, 0, NAME, part, "inputs")
            inputs: NDArray[Any] = flat.reshape(shape).astype(np.uint8)
        else:
            inputs = uniform(shape, math.sqrt(3), 0, NAME, part, "inputs")
        if classes:
            targets: NDArray[Any] = integers(samples, classes, 0, NAME, part, "targets")
        else:
            targets = uniform((samples, *target_shape), 1.0, 0, NAME, part, "targets")
        parts.append(Split(inputs, targets))
    train, validation, test = parts
    return Dataset(
        name=NAME,
        source="noise: random inputs of the network's shape, nothing to learn",
        fingerprint=fingerprint(train, validation, test),
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        is_stand_in=True,
    )
