"""What a data set is once loaded, whatever it was loaded from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set; treated as read-only.

    Attributes
    ----------
    inputs : uint8 images N x C x H x W (0 to 255), or float32 features N x F.
    targets : int64 class numbers of shape (N,), or float32 values N x K.

    Raises
    ------
    ValueError : inputs and targets differ in number.
    """

    inputs: NDArray[np.uint8] | NDArray[np.float32]
    targets: NDArray[np.int64] | NDArray[np.float32]

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
    fingerprint : SHA-256 in hexadecimal over all contents, see `fingerprint`; results whose
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
        for array in (split.inputs, split.targets):
            little_endian = array.dtype.newbyteorder("<")
            digest.update(f"{little_endian.str}{array.shape};".encode("ascii"))
            digest.update(np.ascontiguousarray(array, dtype=little_endian).data)
    return digest.hexdigest()
