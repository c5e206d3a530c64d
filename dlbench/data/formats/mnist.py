"""MNIST's four files in the IDX format, or Keras' one ``mnist.npz``, read without believing their headers.

Fashion-MNIST and KMNIST are the same files with other images in them. The four may also lie in a zip that was not
unpacked.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data import npz
from dlbench.data.files import OTHERWISE, PICKLED, open_regular, plain_or_gzip, read_at_most
from dlbench.data.formats.archives import read_members
from dlbench.errors import DataError

MAX_BYTES = 1 << 28

_UNSIGNED_BYTES = 0x08
_SIDE = 28
_CLASSES = 10
_STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_ONE_FILE = "mnist.npz"
_ARRAYS = {"x_train": 3, "y_train": 1, "x_test": 3, "y_test": 1}
EXPECTED = (
    _ONE_FILE,
    "train-*-ubyte*",
    "train-*.idx?-ubyte*",
    "t10k-*-ubyte*",
    "t10k-*.idx?-ubyte*",
)
"""Names of files that are read, as patterns."""
UNREAD = {
    "mnist.pkl*": PICKLED,
    "processed/training.pt": PICKLED,
    "training.pt": PICKLED,
    "mnist_train.csv*": OTHERWISE,
    "mnist*.mat": OTHERWISE,
    "train-*.parquet": OTHERWISE,
    "mnist_784*": OTHERWISE,
}
"""Other forms that people have it in, and why they are not read."""
ZIPS = ("mnist.zip", "MNIST.zip")
FASHION_ZIPS = ("fashion-mnist.zip", "fashionmnist.zip", "FashionMNIST.zip")
KMNIST_ZIPS = ("kmnist.zip", "KMNIST.zip")
"""Names of zips in which the four files lie."""
KNOWN = frozenset(
    {
        # the four files unpacked, and what Keras downloads
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    }
)
"""SHA-256 of files that are MNIST itself, besides those that a fetch gets."""
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
    with open_regular(path) as raw:
        return _idx(str(path), raw, dimensions, max_bytes)


def _idx(where: str, raw: IO[bytes], dimensions: int, max_bytes: int) -> NDArray[np.uint8]:
    with plain_or_gzip(where, raw) as stream:
        header = read_at_most(stream, 4 + 4 * dimensions - 1)
        shape = _shape(where, header, dimensions)
        expected = math.prod(shape)
        if expected > max_bytes:
            raise DataError(
                f"{where}: the header announces {_by(shape)} = {expected} bytes, "
                f"expected at most {max_bytes}"
            )
        # Up to one byte too many: reading to the end is also what checks gzip's own sum.
        content = read_at_most(stream, expected)
    if len(content) < expected:
        raise DataError(
            f"{where}: truncated, found {len(content)} bytes of data, "
            f"expected {_by(shape)} = {expected}"
        )
    if len(content) > expected:
        raise DataError(
            f"{where}: found more data than the {_by(shape)} = {expected} bytes that its header "
            "states"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def find_mnist(
    folders: Sequence[Path], zips: Sequence[str] = ZIPS, one_file: str = _ONE_FILE
) -> Sequence[Path]:
    """Find MNIST's four files, under either of their usual names, plain or gzip, or one that holds them all.

    Parameters
    ----------
    folders : where to look; all four files must be in one of them.
    zips : names of zips in which the four may lie.
    one_file : the name of a ``.npz`` as Keras has it.

    Returns
    -------
    training images, training labels, test images, test labels, or the one file with all of them;
    nothing where no folder has all.
    """
    for folder in folders:
        found = [path for stem in _STEMS if (path := _find(folder, stem))]
        if len(found) == len(_STEMS):
            return found
        for name in (one_file, *zips):
            if (folder / name).is_file():
                return [folder / name]
    return ()


def missing_mnist(folders: Sequence[Path]) -> str:
    """Say what `find_mnist` looked for and where, for an error message."""
    best = min(folders, key=lambda folder: sum(not _find(folder, stem) for stem in _STEMS))
    absent = [f"{stem}-ubyte[.gz]" for stem in _STEMS if not _find(best, stem)]
    return f"{best}: {', '.join(absent)} not found"


def read_mnist(files: Sequence[Path]) -> tuple[Samples, Samples]:
    """Read MNIST's training and test samples.

    Parameters
    ----------
    files : as `find_mnist` gives them.

    Returns
    -------
    (images, labels) to train on and to test with: uint8 N x 1 x 28 x 28 and int64 (N,), 0 to 9.

    Raises
    ------
    DataError : a file is damaged, images are not 28 x 28, a label is above 9, or the numbers of
        images and labels differ.
    """
    if len(files) == 1 and files[0].suffix == ".zip":
        named = _read_zip(files[0])
    elif len(files) == 1:
        arrays = npz.read_npz(files[0], _ARRAYS, MAX_BYTES)
        named = [(f"{files[0]}: {name}", array) for name, array in arrays.items()]
    else:
        named = [
            (str(path), read_idx(path, dimensions))
            for path, dimensions in zip(files, _ARRAYS.values(), strict=True)
        ]
    return _part(*named[0], *named[1]), _part(*named[2], *named[3])


def _read_zip(path: Path) -> list[tuple[str, NDArray[Any]]]:
    contents = read_members(path, _stem_of, MAX_BYTES)
    absent = [stem for stem in _STEMS if stem not in contents]
    if absent:
        raise DataError(f"{path}: {', '.join(f'{stem}-ubyte' for stem in absent)} not in it")
    named = []
    for stem, dimensions in zip(_STEMS, _ARRAYS.values(), strict=True):
        where = f"{path}: {stem}-ubyte"
        named.append((where, _idx(where, io.BytesIO(contents[stem]), dimensions, MAX_BYTES)))
    return named


def _stem_of(member: str) -> str | None:
    """Which of the four files an archive's member is, whatever folder it is in."""
    name = member.rpartition("/")[2].removesuffix(".gz")
    # macOS puts files of its own into archives
    if member.startswith("__MACOSX"):
        return None
    return next((stem for stem in _STEMS if name in _names(stem)), None)


