"""CIFAR-10 and CIFAR-100 in their binary and their Python version, from a folder or straight from the archive.

The Python version is pickled; it is read by a reader that runs nothing of what it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data.files import OTHERWISE, open_plain_or_gzip, read_at_most
from dlbench.data.formats.archives import read_members
from dlbench.data.formats.pickles import read_pickle
from dlbench.errors import DataError

_IMAGE_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclasses.dataclass(frozen=True)
class Form:
    """One version of a data set: the files of its training and its test samples, and how one of them is decoded.

    Attributes
    ----------
    version : what people call it.
    folder : what archives are unpacked into.
    archives : their names.
    train, test : names of files.
    classes : the number of classes.
    records : the most that a file has.
    record_bytes : the most that one of them takes.
    decode : a file's content to images and labels, given what to call it in errors.
    needs_folder : whether the files' names are too common to count anywhere but in `folder`.
    """

    version: str
    folder: str
    archives: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    classes: int
    records: int
    record_bytes: int
    decode: Callable[[str, bytes, Form], Samples]
    needs_folder: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        return (*self.train, self.test)

    @property
    def max_bytes(self) -> int:
        """The most that a file has."""
        return self.records * self.record_bytes

    def lies_in(self, place: Path) -> bool:
        """Whether a folder holds all its files."""
        there = all((place / name).is_file() for name in self.names)
        return there and (not self.needs_folder or place.absolute().name == self.folder)

    def key(self, member: str) -> str | None:
        """Which of its files an archive's member is."""
        folder, _, name = member.removeprefix("./").rpartition("/")
        return name if folder in ("", self.folder) and name in self.names else None


def find_cifar(forms: Sequence[Form], folders: Sequence[Path]) -> Path | None:
    """Find CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    forms : `CIFAR10` or `CIFAR100`; the first that is there counts.
    folders : where to look: in each, for the files, for the folder that holds them, and for an archive.

    Returns
    -------
    The folder that holds the files, or the archive; None where neither is found.
    """
    for folder in folders:
        for form in forms:
            for place in (folder, folder / form.folder):
                if form.lies_in(place):
                    return place
            for archive in form.archives:
                if (folder / archive).is_file():
                    return folder / archive
    return None


def missing_cifar(forms: Sequence[Form], folders: Sequence[Path]) -> str:
    """Say what `find_cifar` looked for and where, for an error message."""
    looked = (f"{form.archives[0]} or {form.folder} ({form.version})" for form in forms)
    return f"{folders[0]}: neither {', nor '.join(looked)} found"


def read_cifar(forms: Sequence[Form], place: Path) -> tuple[Samples, Samples]:
    """Read the training and test samples.

    Parameters
    ----------
    forms : as for `find_cifar`.
    place : as it gives it.

    Returns
    -------
    (images, labels) to train on and to test with: uint8 N x 3 x 32 x 32 and int64 (N,), from 0.

    Raises
    ------
    DataError : a file is missing, damaged, too short, too long, or has a label that is none; the
        training files differ in size.
    """
    form = next(each for each in forms if place.name in each.archives or each.lies_in(place))
    contents = _read_folder(place, form) if place.is_dir() else _read_archive(place, form)
    *parts, test = (form.decode(f"{place / name}", contents[name], form) for name in form.names)
    counts = [len(labels) for _, labels in parts]
    if len(set(counts)) != 1:
        raise DataError(
            f"{place}: {form.train[0]} to {form.train[-1]} hold {counts} records, expected equally many "
            f"({form.records} in the original)"
        )
    images = np.concatenate([images for images, _ in parts])
    return (images, np.concatenate([labels for _, labels in parts])), test


def _read_folder(folder: Path, form: Form) -> dict[str, bytes]:
    contents = {}
    for name in form.names:
        with open_plain_or_gzip(folder / name) as stream:
            contents[name] = read_at_most(stream, form.max_bytes)
    return contents


def _read_archive(path: Path, form: Form) -> dict[str, bytes]:
    contents = read_members(path, form.key, form.max_bytes)
    absent = [name for name in form.names if name not in contents]
    if absent:
        raise DataError(
            f"{path}: {', '.join(absent)} not in the archive, expected the {form.version} version"
        )
    return contents


