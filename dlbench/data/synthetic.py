"""Data sets made up on the spot, for machines that have neither MNIST nor CIFAR-10 nor a network.

They have the real sets' shapes, types, sizes and class counts, and are drawn so that a small convolutional network
learns them while a linear classifier does not get far: a class is a figure that lies anywhere, among clutter or
between textures. All of it is integer arithmetic on counter-based draws, so every machine has the same
bits, and sample i is the same however many are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dlbench.rng import integers, raw_bits

T = TypeVar("T", bound=np.generic)
Part = Literal["train", "validation", "test"]

_CHUNK = 500
_CLASSES = 10
_FEATURES = 10
_FIGURE = 20
_TEXTURES = 64
_SMOOTHED = 9


@dataclasses.dataclass(frozen=True)
class StandIn:
    """Made-up images in place of a data set; every sample can be drawn alone.

    Attributes
    ----------
    name : of its random streams.
    shape : C x H x W of an image.
    """

    name: str
    shape: tuple[int, int, int]
    _draw: Callable[[_Draws], NDArray[np.uint8]]

    def images(self, rows: NDArray[np.int64], part: Part, seed: int = 0) -> NDArray[np.uint8]:
        """Draw images of a part: uint8, rows x C x H x W.

        Parameters
        ----------
        rows : numbers of samples, 0 or more.
        part : each part is drawn on its own.
        seed : another seed gives another data set, equally hard.
        """
        drawn = np.empty((len(rows), *self.shape), dtype=np.uint8)
        for there, draws in self._chunks(rows, part, seed):
            drawn[there] = self._draw(draws)
        return drawn

    def labels(self, rows: NDArray[np.int64], part: Part, seed: int = 0) -> NDArray[np.int64]:
        """Draw the labels of the same samples: int64, 0 to 9."""
        drawn = np.empty(len(rows), dtype=np.int64)
        for there, draws in self._chunks(rows, part, seed):
            drawn[there] = draws.labels()
        return drawn

    def _chunks(
        self, rows: NDArray[np.int64], part: Part, seed: int
    ) -> Iterator[tuple[NDArray[np.int64], _Draws]]:
        """Which of the rows lie in each chunk, with their random numbers: a stream for each chunk keeps memory small,
        and makes sample i depend on nothing else."""
        chunks, within = np.divmod(rows, _CHUNK)
        for chunk in np.unique(chunks):
            there = np.flatnonzero(chunks == chunk)
            yield there, _Draws(within[there], seed, f"stand-in {self.name}", part, int(chunk))


def linear_map(
    count: int, part: Part, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw features and the values that a fixed linear map, with a little noise, makes of them.

    Parameters
    ----------
    count : how many samples, 0 or more.
    part, seed : as for `StandIn`; the map is the same for every part and differs by seed.

    Returns
    -------
    features, float32 count x 10, within -2 to 2; and values, float32 count x 1, with noise whose
    standard deviation is about 0.05.
    """
    name = "stand-in linear"
    features = integers(count * _FEATURES, 2**16, seed, name, part, "feature") - 2**15
    features = features.reshape(count, _FEATURES)
    weights = integers(_FEATURES + 1, 2**8, seed, name, "weight") - 2**7
    noise = integers(count * 4, 2**17, seed, name, part, "noise").reshape(count, 4) - 2**16
    values = features @ weights[:-1] + weights[-1] * 2**14 + noise.sum(axis=1)
    # Powers of two scale without rounding: float32 rounds each value once.
    inputs = (features * 2.0**-14).astype(np.float32)
    return inputs, (values * 2.0**-20).astype(np.float32).reshape(count, 1)


class _Draws:
    """The random numbers of some rows of a chunk, each by name, so that adding one changes no other."""

    def __init__(self, rows: NDArray[np.int64], seed: int, *stream: str | int) -> None:
        self._rows = rows
        self._seed = seed
        self._stream = stream

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def labels(self) -> NDArray[np.int64]:
        """Draw the classes."""
        return self.between(0, _CLASSES - 1, "label")

    def between(self, low: int, high: int, name: str, columns: int = 1) -> NDArray[np.int64]:
        """Draw integers from low to high, both included: (rows,) or (rows, columns)."""
        drawn = integers(_CHUNK * columns, high - low + 1, self._seed, *self._stream, name) + low
        return drawn[self._rows] if columns == 1 else drawn.reshape(_CHUNK, columns)[self._rows]

    def octets(self, shape: tuple[int, int, int] | tuple[int, int], name: str) -> NDArray[np.uint8]:
        """Draw bytes, rows x shape; a row's are a multiple of 8."""
        words = math.prod(shape) // 8
        first = int(self._rows.min())
        count = int(self._rows.max()) - first + 1
        bits = raw_bits(count * words, self._seed, *self._stream, name, start=first * words)
        # The byte order is named, so that a big-endian machine cuts words into the same bytes.
        return bits.astype("<u8").view(np.uint8).reshape(count, *shape)[self._rows - first]


