"""The batches of a streamed training: what a loader is to deliver, kept where workers read it.

Samples lie in a file as they are stored, unless each has a file of its own: then they are decoded again each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.data import npz
from dlbench.data.formats.image_folder import Images, image_shape
from dlbench.data.order import batch_indices
from dlbench.data.preprocessing import Recipe
from dlbench.data.types import Drawn, Split

_ROWS = 256


class Batches:
    """The batches of a training part, one after the other without end; a `dlbench.contract.TrainingBatches`.

    Parameters
    ----------
    samples : as they are stored, N×C×H×W or N×F.
    targets : labels (int64) or values (float32) of each.
    recipe : how they become inputs.
    batch : samples a batch, N at most.
    seed : of order and augmentation.
    """

    def __init__(
        self,
        samples: npt.NDArray[Any] | Drawn,
        targets: npt.NDArray[Any],
        recipe: Recipe,
        batch: int,
        seed: int,
    ) -> None:
        self.samples, self.targets = samples, targets
        self.recipe, self._batch, self._seed = recipe, batch, seed
        self._of_epoch = functools.lru_cache(2)(
            functools.partial(batch_indices, len(samples), batch, seed)
        )

    def __reduce__(self) -> tuple[Callable[..., Batches], tuple[Any, ...]]:
        given = self.samples, self.targets, self.recipe, self._batch, self._seed
        return Batches, given

    def indices(self, number: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The epoch of a batch, from 0, and which samples it has, in order."""
        epoch, place = divmod(number, len(self.samples) // self._batch)
        return epoch, self._of_epoch(epoch)[place]

    def sample(
        self, index: int, epoch: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any] | np.generic]:
        """A sample's input and its target."""
        one = np.asarray([index])
        return self.recipe.training_inputs(self.samples, one, self._seed, epoch)[0], self.targets[
            index
        ]

    def batch(self, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Inputs and targets of a whole batch."""
        epoch, rows = self.indices(number)
        inputs = self.recipe.training_inputs(self.samples, rows, self._seed, epoch)
        return inputs, self.targets[rows]

    def of_first(self, samples: int) -> Batches:
        """The batches of its first samples alone."""
        chosen: npt.NDArray[Any] | Drawn
        if isinstance(self.samples, Images):
            chosen = Images(self.samples.files[:samples], self.samples.one)
        else:
            chosen = np.asarray(self.samples[:samples])
        return Batches(chosen, self.targets[:samples], self.recipe, self._batch, self._seed)


def write(file: Path, part: Split) -> None:
    """Writes what `read` reads of a training part."""
    with npz.writing(file) as written:
        targets = np.asarray(part.targets)
        written.add("targets", targets.shape, targets.dtype, [targets])
        if isinstance(part.inputs, Images):
            names = np.array([str(path.absolute()) for path in part.inputs.files])
            written.add("files", names.shape, names.dtype, [names])
            written.add("shape", (3,), np.int64, [np.array(part.inputs.one, np.int64)])
            return
        rows = np.array_split(np.arange(len(part)), -(-len(part) // _ROWS))
        pieces = (part.inputs[each] for each in rows)
        written.add("samples", part.inputs.shape, part.inputs.dtype, pieces)


def read(file: Path, recipe: Recipe, batch: int, seed: int) -> Batches:
    """The batches of what was written."""
    with np.load(file, allow_pickle=False) as arrays:
        targets = arrays["targets"]
        samples: npt.NDArray[Any] | Drawn
        if "files" in arrays:
            shape = image_shape([int(size) for size in arrays["shape"]])
            samples = Images([Path(str(name)) for name in arrays["files"]], shape)
        else:
            samples = arrays["samples"]
    return Batches(samples, targets, recipe, batch, seed)
