"""Data sets by name: real ones where there are any, else stand-ins that say what they are."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlbench.data import synthetic
from dlbench.data.digits import read_digits, stratified_parts
from dlbench.data.fetch import COLLECTIONS
from dlbench.data.formats import image_folder
from dlbench.data.kinds import KINDS, Kind, StandIn
from dlbench.data.types import Dataset, Drawn, Split, fingerprint
from dlbench.errors import DataError, UsageError
from dlbench.rng import permutation

_STAND_IN = "stand-in-"
_FETCHED = "fetched"
_BESIDE = (Path("data"), Path("..", "data"))
"""Where torchvision's users keep their data."""
_ELSEWHERE = ".*/datasets"
"""Where in a home libraries keep data, as Keras does in ``~/.keras/datasets``; it is used when it is asked for."""
_CLASSES = 10
_LINEAR_TRAIN, _LINEAR_HELD_OUT = 1_000, 200


FILES = tuple(KINDS)
"""The data sets that are looked for as files."""
LYING_IN_FILES = (*FILES, image_folder.NAME)
"""The data sets that a folder may be named for."""
NAMES = (*LYING_IN_FILES, "digits", "linear", "stand-in-mnist", "stand-in-cifar10")
"""The names that `load_dataset` knows."""


def load_dataset(
    name: str, *, data_dir: Path | None, cache_dir: Path, shape: tuple[int, ...] = ()
) -> Dataset:
    """Load a data set in its three parts.

    Those of `FILES` are taken from `data_dir` where one is given, which must then hold them;
    else from `cache_dir`/<name>, where a fetch puts them; else from a folder `data` in the current
    folder or beside it; else a stand-in takes the place of `mnist` and `cifar10`, each
    sample drawn where it is used, and the result's `source` says so. The parts of a data set are
    fixed: no seed moves a sample.

    Parameters
    ----------
    name : one of `NAMES`.
    data_dir : a folder with files the user has, or None.
    cache_dir : the folder that fetched files are kept in; it need not exist.
    shape : of a sample as it is to be stored: C x H x W; only images of one's own are fitted to it.

    Raises
    ------
    UsageError : the name is unknown, `data_dir` has no such data, or there is none and nothing stands in.
    DataError : files are damaged; `digits` without scikit-learn, `images` without Pillow.
    """
    if name in KINDS:
        kind = KINDS[name]
        dataset = _load_real(name, kind, data_dir, cache_dir)
        if dataset is not None:
            return dataset
        missing = f"no {kind.title} found{_hint(name, kind, cache_dir)}"
        if kind.stand_in is None:
            raise UsageError(
                f"{missing}, and nothing stands in for it; to get it: {_way_to(name)};"
                " or give the folder that holds it by --data-dir"
            )
        return _stand_in(name, kind.stand_in, kind, f"stand-in ({missing}: {_way_to(name)})")
    if name == image_folder.NAME:
        return _load_images(data_dir, shape)
    if name == "digits":
        return _load_digits()
    if name == "linear":
        return _draw_linear()
    if name in NAMES:
        kind = KINDS[name.removeprefix(_STAND_IN)]
        assert kind.stand_in is not None
        source = f"stand-in for {kind.title} (asked for by name)"
        return _stand_in(name, kind.stand_in, kind, source)
    near = difflib.get_close_matches(name, NAMES, n=2) or NAMES
    raise UsageError(f"data set {name!r} is unknown, did you mean {' or '.join(near)}?")


def _load_real(name: str, kind: Kind, data_dir: Path | None, cache_dir: Path) -> Dataset | None:
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
                f"holds it, or leave --data-dir out and run: {_way_to(name)}"
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
    title = _title(name, kind, files, origin)
    counts = f"{len(images):,} training and {len(test[0]):,} test images"
    chosen, held = _held_out(kind, len(images))
    return _dataset(
        name,
        f"{title}, {origin}: {counts}",
        (Split(images[chosen], labels[chosen]), Split(images[held], labels[held]), Split(*test)),
        classes=kind.classes,
    )


def _find(name: str, kind: Kind, cache_dir: Path) -> tuple[Sequence[Path], str]:
    """The files that are used when no folder is named, and where they are from."""
    if files := kind.find([cache_dir / name]):
        return files, _FETCHED
    for place in _BESIDE:
        if files := kind.find(_beside(kind, place)):
            # an archive or a folder is one of its own
            return files, f"from {files[0] if len(files) == 1 else files[0].parent}"
    return (), ""


