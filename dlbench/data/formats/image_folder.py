"""Images of one's own: a folder for each class, of JPEG and PNG files.

    photos/train/cat/001.jpg          photos/cat/001.jpg
    photos/test/cat/002.jpg     or    photos/dog/002.png

Each image is scaled so that it just covers the input's height and width, its sides in proportion, and cut to them
around its middle; it becomes grey or RGB as the input has one channel or three. A file is decoded where it is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data.files import open_regular, read_at_most
from dlbench.data.types import Drawn
from dlbench.errors import DataError, UsageError
from dlbench.text import one_line, plural, shortened

NAME = "images"
"""What a suite or ``--data`` calls it."""
_ENDINGS = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
MAX_BYTES = 1 << 28
"""The most that a file may have."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.1
_MAX_PIXELS = 1 << 26
_MODES = {1: "L", 3: "RGB"}
_RULE = "images fitted, bilinear, version 1"
"""What becomes of files; changes of it change the fingerprint."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Files of one part, in order, and the class of each."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]


class Images(Drawn):
    """Images that are decoded where they are indexed: uint8, N x C x H x W.

    Parameters
    ----------
    files : one image each.
    shape : of one of them: C is 1 or 3.

    Indexing raises DataError for a file that cannot be read or decoded.
    """

    def __init__(self, files: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.files = tuple(files)
        self.one = shape
        super().__init__((len(self.files), *shape), np.uint8, self._decoded)

    def _decoded(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), *self.one), np.uint8)
        for place, row in enumerate(rows):
            out[place] = decode(self.files[row], self.one)
        return out


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """What a folder holds.

    Attributes
    ----------
    classes : names of the class folders, in the order of their numbers.
    train, validation, test : the parts.
    fingerprint : SHA-256 over the shape, and over name, class and content of every file.
    """

    classes: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled
    fingerprint: str


def read_image_folder(folder: Path, shape: tuple[int, ...]) -> ImageFolder:
    """Look through a folder of images, and part them.

    With a folder ``train``, its images are trained on, and those of ``test`` (or ``val``, where there is no ``test``)
    are tested with; else each class gives a fifth of its images to be tested with. Without a folder ``val`` besides
    ``test``, a tenth is held out to validate with. Which images these are the SHA-256 of their names says, so the same
    files are parted alike everywhere.

    Parameters
    ----------
    folder : it and what lies in it; hidden files are passed over.
    shape : C x H x W of an image as it is stored; C is 1 or 3.

    Raises
    ------
    UsageError : images of this shape there are none.
    DataError : no images there, a file that is none, a class with too few, or one that is tested alone.
    """
    shape = image_shape(shape)
    _pillow()
    if (folder / "train").is_dir():
        tests = [folder / name for name in ("test", "val") if (folder / name).is_dir()]
        if not tests:
            raise DataError(f"{folder}: has a folder train, expected test or val beside it")
        classes, train = _labelled(folder / "train", None)
        _, test = _labelled(tests[0], classes)
        if len(tests) == 2:
            _, validation = _labelled(tests[1], classes)
        else:
            train, validation = _parted(train, _VALIDATION_SHARE)
    else:
        classes, train = _labelled(folder, None)
        train, test, validation = _parted(train, _TEST_SHARE, _VALIDATION_SHARE)
    digest = hashlib.sha256(f"{_RULE};{shape};{classes};".encode())
    for part in (train, validation, test):
        digest.update(b"part;")
        for file, label in zip(part.files, part.labels, strict=True):
            sha256 = hashlib.sha256(_content(file)).hexdigest()
            digest.update(f"{_relative(folder, file)};{label};{sha256};".encode())
    return ImageFolder(classes, train, validation, test, digest.hexdigest())


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """The same shape, if images can be of it: 1 or 3 channels, height and width.

    Raises
    ------
    UsageError : they cannot.
    """
    if len(shape) != 3 or shape[0] not in _MODES:
        raise UsageError(
            f"data set {NAME!r} gives images of 1 or 3 channels, height and width; the suite takes inputs of "
            f"{' x '.join(map(str, shape)) or 'nothing'}"
        )
    channels, height, width = shape
    return channels, height, width


def decode(file: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode an image, and fit it to C x H x W.

    Raises
    ------
    DataError : it cannot be read, is damaged, is no JPEG or PNG of 8 bits a channel, or has more than 64 Mi pixels.
    """
    image_module, operations = _pillow()
    channels, height, width = shape
    content = io.BytesIO(_content(file))
    try:
        with image_module.open(content, formats=_FORMATS) as image:
            _check(file, image)
            fitted = operations.fit(
                image.convert(_MODES[channels]),
                (width, height),
                method=image_module.Resampling.BILINEAR,
            )
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Pillow's decoders fail in many ways
        told = re.sub(r" <_io.BytesIO[^>]*>", " it", one_line(str(error)))
        raise DataError(
            f"{file}: damaged or no JPEG or PNG ({shortened(told, 200)}): mend it or take it away"
        ) from error
    array: NDArray[np.uint8] = np.asarray(fitted)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _check(file: Path, image: Any) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(
            f"{file}: has {image.width} x {image.height} pixels, expected {_MAX_PIXELS:,} at most"
        )
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{file}: is of mode {image.mode}, expected 8 bits a channel")