def _from_binary(where: str, content: bytes, form: Form) -> Samples:
    size, most = form.record_bytes, form.max_bytes
    if not content or len(content) % size or len(content) > most:
        found = f"more than {most}" if len(content) > most else len(content)
        raise DataError(
            f"{where}: found {found} bytes, expected a whole number of {size}-byte "
            f"records, {form.records} at most"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    # of CIFAR-100's two labels the second is the finer one
    labels = records[:, size - _PIXELS - 1].astype(np.int64)
    _check_labels(where, labels, form)
    return records[:, size - _PIXELS :].reshape(-1, *_IMAGE_SHAPE), labels


def _from_pickle(where: str, content: bytes, form: Form) -> Samples:
    if len(content) > form.max_bytes:
        raise DataError(f"{where}: found more than {form.max_bytes} bytes")
    read = read_pickle(where, content)
    if not isinstance(read, dict):
        raise DataError(f"{where}: found a {type(read).__name__}, expected a dictionary")
    # keys are bytes where Python 2 wrote them
    held = {key.decode("latin1") if isinstance(key, bytes) else key: read[key] for key in read}
    images, labels = held.get("data"), held.get("fine_labels", held.get("labels"))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise DataError(f"{where}: found no array of uint8 called data")
    count = images.size // _PIXELS
    if images.shape != (count, _PIXELS) or not 0 < count <= form.records:
        raise DataError(
            f"{where}: found data of shape {images.shape}, expected N x {_PIXELS}, {form.records} at most"
        )
    try:
        listed = np.asarray(labels)
    except ValueError:
        listed = np.empty(0)
    if listed.dtype.kind not in "iu" or listed.shape != (count,):
        raise DataError(
            f"{where}: found no whole numbers called labels, one for each of {count} images"
        )
    listed = listed.astype(np.int64)
    _check_labels(where, listed, form)
    return images.reshape(-1, *_IMAGE_SHAPE), listed


def _check_labels(where: str, labels: NDArray[np.int64], form: Form) -> None:
    wrong = (labels < 0) | (labels >= form.classes)
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(
            f"{where}: found label {labels[place]} in record {place}, expected 0 to {form.classes - 1}"
        )


def _archives(stem: str, folder: str) -> tuple[str, ...]:
    return (*(f"{stem}{end}" for end in (".tar.gz", ".tgz", ".tar", ".zip")), f"{folder}.zip")


_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_PICKLED_BYTES = _PIXELS + 256
"""A pickled record: its pixels, its label and the name of the file that it was."""
CIFAR10 = (
    Form(
        version="binary",
        folder="cifar-10-batches-bin",
        archives=_archives("cifar-10-binary", "cifar-10-batches-bin"),
        train=tuple(f"{name}.bin" for name in _TRAIN),
        test="test_batch.bin",
        classes=10,
        records=10_000,
        record_bytes=1 + _PIXELS,
        decode=_from_binary,
    ),
    Form(
        version="Python",
        folder="cifar-10-batches-py",
        archives=_archives("cifar-10-python", "cifar-10-batches-py"),
        train=_TRAIN,
        test="test_batch",
        classes=10,
        records=10_000,
        record_bytes=_PICKLED_BYTES,
        decode=_from_pickle,
    ),
)
CIFAR100 = (
    Form(
        version="binary",
        folder="cifar-100-binary",
        archives=_archives("cifar-100-binary", "cifar-100-binary")[:-1],
        train=("train.bin",),
        test="test.bin",
        classes=100,
        records=50_000,
        record_bytes=2 + _PIXELS,
        decode=_from_binary,
    ),
    Form(
        version="Python",
        folder="cifar-100-python",
        archives=_archives("cifar-100-python", "cifar-100-python")[:-1],
        train=("train",),
        test="test",
        classes=100,
        records=50_000,
        record_bytes=_PICKLED_BYTES,
        decode=_from_pickle,
        needs_folder=True,
    ),
)
KNOWN = frozenset({"6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"})
KNOWN_100 = frozenset({"85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"})
"""SHA-256 of the Python versions' archives as they are published, which Keras checks too."""


def expected(forms: Sequence[Form]) -> tuple[str, ...]:
    """Names of files that are read."""
    return tuple(name for form in forms for name in (*form.archives, *form.names))


UNREAD: Mapping[str, str] = {
    "cifar-10*-batches-mat": OTHERWISE,
    "cifar-10*-matlab.tar.gz": OTHERWISE,
    "train-*.parquet": OTHERWISE,
}
"""Other forms that people have it in, and why they are not read."""
