from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dlbench.data.synthetic import CIFAR10, MNIST, linear_map

STAND_INS = {"mnist": MNIST, "cifar10": CIFAR10}

GOLDEN = {
    "mnist train": "d07b41cef138e31f",
    "mnist test": "194d679967172ad2",
    "cifar10 train": "a764861f0c896e42",
    "cifar10 test": "90f6443b6f5361b5",
    "linear train": "a2e0f119d4bf46b6",
}


def draw(name: str, rows: int | list[int], part: str, seed: int = 0) -> tuple:
    """Images and labels of the first so many samples, or of those with these numbers."""
    numbers = np.arange(rows) if isinstance(rows, int) else np.array(rows, dtype=np.int64)
    stand_in = STAND_INS[name]
    return stand_in.images(numbers, part, seed), stand_in.labels(numbers, part, seed)


def sha(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


def test_the_stand_ins_have_the_same_bits_on_every_machine() -> None:
    found = {
        f"{name} {part}": sha(*draw(name, 600, part))
        for name in STAND_INS
        for part in ("train", "test")
    }
    found["linear train"] = sha(*linear_map(1000, "train"))
    assert found == GOLDEN


@pytest.mark.parametrize("name", STAND_INS)
def test_they_have_the_types_and_shapes_of_the_real_sets(name: str) -> None:
    images, labels = draw(name, 1200, "train")
    assert (images.dtype, images.shape) == (np.uint8, (1200, *STAND_INS[name].shape))
    assert (labels.dtype, labels.shape) == (np.int64, (1200,))
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10
    assert counts.min() > 80


@pytest.mark.parametrize("name", STAND_INS)
def test_a_sample_does_not_depend_on_which_others_are_drawn(name: str) -> None:
    images, labels = draw(name, 1100, "train")
    for rows in ([], [0], [1], [499], [500], [1099, 3, 501, 3], [*range(1100)][::-7]):
        few, few_labels = draw(name, rows, "train")
        assert np.array_equal(few, images[np.array(rows, dtype=np.int64)])
        assert np.array_equal(few_labels, labels[np.array(rows, dtype=np.int64)])


@pytest.mark.parametrize("name", STAND_INS)
def test_parts_and_seeds_share_no_samples(name: str) -> None:
    base = {image.tobytes() for image in draw(name, 500, "train")[0]}
    assert len(base) == 500
    for other in (draw(name, 500, "test"), draw(name, 500, "train", 1)):
        assert not base & {image.tobytes() for image in other[0]}


def test_the_digits_are_as_sparse_as_handwriting() -> None:
    images, _ = draw("mnist", 500, "train")
    assert 0.15 < (images > 0).mean() < 0.3
    assert images.max() == 255
    assert (images.reshape(500, -1) > 0).mean(axis=1).min() > 0.02


def test_the_colour_images_use_the_whole_range() -> None:
    images, _ = draw("cifar10", 500, "train")
    assert images.min() == 0
    assert images.max() == 255
    assert 50 < images.std() < 90


@pytest.mark.parametrize(("name", "worse_than"), [("mnist", 0.4), ("cifar10", 0.4)])
def test_a_linear_classifier_does_not_get_far(name: str, worse_than: float) -> None:
    images, labels = draw(name, 2500, "train")
    test_images, test_labels = draw(name, 1000, "test")
    inputs, test_inputs = (
        part.reshape(len(part), -1) / np.float32(255) - np.float32(0.5)
        for part in (images, test_images)
    )
    # Ridge regression onto the classes, in its dual form: solved in one step, and close to what
    # a logistic fit reaches.
    kernel = inputs @ inputs.T + np.float32(25) * np.eye(len(inputs), dtype=np.float32)
    weights = inputs.T @ np.linalg.solve(kernel, np.eye(10, dtype=np.float32)[labels])
    accuracy = (np.argmax(test_inputs @ weights, axis=1) == test_labels).mean()
    assert 0.15 < accuracy < worse_than


def test_the_regression_values_follow_their_features_up_to_a_little_noise() -> None:
    features, values = linear_map(1000, "train")
    assert (features.dtype, features.shape) == (np.float32, (1000, 10))
    assert (values.dtype, values.shape) == (np.float32, (1000, 1))
    assert np.abs(features).max() <= 2
    design = np.c_[features.astype(np.float64), np.ones(1000)]
    fitted, *_ = np.linalg.lstsq(design, values.astype(np.float64), rcond=None)
    assert 0.03 < float((design @ fitted - values).std()) < 0.1
    other_features, other_values = linear_map(200, "test")
    error = np.c_[other_features, np.ones(200)] @ fitted - other_values
    assert float(error.std()) < 0.1
