"""Data sets made up on the spot, for machines that have neither MNIST nor CIFAR-10 nor a network.

They have the real sets' shapes, types, sizes and class counts, and are drawn so that a small
convolutional network learns them while a linear classifier does not get far: digits and shapes
move, turn, shear and lie among clutter. All of it is integer arithmetic on counter-based draws,
so every machine has the same bits, and sample i is the same however many are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dlbench.data.glyphs import DIGIT_CENTRE, DIGITS, SHAPE_CENTRE, SHAPES
from dlbench.data.rasterise import DISTANCE_PER_UNIT, Placement, distance_table, ink, look_up
from dlbench.rng import integers, raw_bits

Part = Literal["train", "validation", "test"]

_CHUNK = 500
_CLASSES = 10
_FEATURES = 10
_CANVAS = 64
_CANVASES = 64
_CLUTTER_STROKES = 8


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


def _digits(draws: _Draws) -> NDArray[np.uint8]:
    """Draw digits: bright strokes on black, as MNIST's are."""
    labels = draws.labels()
    hand = draws.between(0, 1, "hand")
    placement = _placement(draws, turn=300, shear=300, widths=(900, 1300), shift=7, bend=256)
    distances = look_up(_digit_tables(), labels * 2 + hand, placement, 28)
    image = ink(distances, draws.between(13, 20, "radius"), draws.between(200, 255, "level"))
    np.maximum(image, _windows(_clutter(), draws, 28, "clutter"), out=image)
    noise = draws.octets((28, 28), "noise")
    # Grain within the strokes and a few specks outside; most of the image stays black.
    image -= (image * (noise & np.uint8(63)).astype(np.int16)) >> np.int16(8)
    specks = noise > 253
    image[specks] = 255
    return image.astype(np.uint8)[:, None]


def _shapes(draws: _Draws) -> NDArray[np.uint8]:
    """Draw colour images: a textured shape on a textured ground.

    The class is the shape; its colour hints at the class, as colours do in photographs.
    """
    labels = draws.labels()
    placement = _placement(draws, turn=400, shear=200, widths=(700, 1200), shift=10, bend=128)
    radii = np.array([radius for radius, _ in SHAPES], dtype=np.int64) * DISTANCE_PER_UNIT
    radius = radii[labels] + draws.between(0, 8, "radius")
    distances = look_up(_shape_tables(), labels, placement, 32)
    cover = ink(distances, radius, np.full(len(draws), 127, dtype=np.int64))[:, None]

    hue = (5 * draws.between(0, 255, "hue", columns=3) + 3 * _hues()[labels]) // 8
    front = _textured(draws, "front", hue)
    back = _textured(draws, "back", draws.between(0, 255, "back hue", columns=3))
    # int16 holds the product: at most 255 * 127.
    front -= back
    front *= cover
    front >>= np.int16(7)
    front += back
    grain = draws.octets((3, 32, 32), "grain") & np.uint8(31)
    front += grain.astype(np.int16) - np.int16(16)
    return np.clip(front, 0, 255).astype(np.uint8)


def _textured(draws: _Draws, name: str, hue: NDArray[np.int64]) -> NDArray[np.int16]:
    """Fill images with one texture each around a colour (rows x 3): rows x 3 x 32 x 32."""
    texture = _windows(_textures(), draws, 32, name).astype(np.int16) - np.int16(128)
    contrast = draws.between(16, 80, f"{name} contrast", columns=3).astype(np.int16)
    image = texture[:, None] * contrast[:, :, None, None]
    image >>= np.int16(7)
    image += hue.astype(np.int16)[:, :, None, None]
    return np.clip(image, 0, 255, out=image)


def _placement(
    draws: _Draws, *, turn: int, shear: int, widths: tuple[int, int], shift: int, bend: int
) -> Placement:
    width = draws.between(*widths, "width")
    turned = draws.between(-turn, turn, "turn")
    return Placement(
        across_x=width,
        across_y=draws.between(-shear, shear, "shear") - turned,
        down_x=turned,
        down_y=width + draws.between(-128, 128, "height"),
        bend=draws.between(-bend, bend, "bend"),
        shift_x=draws.between(-shift, shift, "shift x"),
        shift_y=draws.between(-shift, shift, "shift y"),
    )


