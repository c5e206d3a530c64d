"""Data sets by name: real ones where there are any, else stand-ins that say what they are."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data import cifar10, mnist, synthetic
from dlbench.data.digits import read_digits, stratified_parts
from dlbench.data.types import Dataset, Drawn, Split, fingerprint
from dlbench.errors import DataError, UsageError
from dlbench.rng import permutation

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

_STAND_IN = "stand-in-"
_CLASSES = 10
_LINEAR_TRAIN, _LINEAR_HELD_OUT = 1_000, 200


@dataclass(frozen=True)
class _Kind:
    """How one real data set is called, found, read, split, and what stands in for it.

    `fingerprint` is the one of the stand-in's contents, as a test computes it: a run draws only what it uses.
    """

    title: str
    find: Callable[[Sequence[Path]], Sequence[Path]]
    read: Callable[[Sequence[Path]], tuple[Samples, Samples]]
    missing: Callable[[Sequence[Path]], str]
    subfolders: tuple[str, ...]
    validation_share: int
    stand_in: synthetic.StandIn
    sizes: tuple[int, int]
    fingerprint: str


def _find_mnist(folders: Sequence[Path]) -> Sequence[Path]:
    return mnist.find_mnist(folders) or ()


def _find_cifar10(folders: Sequence[Path]) -> Sequence[Path]:
    place = cifar10.find_cifar10(folders)
    return () if place is None else (place,)


_KINDS = {
    "mnist": _Kind(
        title="MNIST",
        find=_find_mnist,
        read=lambda files: mnist.read_mnist((files[0], files[1], files[2], files[3])),
        missing=mnist.missing_mnist,
        subfolders=("mnist", "MNIST/raw"),
        validation_share=12,
        stand_in=synthetic.MNIST,
        sizes=(60_000, 10_000),
        fingerprint="1916cb98979fc94d9d15e35f8ca326a4e355e0799afe756402b5df3d57249838",
    ),
    "cifar10": _Kind(
        title="CIFAR-10",
        find=_find_cifar10,
        read=lambda files: cifar10.read_cifar10(files[0]),
        missing=cifar10.missing_cifar10,
        subfolders=("cifar10",),
        validation_share=10,
        stand_in=synthetic.CIFAR10,
        sizes=(50_000, 10_000),
        fingerprint="632e990472db71548040d81a05b6ad2e1d7b94db5cea11988fd25d1bfcb15c8e",
    ),
}

NAMES = ("mnist", "cifar10", "digits", "linear", "stand-in-mnist", "stand-in-cifar10")
"""The names that `load_dataset` knows."""


def load_dataset(name: str, *, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """Load a data set in its three parts.

    `mnist` and `cifar10` are taken from `data_dir` where one is given, which must then hold them;
    else from `cache_dir`/<name>, where a fetch puts them; else a stand-in takes their place, each
    sample drawn where it is used, and the result's `source` says so. The parts of a data set are
    fixed: no seed moves a sample.

    Parameters
    ----------
    name : one of `NAMES`.
    data_dir : a folder with files the user has, or None.
    cache_dir : the folder that fetched files are kept in; it need not exist.

    Raises
    ------
    UsageError : the name is unknown.
    DataError : files are damaged, or missing where they are required; `digits` without
        scikit-learn.
    """
    if name in _KINDS:
        kind = _KINDS[name]
        dataset = _load_real(name, kind, data_dir, cache_dir)
        if dataset is not None:
            return dataset
        missing = f"no {kind.title} found: dlbench data fetch {name}"
        return _stand_in(name, kind, f"stand-in ({missing})")
    if name == "digits":
        return _load_digits()
    if name == "linear":
        return _draw_linear()
    if name in NAMES:
        kind = _KINDS[name.removeprefix(_STAND_IN)]
        return _stand_in(name, kind, f"stand-in for {kind.title} (asked for by name)")
    near = difflib.get_close_matches(name, NAMES, n=2) or NAMES
    raise UsageError(f"data set {name!r} is unknown, did you mean {' or '.join(near)}?")


def _load_real(name: str, kind: _Kind, data_dir: Path | None, cache_dir: Path) -> Dataset | None:
    if data_dir is None:
        samples = _read_fetched(name, kind, cache_dir / name)
        origin = "fetched"
    else:
        folders = [data_dir, *(data_dir / subfolder for subfolder in kind.subfolders)]
        files = kind.find(folders)
        origin = "from --data-dir"
        if not files:
            raise DataError(
                f"--data-dir has no {kind.title}: {kind.missing(folders)}; give the folder that "
                f"holds it, or leave --data-dir out and run: dlbench data fetch {name}"
            )
        samples = kind.read(files)
    if samples is None:
        return None
    (images, _), (test_images, _) = samples
    if len(images) < kind.validation_share or len(test_images) == 0:
        raise DataError(
            f"{kind.title}, {origin}: found {len(images)} training and {len(test_images)} test "
            f"images, expected at least {kind.validation_share} and 1"
        )
    title = kind.title
    if data_dir is not None and not _are_known(name, files):
        # Fashion-MNIST and others have the names and shapes of MNIST's files
        title = f"images in the format of {title}"
    counts = f"{len(images):,} training and {len(test_images):,} test images"
    chosen, held = _held_out(kind, len(images))
    (images, labels), test = samples
    return _dataset(
        name,
        f"{title}, {origin}: {counts}",
        (Split(images[chosen], labels[chosen]), Split(images[held], labels[held]), Split(*test)),
    )


def _are_known(name: str, files: Sequence[Path]) -> bool:
    """Whether these are the files that a fetch would get, by their SHA-256."""
    from dlbench.data.fetch import COLLECTIONS

    known = set(COLLECTIONS[name].files.values())
    return all(path.is_file() and _sha256(path) in known for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_fetched(name: str, kind: _Kind, folder: Path) -> tuple[Samples, Samples] | None:
    try:
        files = kind.find([folder])
        return kind.read(files) if files else None
    except DataError as error:
        # A damaged download is no reason to carry on with other data than the user fetched.
        raise DataError(f"{error}; to get it again: dlbench data fetch {name}") from error


def _stand_in(name: str, kind: _Kind, source: str) -> Dataset:
    def split(part: synthetic.Part, rows: NDArray[np.int64]) -> Split:
        shape = (len(rows), *kind.stand_in.shape)
        images = Drawn(shape, np.uint8, lambda i: kind.stand_in.images(rows[i], part))
        labels = Drawn(shape[:1], np.int64, lambda i: kind.stand_in.labels(rows[i], part))
        return Split(images, labels)

    chosen, held = _held_out(kind, kind.sizes[0])
    parts = (split("train", chosen), split("train", held), split("test", np.arange(kind.sizes[1])))
    return _dataset(name, source, parts, is_stand_in=True, known=kind.fingerprint)


def _held_out(kind: _Kind, samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the training samples to train on, and which to validate with."""
    held_out = samples // kind.validation_share
    # The last part of a fixed order, whatever the seed: runs must agree on what is held out.
    order = permutation(samples, 0, "validation", kind.title)
    return np.sort(order[:-held_out]), np.sort(order[-held_out:])


