"""What a data set is once loaded, whatever it was loaded from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Drawn:
    """An array that is drawn where it is indexed: ``drawn[indices]`` costs what these rows cost.

    Parameters
    ----------
    shape : as of the whole array.
    dtype : of its elements.
    draw : makes the rows with these numbers (in any order, each as often as it is named).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        draw: Callable[[NDArray[np.int64]], NDArray[Any]],
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._draw = draw

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: NDArray[np.int64] | slice) -> NDArray[Any]:
        """Draw the rows that an array's `key` means."""
        rows = np.arange(len(self))[key]
        return self._draw(rows.ravel()).reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Draw everything."""
        return self[:].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set; treated as read-only.

    Attributes
    ----------
    inputs : uint8 images N x C x H x W (0 to 255), or float32 features N x F.
    targets : int64 class numbers of shape (N,), or float32 values N x K.

    Both are arrays, or are drawn where they are indexed.

    Raises
    ------
    ValueError : inputs and targets differ in number.
    """

    inputs: NDArray[Any] | Drawn
    targets: NDArray[Any] | Drawn

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in its three parts; only `validation` may steer a run.

    Attributes
    ----------
    name : the name it was asked for by, for example ``mnist``.
    source : one line for people: where the samples came from.
    fingerprint : SHA-256 in hexadecimal over all contents, as `fingerprint` has it; results whose
        fingerprints differ come from different data and are not compared.
    classes : number of classes, 0 for regression.
    train, validation, test : the parts.
    is_stand_in : whether the samples were made up because (or although) real ones exist.
    """

    name: str
    source: str
    fingerprint: str
    classes: int
    train: Split
    validation: Split
    test: Split
    is_stand_in: bool


def fingerprint(*splits: Split) -> str:
    """Hash the contents of splits, in order.

    Types, shapes and values count; memory layout and byte order do not.

    Returns
    -------
    SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for split in splits:
        for array in map(np.asarray, (split.inputs, split.targets)):
            little_endian = array.dtype.newbyteorder("<")
            digest.update(f"{little_endian.str}{array.shape};".encode("ascii"))
            digest.update(np.ascontiguousarray(array, dtype=little_endian).data)
    return digest.hexdigest()
