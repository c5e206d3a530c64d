"""CIFAR-10 in its binary version, from a folder or straight from the archive.

The pickled version is never read: unpickling a download runs whatever code it holds.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from dlbench.data.files import OTHERWISE, PICKLED, Readable, open_plain_or_gzip, read_at_most
from dlbench.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
RECORDS_PER_FILE = 10_000

_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_NAMES = (*_TRAIN, _TEST)
EXPECTED = (ARCHIVE, *_NAMES)
"""Names of files that are read."""
UNREAD = {
    "cifar-10-batches-py": PICKLED,
    "cifar-10-python.tar.gz": PICKLED,
    "data_batch_1": PICKLED,
    "cifar-10-batches-mat": OTHERWISE,
    "cifar-10-matlab.tar.gz": OTHERWISE,
    "train-*.parquet": OTHERWISE,
}
"""Other forms that people have it in, and why they are not read."""
_CLASSES = 10
_IMAGE_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_MAX_FILE_BYTES = RECORDS_PER_FILE * _RECORD_BYTES
_MAX_ARCHIVE_BYTES = 1 << 28
_PIECE_BYTES = 1 << 20

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]


def find_cifar10(folders: Sequence[Path]) -> Path | None:
    """Find CIFAR-10's binary version.

    Parameters
    ----------
    folders : where to look: in each, for the six .bin files, for a `cifar-10-batches-bin` folder
        that holds them, and for `cifar-10-binary.tar.gz`.

    Returns
    -------
    The folder that holds the six files, or the archive; None where neither is found.
    """
    for folder in folders:
        for place in (folder, folder / _FOLDER):
            if all((place / name).is_file() for name in _NAMES):
                return place
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE
    return None


def missing_cifar10(folders: Sequence[Path]) -> str:
    """Say what `find_cifar10` looked for and where, for an error message."""
    return (
        f"{folders[0]}: neither {ARCHIVE} nor {_NAMES[0]} to {_TRAIN[-1]} with {_TEST} found "
        "(the binary version)"
    )


def read_cifar10(place: Path) -> tuple[Samples, Samples]:
    """Read CIFAR-10's training and test samples.

    Parameters
    ----------
    place : a folder with the six .bin files, or the archive (.tar.gz or .tar).

    Returns
    -------
    (images, labels) to train on and to test with: uint8 N x 3 x 32 x 32 and int64 (N,), 0 to 9.

    Raises
    ------
    DataError : a file is missing, damaged, too short, too long, or has a label above 9; the five
        training files differ in size.
    """
    contents = _read_folder(place) if place.is_dir() else _read_archive(place)
    parts = [_decode(f"{place / name}", contents[name]) for name in _NAMES]
    counts = [len(labels) for _, labels in parts[: len(_TRAIN)]]
    if len(set(counts)) != 1:
        raise DataError(
            f"{place}: {_TRAIN[0]} to {_TRAIN[-1]} hold {counts} records, expected equally many "
            f"({RECORDS_PER_FILE} in the original)"
        )
    images = np.concatenate([images for images, _ in parts[: len(_TRAIN)]])
    labels = np.concatenate([labels for _, labels in parts[: len(_TRAIN)]])
    return (images, labels), parts[-1]


def _read_folder(folder: Path) -> dict[str, bytes]:
    contents = {}
    for name in _NAMES:
        with open_plain_or_gzip(folder / name) as stream:
            contents[name] = read_at_most(stream, _MAX_FILE_BYTES)
    return contents


def _read_archive(path: Path) -> dict[str, bytes]:
    """Read the six members by name; nothing is extracted, no other member is looked at."""
    contents: dict[str, bytes] = {}
    with open_plain_or_gzip(path) as stream:
        bounded = _Bounded(stream, path)
        try:
            # A stream mode asks for nothing but read().
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|") as archive:
                for member in archive:
                    folder, _, name = member.name.removeprefix("./").rpartition("/")
                    if folder not in ("", _FOLDER) or name not in _NAMES or name in contents:
                        continue
                    unpacked = archive.extractfile(member) if member.isfile() else None
                    if unpacked is None:
                        raise DataError(f"{path}: {member.name} is no plain file")
                    contents[name] = read_at_most(unpacked, _MAX_FILE_BYTES)
            # An archive ends before its file does, and gzip checks its sum at the very end.
            while bounded.read(_PIECE_BYTES):
                pass
        except (tarfile.TarError, ValueError, OverflowError) as error:
            # tarfile lets ValueError and its kind escape for headers that make no sense.
            raise DataError(f"{path}: damaged archive ({error}): get it again") from error
    absent = [name for name in _NAMES if name not in contents]
    if absent:
        raise DataError(
            f"{path}: {', '.join(absent)} not in the archive, expected the binary version of "
            "CIFAR-10"
        )
    return contents


class _Bounded:
    """A stream that refuses to give more than the archive can honestly hold."""

    def __init__(self, stream: Readable, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._left_bytes = _MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise DataError(
                f"{self._path}: unpacks to more than {_MAX_ARCHIVE_BYTES} bytes, "
                "expected CIFAR-10's 184 million"
            )
        return piece


def _decode(where: str, content: bytes) -> Samples:
    if not content or len(content) % _RECORD_BYTES or len(content) > _MAX_FILE_BYTES:
        found = f"more than {_MAX_FILE_BYTES}" if len(content) > _MAX_FILE_BYTES else len(content)
        raise DataError(
            f"{where}: found {found} bytes, expected a whole number of {_RECORD_BYTES}-byte "
            f"records, {RECORDS_PER_FILE} at most"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= _CLASSES:
        raise DataError(
            f"{where}: found label {labels.max()} in record {labels.argmax()}, expected 0 to 9"
        )
    return records[:, 1:].reshape(-1, *_IMAGE_SHAPE), labels
