from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.data.order import augment, batch_indices, epoch_order, normalise


def images(count: int, channels: int = 3, side: int = 8) -> np.ndarray:
    size = count * channels * side * side
    return (np.arange(size) % 255 + 1).astype(np.uint8).reshape(count, channels, side, side)


def sha(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()[:16]


def test_batches_have_the_same_bits_on_every_machine() -> None:
    pixels = np.arange(8 * 3 * 36, dtype=np.int64).astype(np.uint8).reshape(8, 3, 6, 6)
    assert sha(augment(pixels, np.arange(8), seed=1, epoch=0)) == "48453415fde7798c"
    assert sha(normalise(pixels, [0.1] * 3, [0.3] * 3)) == "5c807232f0620a14"
    assert sha(batch_indices(100, 7, 1, 2)) == "0309c937c0932cce"


def test_an_epoch_visits_every_sample_once_in_a_new_order() -> None:
    first, second = epoch_order(1000, 1, 0), epoch_order(1000, 1, 1)
    assert sorted(first.tolist()) == list(range(1000))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_order(1000, 2, 0))


@given(samples=st.integers(1, 200), batch=st.integers(1, 200), epoch=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_batches_are_the_order_without_its_last_partial_batch(
    samples: int, batch: int, epoch: int
) -> None:
    if batch > samples:
        with pytest.raises(ValueError, match="batch"):
            batch_indices(samples, batch, 0, epoch)
        return
    batches = batch_indices(samples, batch, 0, epoch)
    assert batches.shape == (samples // batch, batch)
    assert np.array_equal(batches.ravel(), epoch_order(samples, 0, epoch)[: batches.size])


def test_a_sample_is_augmented_alike_in_every_batch() -> None:
    pixels = images(20)
    indices = np.arange(100, 120)
    together = augment(pixels, indices, seed=3, epoch=2)
    for chosen in ([5], [19, 0, 7]):
        alone = augment(pixels[chosen], indices[chosen], seed=3, epoch=2)
        assert np.array_equal(alone, together[chosen])


def test_augmentation_changes_with_the_epoch_and_the_seed() -> None:
    pixels, indices = images(20), np.arange(20)
    base = augment(pixels, indices, seed=3, epoch=2)
    assert not np.array_equal(base, augment(pixels, indices, seed=3, epoch=3))
    assert not np.array_equal(base, augment(pixels, indices, seed=4, epoch=2))


def test_every_shift_and_both_mirrorings_come_up_and_nothing_else() -> None:
    count, padding = 3000, 2
    pixels = np.repeat(images(1, channels=1, side=6), count, axis=0)
    padded = np.pad(pixels[0, 0], padding)
    expected = {}
    for down in range(5):
        for right in range(5):
            crop = padded[down : down + 6, right : right + 6]
            expected[crop.tobytes()] = (down, right, False)
            expected[crop[:, ::-1].tobytes()] = (down, right, True)
    moved = augment(pixels, np.arange(count), crop_padding=padding, seed=0, epoch=0)
    seen = [expected[image.tobytes()] for image in moved]
    assert len(set(seen)) == 50
    assert 0.45 < sum(mirrored for *_, mirrored in seen) / count < 0.55


def test_without_padding_and_mirror_images_are_copied() -> None:
    pixels = images(4)
    copied = augment(pixels, np.arange(4), crop_padding=0, flip=False, seed=0, epoch=0)
    assert np.array_equal(copied, pixels)
    assert not np.shares_memory(copied, pixels)


def test_augmenting_wrong_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        augment(images(4), np.arange(3), seed=0, epoch=0)
    with pytest.raises(ValueError, match="crop_padding"):
        augment(images(4), np.arange(4), crop_padding=-1, seed=0, epoch=0)


def test_normalising_follows_the_documented_order_to_the_bit() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    scaled = pixels.astype(np.float32) / np.float32(255)
    expected = (scaled - np.float32(0.1307)) / np.float32(0.3081)
    found = normalise(pixels, [0.1307], [0.3081])
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    pixels = np.full((2, 3, 4, 4), 255, dtype=np.uint8)
    found = normalise(pixels, [0.0, 0.5, 1.0], [1.0, 0.5, 0.25])
    assert found[:, :, 0, 0].tolist() == [[1.0, 1.0, 0.0]] * 2


@pytest.mark.parametrize(("mean", "std"), [([0.0], [1.0]), ([0.0] * 3, [1.0, 0.0, 1.0])])
def test_normalising_with_wrong_numbers_is_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        normalise(images(1), mean, std)


def test_what_a_worker_imports_needs_numpy_only() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import numpy\n"
        "import dlbench.data.order\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(roots - set(sys.stdlib_module_names) - {'numpy', 'dlbench'}))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, "")
