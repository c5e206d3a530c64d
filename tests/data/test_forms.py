"""Data as people have it: read where no pickle is needed, and else named with what helps."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import kinds
from dlbench.data.datasets import find_words, load_dataset
from dlbench.data.npz import read_npz, writing
from dlbench.errors import DataError, UsageError

ARRAYS = {
    "x_train": (np.arange(36 * 784) % 251).astype(np.uint8).reshape(36, 28, 28),
    "y_train": (np.arange(36) % 10).astype(np.uint8),
    "x_test": np.full((5, 28, 28), 7, np.uint8),
    "y_test": np.arange(5, dtype=np.uint8),
}
PARTS = {
    "train-images": "x_train",
    "train-labels": "y_train",
    "t10k-images": "x_test",
    "t10k-labels": "y_test",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A current folder and a home in which nothing lies."""
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def load(folder=None, name="mnist", cache=Path("cache")):
    return load_dataset(name, data_dir=folder, cache_dir=cache)


def write_keras(folder, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "mnist.npz",
        **{name: array for name, array in (ARRAYS | changed).items() if array is not None},
    )


def write_idx(folder, form="{stem}-idx{n}-ubyte", pack=lambda content: content):
    for stem, name in PARTS.items():
        array = ARRAYS[name]
        content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        path = folder / form.format(stem=stem, n=array.ndim)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(content + array.tobytes()))


def write_cifar(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(bytes(4 * 3073))


def test_keras_file_is_read(here):
    write_keras(here / "mine")
    dataset = load(here / "mine")
    assert (
        "images in the format of MNIST, from --data-dir: 36 training and 5 test images"
        == dataset.source
    )
    assert (33, 3, 5) == (len(dataset.train), len(dataset.validation), len(dataset.test))
    assert (1, 28, 28) == dataset.test.inputs.shape[1:]
    assert [0, 1, 2, 3, 4] == dataset.test.targets.tolist()
    write_idx(here / "same")
    assert load(here / "same").fingerprint == dataset.fingerprint


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize(
    "form",
    [
        "{stem}-idx{n}-ubyte",
        "{stem}.idx{n}-ubyte",
        "{stem}-idx{n}-ubyte.gz",
        "{stem}.idx{n}-ubyte.gz",
        "{stem}.idx{n}-ubyte/{stem}.idx{n}-ubyte",
        "MNIST/raw/{stem}-idx{n}-ubyte",
        "raw/{stem}-idx{n}-ubyte",
        "mnist/{stem}-idx{n}-ubyte",
    ],
)
def test_the_four_files_are_read_under_every_usual_name_and_folder(here, form, pack):
    write_idx(here / "mine", form, pack)
    assert 36 == len(load(here / "mine").train) + len(load(here / "mine").validation)


@pytest.mark.parametrize("place", ["data", "../data"])
def test_a_folder_called_data_is_looked_into_after_the_cache(here, place):
    write_idx(here / place / "MNIST" / "raw")
    assert (
        f"images in the format of MNIST, from {place}/MNIST/raw: 36 training and 5 test images"
        == load().source
    )
    assert f"found, from {place}/MNIST/raw" == find_words("mnist", here / "cache")
    write_keras(here / "cache" / "mnist")
    assert load(cache=here / "cache").source.startswith("MNIST, fetched")
    assert load(name="stand-in-mnist").is_stand_in
    write_cifar(here / place / "cifar-10-batches-bin")
    assert f"from {place}/cifar-10-batches-bin" in load(name="cifar10").source


def zipped(folder, name, prefix=""):
    write_idx(folder / "unzipped", pack=gzip.compress)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path in sorted((folder / "unzipped").iterdir()):
            archive.writestr(f"__MACOSX/{path.name}", b"")
            archive.write(path, f"{prefix}{path.name}")
            path.unlink()


@pytest.mark.parametrize(
    ("name", "title", "place", "archive"),
    [
        ("mnist", "MNIST", "MNIST/raw", "mnist.zip"),
        ("fashion-mnist", "Fashion-MNIST", "FashionMNIST/raw", "fashion-mnist.zip"),
        ("kmnist", "KMNIST", "KMNIST/raw", "kmnist.zip"),
    ],
)
def test_what_has_mnists_files_is_read_from_its_folder_or_a_zip(here, name, title, place, archive):
    write_idx(here / "mine" / place)
    dataset = load(here / "mine", name)
    told = f"images in the format of {title}, from --data-dir: 36 training and 5 test images"
    assert (name, told, 10) == (dataset.name, dataset.source, dataset.classes)
    assert not dataset.is_stand_in
    (here / "packed").mkdir()
    zipped(here / "packed", archive, "some/folder/")
    again = load(here / "packed", name)
    np.testing.assert_array_equal(dataset.test.inputs, again.test.inputs)
    assert dataset.fingerprint == again.fingerprint
    write_idx(here / "data" / place)
    assert f"from data/{place}" in load(None, name).source


def test_a_zip_that_lacks_a_file_or_is_damaged_is_told_by_name(here):
    (here / "mine").mkdir()
    zipped(here / "mine", "kmnist.zip")
    path = here / "mine" / "kmnist.zip"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"t10k-labels", b"t10k-libels"))
    with pytest.raises(DataError, match=r"kmnist\.zip: t10k-labels-idx1-ubyte not in it"):
        load(here / "mine", "kmnist")
    path.write_bytes(content[:-30])
    with pytest.raises(DataError, match=r"kmnist\.zip: damaged archive"):
        load(here / "mine", "kmnist")