def _labelled(folder: Path, classes: tuple[str, ...] | None) -> tuple[tuple[str, ...], Labelled]:
    """Class names and the files of a folder of class folders; where `classes` are given there may be no others."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    found = tuple(entry.name for entry in entries if entry.is_dir())
    if not found:
        raise DataError(
            f"{folder}: found no folders, expected one for each class with its images in it"
        )
    new = sorted(set(found) - set(classes or found))
    if new:
        raise DataError(f"{folder / new[0]}: this class has no folder to train on")
    classes = classes or found
    files: list[Path] = []
    labels: list[int] = []
    for name in found:
        own = sorted(each for each in (folder / name).iterdir() if not _is_hidden(each))
        for file in own:
            if file.suffix.lower() not in _ENDINGS or not file.is_file():
                raise DataError(
                    f"{file}: is no file called {', '.join(_ENDINGS)}: take it out of the class's folder"
                )
        files += own
        labels += [classes.index(name)] * len(own)
    return classes, Labelled(tuple(files), np.asarray(labels, np.int64))


def _is_hidden(file: Path) -> bool:
    return file.name.startswith(".") or file.name in ("Thumbs.db", "desktop.ini")


def _parted(part: Labelled, *shares: float) -> tuple[Labelled, ...]:
    """The rest, and these shares of each class, at least one image each."""
    belongs = np.zeros(len(part.files), np.int64)
    for label in np.unique(part.labels):
        members = np.flatnonzero(part.labels == label)
        if len(members) <= len(shares):
            raise DataError(
                f"{part.files[members[0]].parent}: has {plural(len(members), 'image')}, expected"
                f" {len(shares) + 1} or more"
            )
        names = [part.files[member].name.encode() for member in members]
        order = members[np.argsort([hashlib.sha256(name).hexdigest() for name in names])]
        begin = 0
        for number, share in enumerate(shares, 1):
            end = begin + max(1, round(share * len(members)))
            belongs[order[begin:end]] = number
            begin = end
    return tuple(_those(part, belongs == number) for number in range(len(shares) + 1))


def _those(part: Labelled, chosen: NDArray[np.bool_]) -> Labelled:
    files = tuple(file for file, is_in in zip(part.files, chosen, strict=True) if is_in)
    return Labelled(files, part.labels[chosen])


def _relative(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _content(file: Path) -> bytes:
    with open_regular(file) as raw:
        content = read_at_most(raw, MAX_BYTES)
    if len(content) > MAX_BYTES:
        raise DataError(f"{file}: has more than {MAX_BYTES:,} bytes")
    if not content.startswith(_MAGIC):
        begin = content[:8].hex(" ") or "nothing"
        raise DataError(f"{file}: starts with {begin}, expected a JPEG or PNG: take it away")
    return content


def _pillow() -> tuple[Any, Any]:
    """Pillow's modules `Image` and `ImageOps`.

    Raises
    ------
    DataError : it is not installed.
    """
    try:
        return importlib.import_module("PIL.Image"), importlib.import_module("PIL.ImageOps")
    except ImportError as error:
        raise DataError(
            f"images are decoded by Pillow, which cannot be imported here ({error}): pip install 'dlbench[images]'"
        ) from error