def _part(
    images_from: str, images: NDArray[Any], labels_from: str, labels: NDArray[Any]
) -> Samples:
    if images.shape[1:] != (_SIDE, _SIDE) or images.dtype != np.uint8:
        found = f"{_by(images.shape[1:])} of {images.dtype}"
        raise DataError(f"{images_from}: found images {found}, expected 28 x 28 of uint8")
    if len(labels) != len(images):
        raise DataError(
            f"{labels_from}: found {len(labels)} labels, expected {len(images)}, one for each image"
        )
    wrong = (labels < 0) | (labels >= _CLASSES)
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(f"{labels_from}: found label {labels[place]} at {place}, expected 0 to 9")
    return images.reshape(-1, 1, _SIDE, _SIDE), labels.astype(np.int64)


def _shape(where: str, header: bytes, dimensions: int) -> tuple[int, ...]:
    magic = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if header[:4] != magic:
        raise DataError(
            f"{where}: starts with {header[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')} "
            f"(an IDX file of unsigned bytes in {dimensions} dimensions)"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{where}: truncated, found {len(header)} bytes of header, expected {4 + 4 * dimensions}"
        )
    sizes = np.frombuffer(header, dtype=">u4", offset=4)
    return tuple(int(size) for size in sizes)


def _find(folder: Path, stem: str) -> Path | None:
    for name in _names(stem):
        # archives are unpacked into folders of the same name
        for candidate in (folder / f"{name}.gz", folder / name, folder / name / name):
            if candidate.is_file():
                return candidate
    return None


def _names(stem: str) -> tuple[str, str]:
    dotted = stem[::-1].replace("-", ".", 1)[::-1]
    return f"{stem}-ubyte", f"{dotted}-ubyte"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
