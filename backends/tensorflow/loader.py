"""Batches by TensorFlow's own loader: a `tf.data` pipeline that maps samples in parallel, batches and prefetches them.

What makes a sample is dlbench's, in Python, as in every pipeline with a `numpy_function`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dlbench.contract import TrainingBatches

_PREFETCH = 2


class Loader:
    """A `dlbench.contract.Loader` over a pipeline that makes so many samples in parallel."""

    def __init__(self, batches: TrainingBatches, parallel: int) -> None:
        self.name = f"tf.data, {parallel} parallel call{'s' if parallel > 1 else ''}"
        # one more is being batched while so many wait
        self.ahead = _PREFETCH + 1
        _, rows = batches.indices(0)
        inputs, target = batches.sample(int(rows[0]), 0)
        kinds = (tf.float32, tf.as_dtype(np.asarray(target).dtype))

        def keys() -> Iterator[tuple[int, int]]:
            for number in itertools.count():
                epoch, rows = batches.indices(number)
                for row in rows:
                    yield int(row), epoch

        def sample(row: Any, epoch: Any) -> Any:
            made = tf.numpy_function(
                lambda *key: batches.sample(*map(int, key)), (row, epoch), kinds
            )
            for tensor, like in zip(made, (inputs, np.asarray(target)), strict=True):
                tensor.set_shape(like.shape)
            return made

        key = tf.TensorSpec((), tf.int64)
        pipeline = (
            tf.data.Dataset.from_generator(keys, output_signature=(key, key))
            .map(sample, num_parallel_calls=parallel, deterministic=True)
            .batch(len(rows), drop_remainder=True)
            .prefetch(_PREFETCH)
        )
        self._batches: Iterator[Any] | None = iter(pipeline)

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        assert self._batches is not None
        inputs, targets = next(self._batches)
        return inputs.numpy(), targets.numpy()

    def close(self) -> None:
        """Ends the pipeline."""
        self._batches = None
