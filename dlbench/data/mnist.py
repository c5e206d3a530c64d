"""MNIST's four files in the IDX format, read without believing their headers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data.files import open_plain_or_gzip, read_at_most
from dlbench.errors import DataError

MAX_BYTES = 1 << 28

_UNSIGNED_BYTES = 0x08
_SIDE = 28
_CLASSES = 10
_STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_idx(path: Path, dimensions: int, *, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip (by its content, not its name).

    Parameters
    ----------
    path : the file.
    dimensions : how many dimensions it must have.
    max_bytes : the most data, in bytes, that a header may announce.

    Returns
    -------
    uint8, of the shape that the header states.

    Raises
    ------
    DataError : the file cannot be read, is no IDX file of that kind, or holds more or less data
        than its header states.
    """
    with open_plain_or_gzip(path) as stream:
        header = read_at_most(stream, 4 + 4 * dimensions - 1)
        shape = _shape(path, header, dimensions)
        expected = math.prod(shape)
        if expected > max_bytes:
            raise DataError(
                f"{path}: the header announces {_by(shape)} = {expected} bytes, "
                f"expected at most {max_bytes}"
            )
        # Up to one byte too many: reading to the end is also what checks gzip's own sum.
        content = read_at_most(stream, expected)
    if len(content) < expected:
        raise DataError(
            f"{path}: truncated, found {len(content)} bytes of data, "
            f"expected {_by(shape)} = {expected}"
        )
    if len(content) > expected:
        raise DataError(
            f"{path}: found more data than the {_by(shape)} = {expected} bytes that its header "
            "states"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def find_mnist(folders: Sequence[Path]) -> tuple[Path, Path, Path, Path] | None:
    """Find MNIST's four files, under either of their usual names, plain or gzip.

    Parameters
    ----------
    folders : where to look; all four files must be in one of them.

    Returns
    -------
    training images, training labels, test images, test labels; None where no folder has all.
    """
    for folder in folders:
        found = [_find(folder, stem) for stem in _STEMS]
        if None not in found:
            images, labels, test_images, test_labels = (path for path in found if path)
            return images, labels, test_images, test_labels
    return None


def missing_mnist(folders: Sequence[Path]) -> str:
    """Say what `find_mnist` looked for and where, for an error message."""
    best = min(folders, key=lambda folder: sum(not _find(folder, stem) for stem in _STEMS))
    absent = [f"{stem}-ubyte[.gz]" for stem in _STEMS if not _find(best, stem)]
    return f"{best}: {', '.join(absent)} not found"


def read_mnist(files: tuple[Path, Path, Path, Path]) -> tuple[Samples, Samples]:
    """Read MNIST's training and test samples.

    Parameters
    ----------
    files : training images, training labels, test images, test labels.

    Returns
    -------
    (images, labels) to train on and to test with: uint8 N x 1 x 28 x 28 and int64 (N,), 0 to 9.

    Raises
    ------
    DataError : a file is damaged, images are not 28 x 28, a label is above 9, or the numbers of
        images and labels differ.
    """
    return _read_part(files[0], files[1]), _read_part(files[2], files[3])


def _read_part(images_path: Path, labels_path: Path) -> Samples:
    images = read_idx(images_path, 3)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise DataError(f"{images_path}: found images {_by(images.shape[1:])}, expected 28 x 28")
    labels = read_idx(labels_path, 1)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: found {len(labels)} labels, expected {len(images)}, one for each "
            f"image of {images_path.name}"
        )
    if len(labels) and labels.max() >= _CLASSES:
        raise DataError(
            f"{labels_path}: found label {labels.max()} at {labels.argmax()}, expected 0 to 9"
        )
    return images.reshape(-1, 1, _SIDE, _SIDE), labels.astype(np.int64)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    magic = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if header[:4] != magic:
        raise DataError(
            f"{path}: starts with {header[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')} "
            f"(an IDX file of unsigned bytes in {dimensions} dimensions)"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path}: truncated, found {len(header)} bytes of header, expected {4 + 4 * dimensions}"
        )
    sizes = np.frombuffer(header, dtype=">u4", offset=4)
    return tuple(int(size) for size in sizes)


def _find(folder: Path, stem: str) -> Path | None:
    dotted = stem[::-1].replace("-", ".", 1)[::-1]
    for name in (f"{stem}-ubyte", f"{dotted}-ubyte"):
        for candidate in (folder / f"{name}.gz", folder / name):
            if candidate.is_file():
                return candidate
    return None


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