def _load_digits() -> Dataset:
    images, labels = read_digits()
    train, validation, test = (
        Split(images[part], labels[part]) for part in stratified_parts(labels)
    )
    source = f"scikit-learn's digits: {len(images):,} real images, scaled to 28 x 28"
    return _dataset("digits", source, (train, validation, test))


def _draw_linear() -> Dataset:
    train = Split(*synthetic.linear_map(_LINEAR_TRAIN, "train"))
    validation = Split(*synthetic.linear_map(_LINEAR_HELD_OUT, "validation"))
    test = Split(*synthetic.linear_map(_LINEAR_HELD_OUT, "test"))
    source = f"made-up linear map with noise: {len(train):,} training samples"
    return _dataset("linear", source, (train, validation, test), classes=0, is_stand_in=True)


def _dataset(
    name: str,
    source: str,
    parts: tuple[Split, Split, Split],
    *,
    classes: int = _CLASSES,
    is_stand_in: bool = False,
    known: str = "",
) -> Dataset:
    return Dataset(
        name, source, known or fingerprint(*parts), classes, *parts, is_stand_in=is_stand_in
    )


def data_set_of(word: str | None, of_suite: str) -> str | None:
    """The data set that a word of ``--data`` names for a suite whose own data set is `of_suite`.

    Raises
    ------
    UsageError : a stand-in for data that has none.
    """
    if word != "stand-in":
        return word
    name = of_suite if of_suite.startswith("stand-in-") else f"stand-in-{of_suite}"
    if name not in NAMES:
        raise UsageError(f"--data stand-in: the suite's data set, {of_suite}, has no stand-in")
    return name