def test_mnist_is_not_taken_for_fashion_mnist_where_nobody_said_so(here):
    write_idx(here / "data")
    with pytest.raises(
        UsageError, match=r"no Fashion-MNIST found, .* data fetch fashion-mnist; .*--data-dir"
    ):
        load(None, "fashion-mnist")
    assert not load(None, "mnist").is_stand_in


def test_files_that_are_another_data_set_are_refused_by_their_sums(here, monkeypatch):
    write_idx(here / "mine")
    sums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (here / "mine").iterdir()}
    known = dataclasses.replace(kinds.KINDS["fashion-mnist"], known=frozenset(sums))
    monkeypatch.setitem(kinds.KINDS, "fashion-mnist", known)
    assert load(here / "mine", "fashion-mnist").source.startswith("Fashion-MNIST, from --data-dir")
    for other in ("kmnist", "mnist"):
        with pytest.raises(
            UsageError, match=r"are Fashion-MNIST, not K?MNIST; give --data fashion-mnist"
        ):
            load(here / "mine", other)


def test_damaged_files_beside_the_current_folder_are_told_with_the_way_around(here):
    write_idx(here / "data")
    (here / "data" / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"data/t10k-labels.*: starts with nothing.*no --data-dir is given.*--data"
    ):
        load()


def test_what_keras_keeps_in_the_home_is_named_with_the_option_that_reads_it(here):
    write_keras(Path("~/.keras/datasets").expanduser())
    told = "no MNIST found, but --data-dir ~/.keras/datasets has it; or: dlbench data fetch mnist"
    assert f"stand-in ({told})" == load().source
    assert not load(Path("~/.keras/datasets").expanduser()).is_stand_in


UNREAD = {
    "cifar-10-batches-mat/data_batch_1.mat": (
        "cifar10",
        "data/cifar-10-batches-mat, which is in a form that is not read",
    ),
    "data_batch_1": ("cifar10", "data/data_batch_1, which is not all of it"),
    "mnist.pkl.gz": ("mnist", "data/mnist.pkl.gz, which is pickled"),
    "mnist_train.csv": ("mnist", "data/mnist_train.csv, which is in a form that is not read"),
    "MNIST/raw/train-labels-idx1-ubyte": (
        "mnist",
        "raw/train-labels-idx1-ubyte, which is not all of it",
    ),
}


@pytest.mark.parametrize("form", UNREAD)
def test_a_form_that_is_not_read_is_named_with_the_command_that_helps(here, form):
    name, told = UNREAD[form]
    path = here / "data" / form
    path.parent.mkdir(parents=True, exist_ok=True)
    # a pickle that would tell that it was read
    path.write_bytes(pickle.dumps(print))
    dataset = load(name=name)
    assert dataset.is_stand_in
    assert told in dataset.source
    assert dataset.source.endswith(f"dlbench data fetch {name})")
    assert str(here) not in dataset.source
    assert told in find_words(name, here / "cache")
    with pytest.raises(
        UsageError, match=f"--data-dir has no .*{form[:8]}.*dlbench data fetch {name}"
    ):
        load(here / "data", name)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte.gz", "mnist.npz", "t10k-labels.idx1-ubyte"]
)
def test_a_pipe_is_not_waited_for(here, name):
    (here / "mine").mkdir()
    os.mkfifo(here / "mine" / name)
    with pytest.raises(UsageError, match=rf"--data-dir has no MNIST.*{name} is no regular file"):
        load(here / "mine")


