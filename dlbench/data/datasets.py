"""Data sets by name: real ones where there are any, else stand-ins that say what they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data import cifar10, mnist, synthetic
from dlbench.data.digits import read_digits, stratified_parts
from dlbench.data.types import Dataset, Split, fingerprint
from dlbench.errors import DataError, UsageError
from dlbench.rng import permutation

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

_STAND_IN = "stand-in-"
_CLASSES = 10
_LINEAR_TRAIN, _LINEAR_HELD_OUT = 1_000, 200


@dataclass(frozen=True)
class _Kind:
    """How one real data set is called, found, read, parted, and stood in for."""

    title: str
    find_and_read: Callable[[Sequence[Path]], tuple[Samples, Samples] | None]
    missing: Callable[[Sequence[Path]], str]
    subfolders: tuple[str, ...]
    validation_share: int
    draw: Callable[[int, synthetic.Part, int], Samples]
    sizes: tuple[int, int]


def _read_mnist(folders: Sequence[Path]) -> tuple[Samples, Samples] | None:
    files = mnist.find_mnist(folders)
    return None if files is None else mnist.read_mnist(files)


def _read_cifar10(folders: Sequence[Path]) -> tuple[Samples, Samples] | None:
    place = cifar10.find_cifar10(folders)
    return None if place is None else cifar10.read_cifar10(place)


_KINDS = {
    "mnist": _Kind(
        title="MNIST",
        find_and_read=_read_mnist,
        missing=mnist.missing_mnist,
        subfolders=("mnist", "MNIST/raw"),
        validation_share=12,
        draw=synthetic.mnist_like,
        sizes=(60_000, 10_000),
    ),
    "cifar10": _Kind(
        title="CIFAR-10",
        find_and_read=_read_cifar10,
        missing=cifar10.missing_cifar10,
        subfolders=("cifar10",),
        validation_share=10,
        draw=synthetic.cifar10_like,
        sizes=(50_000, 10_000),
    ),
}

NAMES = ("mnist", "cifar10", "digits", "linear", "stand-in-mnist", "stand-in-cifar10")
"""The names that `load_dataset` knows."""


def load_dataset(
    name: str,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    seed: int = 0,
    allow_stand_in: bool = True,
) -> Dataset:
    """Load a data set in its three parts.

    `mnist` and `cifar10` are taken from `data_dir` where one is given, which must then hold them;
    else from `cache_dir`/<name>, where a fetch puts them; else a stand-in is drawn, and the
    result's `source` says so. The parts of a data set are fixed: no seed moves a sample.

    Parameters
    ----------
    name : one of `NAMES`.
    data_dir : a folder with files the user has, or None.
    cache_dir : the folder that fetched files are kept in; it need not exist.
    seed : picks the contents of a stand-in or of `linear`, and nothing else. Results of different
        seeds are results on different data; a run that varies its own seed leaves this one alone.
    allow_stand_in : whether `mnist` and `cifar10` may be stood in for.

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
        if not allow_stand_in:
            raise DataError(f"{missing}, or pass --data-dir with the folder of files you have")
        return _draw_stand_in(name, kind, f"stand-in ({missing})", seed)
    if name == "digits":
        return _load_digits()
    if name == "linear":
        return _draw_linear(seed)
    if name in NAMES:
        kind = _KINDS[name.removeprefix(_STAND_IN)]
        return _draw_stand_in(name, kind, f"stand-in for {kind.title} (asked for by name)", seed)
    near = difflib.get_close_matches(name, NAMES, n=2) or NAMES
    raise UsageError(f"data set {name!r} is unknown, did you mean {' or '.join(near)}?")


def _load_real(name: str, kind: _Kind, data_dir: Path | None, cache_dir: Path) -> Dataset | None:
    if data_dir is None:
        samples = _read_fetched(name, kind, cache_dir / name)
        origin = "fetched"
    else:
        folders = [data_dir, *(data_dir / subfolder for subfolder in kind.subfolders)]
        samples = kind.find_and_read(folders)
        origin = "from --data-dir"
        if samples is None:
            raise DataError(
                f"--data-dir has no {kind.title}: {kind.missing(folders)}; give the folder that "
                f"holds it, or leave --data-dir out and run: dlbench data fetch {name}"
            )
    if samples is None:
        return None
    (images, _), (test_images, _) = samples
    if len(images) < kind.validation_share or len(test_images) == 0:
        raise DataError(
            f"{kind.title}, {origin}: found {len(images)} training and {len(test_images)} test "
            f"images, expected at least {kind.validation_share} and 1"
        )
    counts = f"{len(images):,} training and {len(test_images):,} test images"
    return _parted(name, kind, samples, f"{kind.title}, {origin}: {counts}", is_stand_in=False)


def _read_fetched(name: str, kind: _Kind, folder: Path) -> tuple[Samples, Samples] | None:
    try:
        return kind.find_and_read([folder])
    except DataError as error:
        # A damaged download is no reason to carry on with other data than the user fetched.
        raise DataError(f"{error}; to get it again: dlbench data fetch {name}") from error


def _draw_stand_in(name: str, kind: _Kind, source: str, seed: int) -> Dataset:
    train_count, test_count = kind.sizes
    samples = kind.draw(train_count, "train", seed), kind.draw(test_count, "test", seed)
    return _parted(name, kind, samples, source, is_stand_in=True)


def _parted(
    name: str, kind: _Kind, samples: tuple[Samples, Samples], source: str, *, is_stand_in: bool
) -> Dataset:
    """Hold out the validation part of the training samples."""
    (images, labels), (test_images, test_labels) = samples
    held_out = len(images) // kind.validation_share
    # The last part of a fixed order, whatever the seed: runs must agree on what is held out.
    order = permutation(len(images), 0, "validation", kind.title)
    chosen, held = np.sort(order[:-held_out]), np.sort(order[-held_out:])
    train = Split(images[chosen], labels[chosen])
    validation = Split(images[held], labels[held])
    test = Split(test_images, test_labels)
    return _dataset(name, source, _CLASSES, (train, validation, test), is_stand_in=is_stand_in)


def _load_digits() -> Dataset:
    images, labels = read_digits()
    train, validation, test = (
        Split(images[part], labels[part]) for part in stratified_parts(labels)
    )
    source = f"scikit-learn's digits: {len(images):,} real images, scaled to 28 x 28"
    return _dataset("digits", source, _CLASSES, (train, validation, test), is_stand_in=False)


def _draw_linear(seed: int) -> Dataset:
    train = Split(*synthetic.linear_map(_LINEAR_TRAIN, "train", seed))
    validation = Split(*synthetic.linear_map(_LINEAR_HELD_OUT, "validation", seed))
    test = Split(*synthetic.linear_map(_LINEAR_HELD_OUT, "test", seed))
    source = f"made-up linear map with noise: {len(train):,} training samples"
    return _dataset("linear", source, 0, (train, validation, test), is_stand_in=True)


def _dataset(
    name: str, source: str, classes: int, parts: tuple[Split, Split, Split], *, is_stand_in: bool
) -> Dataset:
    train, validation, test = parts
    return Dataset(
        name=name,
        source=source,
        fingerprint=fingerprint(*parts),
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        is_stand_in=is_stand_in,
    )
