from __future__ import annotations

import gzip
import importlib
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import datasets, digits
from dlbench.data.datasets import load_dataset
from dlbench.data.fetch import COLLECTIONS, Collection
from dlbench.data.synthetic import StandIn
from dlbench.data.types import Dataset, Split, fingerprint
from dlbench.errors import DataError, UsageError


def write_mnist(folder: Path, train: int = 48, test: int = 6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, count in {"train": train, "t10k": test}.items():
        images = (np.arange(count * 784) % 251).astype(np.uint8).tobytes()
        header = b"\0\0\x08\x03" + struct.pack(">III", count, 28, 28)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images))
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        header = b"\0\0\x08\x01" + struct.pack(">I", count)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels)


def write_cifar(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").write_bytes(bytes(4 * 3073))


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.test)


def test_without_files_a_stand_in_says_what_it_is_and_how_to_get_the_real_set(
    tmp_path: Path,
) -> None:
    dataset = load_dataset("mnist", data_dir=None, cache_dir=tmp_path)
    assert dataset.is_stand_in
    assert dataset.source == "stand-in (no MNIST found: dlbench data fetch mnist)"
    assert dataset.name == "mnist"
    assert sizes(dataset) == (55_000, 5_000, 10_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_stand_in_by_name_is_the_one_that_stands_in(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "cache" / "mnist")
    write_cifar(tmp_path / "cache" / "cifar10")
    by_name = load_dataset(f"stand-in-{name}", data_dir=None, cache_dir=tmp_path / "cache")
    stand_in = load_dataset(name, data_dir=None, cache_dir=tmp_path / "empty")
    assert by_name.is_stand_in
    assert by_name.name == f"stand-in-{name}"
    assert by_name.fingerprint == stand_in.fingerprint


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_fingerprint_of_a_stand_in_is_that_of_its_contents(name: str, tmp_path: Path) -> None:
    dataset = load_dataset(f"stand-in-{name}", data_dir=None, cache_dir=tmp_path)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert dataset.fingerprint == fingerprint(*parts)


def test_a_stand_in_draws_only_the_samples_that_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def images(self: StandIn, rows: np.ndarray, part: str) -> np.ndarray:
        drawn.append(len(rows))
        return np.zeros((len(rows), *self.shape), np.uint8)

    monkeypatch.setattr(StandIn, "images", images)
    dataset = load_dataset("mnist", data_dir=None, cache_dir=tmp_path)
    assert [] == drawn
    rows = np.array([[5, 54_999], [0, 5]])
    assert (2, 2, 1, 28, 28) == dataset.train.inputs[rows].shape
    assert (2, 2) == dataset.train.targets[rows].shape
    assert [4] == drawn


def test_what_is_drawn_is_indexed_like_an_array(tmp_path: Path) -> None:
    dataset = load_dataset("stand-in-mnist", data_dir=None, cache_dir=tmp_path)
    whole = np.asarray(dataset.test.targets)
    assert (10_000, np.int64) == (len(whole), whole.dtype)
    for key in (slice(3, 900, 7), np.array([9_999, 4]), np.array([[1, 2], [2, 1]])):
        assert np.array_equal(whole[key], dataset.test.targets[key])


@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
def test_the_users_own_files_are_read(folder: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mine" / folder)
    dataset = load_dataset("mnist", data_dir=tmp_path / "mine", cache_dir=tmp_path / "cache")
    assert not dataset.is_stand_in
    assert (
        dataset.source
        == "images in the format of MNIST, from --data-dir: 48 training and 6 test images"
    )
    assert sizes(dataset) == (44, 4, 6)
    assert dataset.classes == 10


def test_fetched_files_are_read(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar10" / "cifar-10-batches-bin")
    dataset = load_dataset("cifar10", data_dir=None, cache_dir=tmp_path)
    assert not dataset.is_stand_in
    assert dataset.source == "CIFAR-10, fetched: 20 training and 4 test images"
    assert sizes(dataset) == (18, 2, 4)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_folder_without_the_files_is_an_error_even_where_fetched_ones_exist(
    name: str, tmp_path: Path
) -> None:
    write_mnist(tmp_path / "cache" / "mnist")
    write_cifar(tmp_path / "cache" / "cifar10")
    with pytest.raises(UsageError, match="--data-dir has no") as caught:
        load_dataset(name, data_dir=tmp_path / "mine", cache_dir=tmp_path / "cache")
    assert str(tmp_path / "mine") in str(caught.value)


def test_damaged_files_are_an_error_and_never_stood_in_for(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    damaged = tmp_path / "mnist" / "t10k-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated"):
        load_dataset("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=r"truncated.*to get it again: dlbench data fetch mnist"):
        load_dataset("mnist", data_dir=None, cache_dir=tmp_path)


def test_too_few_images_to_part_are_an_error(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=11)
    with pytest.raises(DataError, match="found 11 training and 6 test images"):
        load_dataset("mnist", data_dir=tmp_path, cache_dir=tmp_path)


def test_training_and_validation_part_share_no_sample(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    dataset = load_dataset("mnist", data_dir=tmp_path, cache_dir=tmp_path)
    whole = np.concatenate([dataset.train.inputs, dataset.validation.inputs])
    assert len({image.tobytes() for image in whole}) == 48


def test_the_digits_are_real_and_parted_within_each_class(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    dataset = load_dataset("digits", data_dir=None, cache_dir=tmp_path)
    assert not dataset.is_stand_in
    assert sum(sizes(dataset)) == 1797
    assert sizes(dataset) == (1259, 179, 359)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert (part.inputs.dtype, part.inputs.shape[1:]) == (np.uint8, (1, 28, 28))
        shares = np.bincount(part.targets) / len(part)
        assert np.abs(shares - 0.1).max() < 0.01
    assert dataset.train.inputs.max() == 255
    assert dataset.fingerprint[:16] == "ff9cd4ce4a7866b4"


def test_without_scikit_learn_the_digits_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DataError, match=r"pip install 'dlbench\[data\]'"):
        load_dataset("digits", data_dir=None, cache_dir=tmp_path)


def test_scaling_keeps_flat_images_flat_and_corners_in_place() -> None:
    flat = np.full((1, 8, 8), 16, dtype=np.int64)
    assert (digits.scale_up(flat) == 255).all()
    ramp = np.zeros((1, 8, 8), dtype=np.int64)
    ramp[0, :, 7] = 16
    scaled = digits.scale_up(ramp)[0]
    assert (scaled == scaled[:1]).all()
    assert (np.diff(scaled[0].astype(int)) >= 0).all()
    assert (scaled[0, 0], scaled[0, -1]) == (0, 255)


def test_the_linear_set_has_a_thousand_samples_and_no_classes(tmp_path: Path) -> None:
    dataset = load_dataset("linear", data_dir=None, cache_dir=tmp_path)
    assert sizes(dataset) == (1000, 200, 200)
    assert dataset.classes == 0
    assert dataset.train.inputs.shape == (1000, 10)
    assert dataset.train.targets.shape == (1000, 1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mnst", "did you mean mnist"), ("cifar", "cifar10"), ("?", "cifar100 or images or digits")],
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(
    name: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        load_dataset(name, data_dir=None, cache_dir=tmp_path)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)


def test_a_fingerprint_changes_with_any_value_shape_or_type() -> None:
    inputs, targets = np.zeros((2, 3), dtype=np.float32), np.zeros(2, dtype=np.int64)
    changed = inputs.copy()
    changed[1, 2] = 1
    variants = [
        Split(inputs, targets),
        Split(changed, targets),
        Split(inputs, targets + 1),
        Split(inputs.reshape(2, 3, 1), targets),
        Split(inputs.astype(np.float64), targets),
    ]
    assert len({fingerprint(split) for split in variants}) == len(variants)
    swapped = Split(inputs.astype(">f4"), targets.astype(">i8"))
    assert fingerprint(swapped) == fingerprint(variants[0])
    transposed = Split(np.asfortranarray(changed), targets)
    assert fingerprint(transposed) == fingerprint(variants[1])


def test_a_split_whose_counts_differ_is_refused() -> None:
    with pytest.raises(ValueError, match="2 inputs but 3 targets"):
        Split(np.zeros((2, 3), dtype=np.float32), np.zeros(3, dtype=np.int64))


def test_every_known_name_is_listed_once() -> None:
    assert len(set(datasets.NAMES)) == len(datasets.NAMES)


def test_the_users_own_files_are_mnist_if_they_are_what_a_fetch_would_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "mine")
    sums = {
        path.name: sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "mine").iterdir()
    }
    monkeypatch.setitem(COLLECTIONS, "mnist", Collection(files=sums, mirrors=()))
    dataset = load_dataset("mnist", data_dir=tmp_path / "mine", cache_dir=tmp_path / "cache")
    assert dataset.source == "MNIST, from --data-dir: 48 training and 6 test images"
