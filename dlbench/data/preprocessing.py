"""From samples as they are stored to what a network is given: padding, scaling, normalisation.

Runner (resident batches) and worker (whole epochs) both do this, so it stands once, here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.data.order import augment, normalise
from dlbench.data.types import Drawn

_CROP_PADDING = 4


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How stored samples become inputs: zero padding in pixels on each side, then per-channel `mean` and `std` in
    units of full scale (empty: 0 and 1), and whether training samples are cropped and mirrored at random."""

    padding: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: bool = False

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Recipe:
        """The recipe that `dataclasses.asdict` made a table of."""
        return Recipe(table["padding"], tuple(table["mean"]), tuple(table["std"]), table["augment"])

    def inputs(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Network inputs (float32, N×C×H×W or N×F) from uint8 images N×C×H×W or float32 features N×F."""
        if samples.ndim == 2:
            return np.ascontiguousarray(samples, np.float32)
        margin = (self.padding, self.padding)
        channels = samples.shape[1]
        return normalise(
            np.pad(samples, ((0, 0), (0, 0), margin, margin)),
            self.mean or (0.0,) * channels,
            self.std or (1.0,) * channels,
        )

    def training_inputs(
        self,
        samples: npt.NDArray[Any] | Drawn,
        indices: npt.NDArray[np.int64],
        seed: int,
        epoch: int,
    ) -> npt.NDArray[np.float32]:
        """Inputs of the training samples at `indices`, augmented where the recipe says so."""
        chosen = samples[indices]
        if self.augment and chosen.ndim == 4:
            chosen = augment(chosen, indices, crop_padding=_CROP_PADDING, seed=seed, epoch=epoch)
        return self.inputs(chosen)


def input_shape(recipe: Recipe, samples: Sequence[int]) -> tuple[int, ...]:
    """Shape of one input made from stored samples of shape `samples` (N first)."""
    if len(samples) == 2:
        return (samples[1],)
    channels, height, width = samples[1:]
    return (channels, height + 2 * recipe.padding, width + 2 * recipe.padding)