def _windows(canvases: NDArray[np.uint8], draws: _Draws, side: int, name: str) -> NDArray[np.uint8]:
    """Cut a square from some canvas for each sample, anywhere: rows x side x side."""
    windows = sliding_window_view(canvases, (side, side), axis=(1, 2))
    which = draws.between(0, len(canvases) - 1, f"{name} canvas")
    top = draws.between(0, _CANVAS - side, f"{name} top")
    left = draws.between(0, _CANVAS - side, f"{name} left")
    cut: NDArray[np.uint8] = windows[which, top, left]
    return cut


@cache
def _digit_tables() -> NDArray[np.uint8]:
    return np.stack([distance_table(hand, DIGIT_CENTRE) for hands in DIGITS for hand in hands])


@cache
def _shape_tables() -> NDArray[np.uint8]:
    return np.stack([distance_table(strokes, SHAPE_CENTRE) for _, strokes in SHAPES])


@cache
def _clutter() -> NDArray[np.uint8]:
    """Draw canvases of short faint strokes, wider than an image."""
    numbers = integers(_CANVASES * _CLUTTER_STROKES * 4, _CANVAS, 0, "clutter")
    canvases = np.empty((_CANVASES, _CANVAS, _CANVAS), dtype=np.uint8)
    for canvas, strokes in zip(
        canvases, numbers.reshape(_CANVASES, _CLUTTER_STROKES, 4).tolist(), strict=True
    ):
        lines = [((x, y), (x + dx % 9 - 4, y + dy % 9 - 4)) for x, y, dx, dy in strokes]
        middle = (_CANVAS // 2, _CANVAS // 2)
        distances = distance_table(lines, middle, size=_CANVAS, cells_per_unit=1)
        canvas[:] = np.clip((12 - distances.astype(np.int64)) * 16, 0, 110)
    return canvases


@cache
def _textures() -> NDArray[np.uint8]:
    """Draw canvases of stripes, checks and blotches in equal shares, 0 to 255 around 128."""
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS].astype(np.int64)
    numbers = integers(_CANVASES * 3, 2**8, 0, "texture").reshape(_CANVASES, 3).tolist()
    canvases = np.empty((_CANVASES, _CANVAS, _CANVAS), dtype=np.uint8)
    for number, (canvas, (slope_x, slope_y, period)) in enumerate(
        zip(canvases, numbers, strict=True)
    ):
        period = 48 + period % 80
        along = (slope_x - 128) * x + (slope_y - 128) * y
        across = (slope_y - 128) * x - (slope_x - 128) * y
        if number % 3 == 0:
            canvas[:] = _wave(along // period)
        elif number % 3 == 1:
            canvas[:] = (_wave(along // period) + _wave(across // period)) // 2
        else:
            canvas[:] = _blotches(number)
    return canvases


def _wave(phase: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a triangle wave of period 16 steps, 0 to 255."""
    return np.abs(phase * 32 % 511 - 255)


def _blotches(number: int) -> NDArray[np.int64]:
    """Return noise that is smooth over some five pixels, 0 to 255."""
    wide = _CANVAS + 4
    noise = integers(wide * wide, 256, 0, "blotches", number).reshape(wide, wide)
    smooth: NDArray[np.int64] = sliding_window_view(noise, (5, 5)).sum(axis=(2, 3)) // 25
    return np.clip((smooth - 128) * 4 + 128, 0, 255)


@cache
def _hues() -> NDArray[np.int64]:
    """Return each class's favourite colour, 10 x 3, 0 to 255."""
    return integers(_CLASSES * 3, 256, 0, "hues").reshape(_CLASSES, 3)


MNIST = StandIn("mnist", (1, 28, 28), _digits)
CIFAR10 = StandIn("cifar10", (3, 32, 32), _shapes)