def test_a_pipe_in_place_of_the_archive_is_not_waited_for(here):
    os.mkfifo(here / "cifar-10-binary.tar.gz")
    with pytest.raises(UsageError, match=r"cifar-10-binary.tar.gz is no regular file"):
        load(here, "cifar10")


class Trap:
    """What runs code when it is read."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


DAMAGED = {
    "too few labels": (
        {"y_train": ARRAYS["y_train"][:-1]},
        "y_train: found 35 labels, expected 36",
    ),
    "a label too large": (
        {"y_test": ARRAYS["y_test"] + np.uint8(6)},
        "y_test: found label 10 at 4",
    ),
    "a label below 0": (
        {"y_test": ARRAYS["y_test"].astype(np.int8) - 1},
        "y_test: found label -1 at 0",
    ),
    "other images": ({"x_train": ARRAYS["x_train"][:, 1:]}, "x_train: found images 27 x 28"),
    "floats": ({"x_train": ARRAYS["x_train"] / 255}, "x_train: found values of type float64"),
    "wide integers": ({"x_train": ARRAYS["x_train"].astype(int)}, "found images 28 x 28 of int64"),
    "a pickle": ({"x_train": np.array([Trap()])}, "x_train: found values of type object"),
    "a dimension more": ({"x_train": ARRAYS["x_train"][None]}, "expected 3 dimensions"),
    "nothing": ({"x_test": None}, "x_test is not in it, found x_train.npy"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_keras_file_that_is_none_is_refused(here, case):
    changed, message = DAMAGED[case]
    write_keras(here / "mine", **changed)
    with pytest.raises(DataError, match=message):
        load(here / "mine")
    assert not (here / "trapped").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [((9,), "holds less than the 9"), ((3,), "holds more than the 3"), ((2**40,), "at most")],
)
def test_a_header_that_lies_is_not_believed(tmp_path, shape, message):
    held = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(held, header)
    with zipfile.ZipFile(tmp_path / "lying.npz", "w") as archive:
        archive.writestr("a.npy", held.getvalue() + bytes(5))
    with pytest.raises(DataError, match=message):
        read_npz(tmp_path / "lying.npz", {"a": 1}, 2**20)


@pytest.mark.parametrize("header", [b"{'descr': (", b"(" * 500, b"{}", b"\xff", b"1L" * 30, b"x"])
def test_a_header_that_is_no_dictionary_is_called_damaged(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        length = len(header).to_bytes(2, "little")
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + length + header)
    with pytest.raises(DataError, match=r"a\.npz: a: its header is damaged"):
        read_npz(tmp_path / "a.npz", {"a": 1}, 2**20)


def test_arrays_in_fortrans_order_are_read_as_they_are_meant(tmp_path):
    array = np.asfortranarray(np.arange(12).reshape(3, 4))
    np.savez(tmp_path / "a.npz", a=array)
    np.testing.assert_array_equal(array, read_npz(tmp_path / "a.npz", {"a": 2}, 1000)["a"])


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>", bytes(100)])
def test_what_is_no_archive_is_called_that(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: damaged or no \.npz file"):
        read_npz(tmp_path / "a.npz", {"a": 1}, 1000)


def test_what_is_written_piece_by_piece_is_what_numpy_reads(tmp_path):
    array = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    with writing(tmp_path / "a.npz") as written:
        written.add("a/b.c", array.shape, np.float32, (array[i : i + 2] for i in (0, 2, 4)))
        written.add("none", (0, 7), np.int64, [])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(array, found["a/b.c"])
        assert ((0, 7), np.int64) == (found["none"].shape, found["none"].dtype)


@pytest.mark.parametrize("pieces", [[np.zeros(3)], [np.zeros(5, np.float32)], []])
def test_pieces_that_are_not_the_array_are_a_mistake(tmp_path, pieces):
    with pytest.raises(ValueError, match=r"^a: (a )?piece"), writing(tmp_path / "a.npz") as written:
        written.add("a", (3,), np.float32, pieces)
