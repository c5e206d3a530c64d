"""Data sets by name: real ones where there are any, else stand-ins that say what they are."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data import cifar10, mnist, synthetic
from dlbench.data.digits import read_digits, stratified_parts
from dlbench.data.fetch import COLLECTIONS
from dlbench.data.files import seen
from dlbench.data.types import Dataset, Drawn, Split, fingerprint
from dlbench.errors import DataError, UsageError
from dlbench.rng import permutation

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

_STAND_IN = "stand-in-"
_FETCHED = "fetched"
_BESIDE = (Path("data"), Path("..", "data"))
"""Where torchvision's users keep their data."""
_ELSEWHERE = ".*/datasets"
"""Where in a home libraries keep data, as Keras does in ``~/.keras/datasets``; it is used when it is asked for."""
_CLASSES = 10
_LINEAR_TRAIN, _LINEAR_HELD_OUT = 1_000, 200


@dataclass(frozen=True)
class _Kind:
    """How one real data set is called, found, read, split, and what stands in for it.

    `seen` says what lies there and cannot be used; `known` are SHA-256 of files that are the data set too, besides
    those of a fetch;
    `fingerprint` is the one of the stand-in's contents, as a test computes it: a run draws only what it uses.
    """

    title: str
    find: Callable[[Sequence[Path]], Sequence[Path]]
    read: Callable[[Sequence[Path]], tuple[Samples, Samples]]
    missing: Callable[[Sequence[Path]], str]
    seen: Callable[[Sequence[Path]], tuple[Path, str] | None]
    known: frozenset[str]
    subfolders: tuple[str, ...]
    validation_share: int
    stand_in: synthetic.StandIn
    sizes: tuple[int, int]
    fingerprint: str


def _find_cifar10(folders: Sequence[Path]) -> Sequence[Path]:
    place = cifar10.find_cifar10(folders)
    return () if place is None else (place,)


_KINDS = {
    "mnist": _Kind(
        title="MNIST",
        find=mnist.find_mnist,
        read=mnist.read_mnist,
        missing=mnist.missing_mnist,
        seen=lambda folders: seen(folders, mnist.EXPECTED, mnist.UNREAD),
        known=mnist.KNOWN,
        subfolders=("mnist", "MNIST", "MNIST/raw", "raw"),
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
        seen=lambda folders: seen(folders, cifar10.EXPECTED, cifar10.UNREAD),
        known=frozenset(),
        subfolders=("cifar10", "CIFAR10", "cifar-10-batches-bin"),
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
    else from `cache_dir`/<name>, where a fetch puts them; else from a folder `data` in the current
    folder or beside it; else a stand-in takes their place, each
    sample drawn where it is used, and the result's `source` says so. The parts of a data set are
    fixed: no seed moves a sample.

    Parameters
    ----------
    name : one of `NAMES`.
    data_dir : a folder with files the user has, or None.
    cache_dir : the folder that fetched files are kept in; it need not exist.

    Raises
    ------
    UsageError : the name is unknown, or `data_dir` has no such data.
    DataError : files are damaged; `digits` without scikit-learn.
    """
    if name in _KINDS:
        kind = _KINDS[name]
        dataset = _load_real(name, kind, data_dir, cache_dir)
        if dataset is not None:
            return dataset
        missing = f"no {kind.title} found{_hint(name, kind, cache_dir)}"
        return _stand_in(name, kind, f"stand-in ({missing}: dlbench data fetch {name})")
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
    """The real data, None where there is none and none is demanded."""
    if data_dir is None:
        files, origin = _find(name, kind, cache_dir)
        remedy = _remedy(name, origin)
    else:
        folders = _below(kind, data_dir)
        files, origin, remedy = kind.find(folders), "from --data-dir", ""
        if not files:
            found = kind.seen(folders)
            but = f"; {found[0]} {found[1]}" if found else ""
            raise UsageError(
                f"--data-dir has no {kind.title}: {kind.missing(folders)}{but}; give the folder that "
                f"holds it, or leave --data-dir out and run: dlbench data fetch {name}"
            )
    if not files:
        return None
    try:
        samples = kind.read(files)
    except DataError as error:
        # Damaged files are no reason to carry on with other data than the user has.
        raise DataError(f"{error}{remedy}") from error
    (images, labels), test = samples
    if len(images) < kind.validation_share or len(test[0]) == 0:
        raise DataError(
            f"{kind.title}, {origin}: found {len(images)} training and {len(test[0])} test "
            f"images, expected at least {kind.validation_share} and 1"
        )
    # Fashion-MNIST and others have the names and shapes of MNIST's files
    is_it = origin == _FETCHED or _are_known(name, kind, files)
    title = kind.title if is_it else f"images in the format of {kind.title}"
    counts = f"{len(images):,} training and {len(test[0]):,} test images"
    chosen, held = _held_out(kind, len(images))
    return _dataset(
        name,
        f"{title}, {origin}: {counts}",
        (Split(images[chosen], labels[chosen]), Split(images[held], labels[held]), Split(*test)),
    )


def _find(name: str, kind: _Kind, cache_dir: Path) -> tuple[Sequence[Path], str]:
    """The files that are used when no folder is named, and where they are from."""
    if files := kind.find([cache_dir / name]):
        return files, _FETCHED
    for place in _BESIDE:
        if files := kind.find(_below(kind, place)):
            # an archive or a folder is one of its own
            return files, f"from {files[0] if len(files) == 1 else files[0].parent}"
    return (), ""


def _remedy(name: str, origin: str) -> str:
    if origin == _FETCHED:
        return f"; to get it again: dlbench data fetch {name}"
    return "; it is used because no --data-dir is given and nothing was fetched; or give --data"


def _below(kind: _Kind, folder: Path) -> list[Path]:
    return [folder, *(folder / subfolder for subfolder in kind.subfolders)]


def find_words(name: str, cache_dir: Path) -> str:
    """Whether a data set is at hand, and what would change that: ``found``, ``found in …``, or ``not found: …``.

    Parameters
    ----------
    name : ``mnist`` or ``cifar10``.
    cache_dir : as for `load_dataset`.
    """
    kind = _KINDS[name]
    files, origin = _find(name, kind, cache_dir)
    if files:
        return "found" if origin == _FETCHED else f"found, {origin}"
    return f"not found{_hint(name, kind, cache_dir)}: dlbench data fetch {name}"


def _hint(name: str, kind: _Kind, cache_dir: Path) -> str:
    """What there is instead, without the names of folders that may tell who the user is."""
    home = Path(os.path.expanduser("~"))
    elsewhere = sorted(home.glob(_ELSEWHERE))
    for place in elsewhere:
        if kind.find([place]):
            return f", but --data-dir ~/{place.relative_to(home)} has it; or"
    folders = [cache_dir / name, *(each for place in _BESIDE for each in _below(kind, place))]
    found = kind.seen([*folders, *elsewhere])
    return f", but {found[0].parent.name}/{found[0].name}, which {found[1]}" if found else ""


def _are_known(name: str, kind: _Kind, files: Sequence[Path]) -> bool:
    """Whether these files are the data set itself, by their SHA-256."""
    known = kind.known.union(COLLECTIONS[name].files.values())
    return all(path.is_file() and _sha256(path) in known for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
