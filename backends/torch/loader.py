"""Batches by PyTorch's own loader: a `DataLoader`, whose worker processes make samples and collate them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dlbench.contract import TrainingBatches

_PREFETCH = 2
"""Batches that each worker prepares ahead: PyTorch's default."""

Key = tuple[int, int]


class _Samples(Dataset[Any]):
    """Samples by index and epoch."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches

    def __getitem__(self, key: Key) -> tuple[Any, Any]:
        return self._batches.sample(*key)


class _Order(Sampler[list[Key]]):
    """Which samples each batch has."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        for number in itertools.count():
            epoch, rows = self._batches.indices(number)
            yield [(int(row), epoch) for row in rows]


class Loader:
    """A `dlbench.contract.Loader` over a DataLoader with so many `workers`."""

    def __init__(self, batches: TrainingBatches, workers: int) -> None:
        self.name = f"torch DataLoader, {workers} worker{'s' if workers > 1 else ''}"
        self.ahead = _PREFETCH * workers
        loader = DataLoader(
            _Samples(batches),
            batch_sampler=_Order(batches),
            num_workers=workers,
            prefetch_factor=_PREFETCH,
        )
        self._batches: Iterator[Any] | None = iter(loader)

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        assert self._batches is not None
        inputs, targets = next(self._batches)
        return _array(inputs), _array(targets)

    def close(self) -> None:
        """Ends the workers."""
        # they end with the iterator
        self._batches = None


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = tensor.numpy()
    return array