def _curves(draws: _Draws) -> NDArray[np.uint8]:
    """Draw bright curves on black, as MNIST's digits are: where a figure is of middle height."""
    level = draws.between(200, 255, "level").astype(np.int16)[:, None, None]
    curves, others = (
        (np.abs(_turned(draws, of).astype(np.int16) - 128) < 40).astype(np.int16)
        for of in (draws.labels(), draws.between(0, _CLASSES - 1, "clutter"))
    )
    clutter = _laid(110 * others[:, :8, :8], 28, draws, "clutter")
    image: NDArray[np.int16] = np.maximum(_laid(curves * level, 28, draws, "figure"), clutter)
    noise = draws.octets((28, 28), "noise")
    # grain within the curves and a few specks outside; most of the image stays black
    image -= (image * (noise & np.uint8(63)).astype(np.int16)) >> np.int16(8)
    image[noise > 253] = 255
    return image.astype(np.uint8)[:, None]


def _patches(draws: _Draws) -> NDArray[np.uint8]:
    """Draw a textured figure, its upper half, on a textured ground. Its colour hints at the class, as colours do in
    photographs."""
    labels = draws.labels()
    figures = _landscapes("cifar10", _CLASSES, _FIGURE) > 127
    covered = _laid(figures[labels], 32, draws, "figure")[:, None]
    hint = integers(_CLASSES * 3, 256, 0, "hues").reshape(_CLASSES, 3)[labels]
    hue = (5 * draws.between(0, 255, "hue", columns=3) + 3 * hint) // 8
    ground = draws.between(0, 255, "ground", columns=3)
    image = np.where(covered, _textured(draws, "figure", hue), _textured(draws, "ground", ground))
    grain = draws.octets((3, 32, 32), "grain") & np.uint8(31)
    image += grain.astype(np.int16) - np.int16(16)
    clipped: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return clipped


def _textured(draws: _Draws, name: str, hue: NDArray[np.int64]) -> NDArray[np.int16]:
    """Fill images with one texture each around a colour (rows x 3): rows x 3 x 32 x 32."""
    which = draws.between(0, _TEXTURES - 1, f"{name} texture")
    texture = _landscapes("textures", _TEXTURES, 32)[which].astype(np.int16) - np.int16(128)
    contrast = draws.between(16, 80, f"{name} contrast", columns=3).astype(np.int16)
    image = texture[:, None] * contrast[:, :, None, None]
    image >>= np.int16(7)
    image += hue.astype(np.int16)[:, :, None, None]
    return np.clip(image, 0, 255, out=image)


def _turned(draws: _Draws, classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw each class's heights, turned by quarters: rows x 20 x 20."""
    upright = _landscapes("mnist", _CLASSES, _FIGURE)
    turned = np.stack([np.rot90(upright, turn, (1, 2)) for turn in range(4)])
    return turned[draws.between(0, 3, "turn"), classes]


def _laid(pieces: NDArray[T], side: int, draws: _Draws, name: str) -> NDArray[T]:
    """Lay each of n square pieces somewhere on nothing: n x side x side."""
    count, size = pieces.shape[:2]
    top, left = (draws.between(0, side - size, f"{name} {edge}") for edge in ("top", "left"))
    across = np.arange(size)
    canvas = np.zeros((count, side, side), pieces.dtype)
    rows, columns = top[:, None, None] + across[:, None], left[:, None, None] + across
    canvas[np.arange(count)[:, None, None], rows, columns] = pieces
    return canvas


@cache
def _landscapes(name: str, count: int, side: int) -> NDArray[np.uint8]:
    """Draw smooth heights, count x side x side; in each, all of 0 to 255 are equally frequent."""
    wide = side + _SMOOTHED - 1
    noise = integers(count * wide**2, 256, 0, "stand-in", name).reshape(count, wide, wide)
    windows = sliding_window_view(noise, (_SMOOTHED, _SMOOTHED), axis=(1, 2))
    order = windows.sum(axis=(3, 4)).reshape(count, -1).argsort(axis=1, kind="stable")
    ranks: NDArray[np.int64] = order.argsort(axis=1, kind="stable")
    return (ranks * 256 // side**2).reshape(count, side, side).astype(np.uint8)


MNIST = StandIn("mnist", (1, 28, 28), _curves)
CIFAR10 = StandIn("cifar10", (3, 32, 32), _patches)
