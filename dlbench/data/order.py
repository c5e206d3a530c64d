"""Which samples make up each batch, and what is done to them before a backend sees them.

Every backend must train on the same numbers in the same order, so order, augmentation and
normalisation are drawn and computed here, once, instead of by each framework's own loader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dlbench.rng import bits_at, permutation


def epoch_order(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits its samples.

    Parameters
    ----------
    samples : how many samples the training part has.
    seed : the run's seed.
    epoch : counted from 0.

    Returns
    -------
    int64 array of shape (samples,), every index once.
    """
    return permutation(samples, seed, "order", epoch)


def batch_indices(samples: int, batch: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the sample indices of every batch of an epoch; the last partial batch is dropped.

    Parameters
    ----------
    samples : how many samples the training part has.
    batch : samples per batch, 1 to `samples`.
    seed, epoch : as for `epoch_order`.

    Returns
    -------
    int64 array of shape (samples // batch, batch).

    Raises
    ------
    ValueError : `batch` is outside 1 to `samples`.
    """
    if not 1 <= batch <= samples:
        raise ValueError(f"batch is {batch}, expected 1 to {samples} (the samples there are)")
    steps = samples // batch
    return epoch_order(samples, seed, epoch)[: steps * batch].reshape(steps, batch)


def augment(
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    *,
    crop_padding: int = 4,
    flip: bool = True,
    seed: int,
    epoch: int,
) -> NDArray[np.uint8]:
    """Shift each image by a random crop of its zero-padded self, and mirror half of them.

    What happens to a sample depends on (seed, epoch, its index) alone, never on the batch it
    is in, so that a run with another batch size sees the same images.

    Parameters
    ----------
    images : uint8, B x C x H x W, the batch.
    indices : int64, shape (B,): which sample of the data set each image is.
    crop_padding : zeros added on each side before the crop, in pixels, 0 to 127.
    flip : whether to mirror left and right with probability one half.
    seed, epoch : the run's seed and the epoch, counted from 0.

    Returns
    -------
    uint8, B x C x H x W, a new array.

    Raises
    ------
    ValueError : `images` is not four-dimensional, the counts differ, or the padding is out of
        range.
    """
    if images.ndim != 4 or indices.shape != images.shape[:1]:
        raise ValueError(
            f"images {images.shape} and indices {indices.shape}, expected (B, C, H, W) and (B,)"
        )
    if not 0 <= crop_padding <= 127:
        raise ValueError(f"crop_padding is {crop_padding}, expected 0 to 127")
    words = bits_at(indices, seed, "augment", epoch)
    offsets = np.uint64(2 * crop_padding + 1)
    # Three disjoint fields of one word: 24 bits for each offset, the top bit for the mirror.
    field = np.uint64(2**24 - 1)
    down = (((words & field) * offsets) >> np.uint64(24)).astype(np.intp)
    right = ((((words >> np.uint64(24)) & field) * offsets) >> np.uint64(24)).astype(np.intp)
    mirrored = (words >> np.uint64(63)).astype(np.bool_)

    margin = (crop_padding, crop_padding)
    padded = np.pad(images, ((0, 0), (0, 0), margin, margin))
    windows = sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    rows = np.arange(len(images))
    cropped: NDArray[np.uint8] = np.ascontiguousarray(windows[rows, :, down, right])
    if flip:
        cropped[mirrored] = cropped[mirrored][..., ::-1]
    return cropped


def normalise(
    inputs: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Scale pixels to 0..1, subtract the channel's mean, divide by its standard deviation.

    All in float32, in this order: convert, divide by 255, subtract `mean` (rounded to float32),
    divide by `std` (rounded to float32). Division is not replaced by a reciprocal's product, so
    that the bits are those IEEE 754 gives on any machine.

    Parameters
    ----------
    inputs : uint8, N x C x H x W.
    mean, std : one number per channel, in units of full scale (0..1); every `std` above 0.

    Returns
    -------
    float32, N x C x H x W.

    Raises
    ------
    ValueError : the inputs are not four-dimensional, the number of channels differs, or a `std`
        is not above 0.
    """
    if inputs.ndim != 4 or not len(mean) == len(std) == inputs.shape[1]:
        raise ValueError(
            f"inputs {inputs.shape} with {len(mean)} means and {len(std)} standard deviations, "
            "expected N x C x H x W with one of each per channel"
        )
    if not all(value > 0.0 for value in std):
        raise ValueError(f"std is {tuple(std)}, expected numbers above 0")
    per_channel = (1, -1, 1, 1)
    result = inputs.astype(np.float32)
    result /= np.float32(255.0)
    result -= np.asarray(mean, dtype=np.float32).reshape(per_channel)
    result /= np.asarray(std, dtype=np.float32).reshape(per_channel)
    return result