def _remedy(name: str, origin: str) -> str:
    if origin == _FETCHED:
        return f"; to get it again: {_way_to(name)}"
    return "; it is used because no --data-dir is given and nothing was fetched; or give --data"


def _way_to(name: str) -> str:
    """What gets a data set."""
    return f"dlbench data fetch {name}"


def _below(kind: Kind, folder: Path) -> list[Path]:
    return [folder, *(folder / subfolder for subfolder in kind.subfolders)]


def _beside(kind: Kind, folder: Path) -> list[Path]:
    """Where it is looked for in a folder that nobody named."""
    return _below(kind, folder)[0 if kind.lies_bare else 1 :]


def find_words(name: str, cache_dir: Path) -> str:
    """Whether a data set is at hand, and what would change that: ``found``, ``found in …``, or ``not found: …``.

    Parameters
    ----------
    name : one of `FILES`.
    cache_dir : as for `load_dataset`.
    """
    kind = KINDS[name]
    files, origin = _find(name, kind, cache_dir)
    if files:
        return "found" if origin == _FETCHED else f"found, {origin}"
    return f"not found{_hint(name, kind, cache_dir)}: {_way_to(name)}"


def _hint(name: str, kind: Kind, cache_dir: Path) -> str:
    """What there is instead, without the names of folders that may tell who the user is."""
    home = Path(os.path.expanduser("~"))
    elsewhere = sorted(home.glob(_ELSEWHERE))
    for place in elsewhere:
        if kind.find([place]):
            return f", but --data-dir ~/{place.relative_to(home)} has it; or"
    folders = [cache_dir / name, *(each for place in _BESIDE for each in _beside(kind, place))]
    found = kind.seen([*folders, *elsewhere])
    return f", but {found[0].parent.name}/{found[0].name}, which {found[1]}" if found else ""


def _title(name: str, kind: Kind, files: Sequence[Path], origin: str) -> str:
    """What the files are, by their SHA-256: MNIST, Fashion-MNIST and KMNIST have the same names and shapes.

    Raises
    ------
    UsageError : they are another data set.
    """
    if origin == _FETCHED:
        return kind.title
    sums = {_sha256(path) for path in files if path.is_file()}
    for other_name, other in KINDS.items():
        if sums and sums <= other.known.union(COLLECTIONS[other_name].files.values()):
            if other is not kind:
                raise UsageError(
                    f"{files[0].parent}: these files are {other.title}, not {kind.title}; give --data {other_name}"
                )
            return kind.title
    return f"images in the format of {kind.title}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stand_in(name: str, stand_in: StandIn, kind: Kind, source: str) -> Dataset:
    drawn = stand_in.drawn

    def split(part: synthetic.Part, rows: NDArray[np.int64]) -> Split:
        shape = (len(rows), *drawn.shape)
        images = Drawn(shape, np.uint8, lambda i: drawn.images(rows[i], part))
        labels = Drawn(shape[:1], np.int64, lambda i: drawn.labels(rows[i], part))
        return Split(images, labels)

    training, test = stand_in.sizes
    chosen, held = _held_out(kind, training)
    parts = (split("train", chosen), split("train", held), split("test", np.arange(test)))
    return _dataset(name, source, parts, is_stand_in=True, known=stand_in.fingerprint)


def _load_images(data_dir: Path | None, shape: tuple[int, ...]) -> Dataset:
    if data_dir is None:
        raise UsageError(
            f"data set {image_folder.NAME!r} needs --data-dir: the folder with a folder of images for each class"
        )
    found = image_folder.read_image_folder(data_dir, shape)
    train, validation, test = (
        Split(image_folder.Images(part.files, image_folder.image_shape(shape)), part.labels)
        for part in (found.train, found.validation, found.test)
    )
    source = (
        f"images from --data-dir: {len(train):,} to train, {len(validation):,} to validate, {len(test):,} to test,"
        f" {len(found.classes)} classes"
    )
    return _dataset(
        image_folder.NAME,
        source,
        (train, validation, test),
        classes=len(found.classes),
        known=found.fingerprint,
    )


def _held_out(kind: Kind, samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
