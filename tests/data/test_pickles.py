"""CIFAR's Python version is read, and nothing that a pickle asks for is run."""

import contextlib
import io
import os
import pickle
import pickletools
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.data.datasets import load_dataset
from dlbench.data.formats.pickles import read_pickle
from dlbench.errors import DataError

ROWS = np.arange(4 * 3072, dtype=np.int64).reshape(4, 3072).astype(np.uint8)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A current folder in which a pickle that is run leaves something behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    assert not (tmp_path / "trapped").exists()


def of_python_2(rows, labels, key=b"labels"):
    """A file as the original ones are: written by Python 2, with strings that are bytes."""
    content = rows.tobytes()
    shape = b"M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T"
        + struct.pack("<i", len(content))
        + content
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    named = b"U" + bytes([len(key)]) + key
    return b"\x80\x02}(U\x04data" + array + named + numbers + b"u."


def files(kind):
    """The files of a data set's Python version, by name."""
    if kind == "cifar10":
        names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
        made = {name: of_python_2(ROWS + np.uint8(i), [i, 9, 0, 1]) for i, name in enumerate(names)}
        return "cifar-10-batches-py", made
    made = {"train": of_python_2(np.tile(ROWS, (3, 1)), [99, 0, 7] * 4, b"fine_labels")}
    made["test"] = pickle.dumps(
        {"data": ROWS, "fine_labels": [5, 6, 7, 98], "coarse_labels": [0] * 4}
    )
    return "cifar-100-python", made


def lay(place, kind, form):
    folder, made = files(kind)
    if form == "folder":
        (place / folder).mkdir()
        for name, content in made.items():
            (place / folder / name).write_bytes(content)
        return
    stem = {"cifar10": "cifar-10-python", "cifar100": "cifar-100-python"}[kind]
    if form == "zip":
        with zipfile.ZipFile(place / f"{stem}.zip", "w") as archive:
            for name, content in made.items():
                archive.writestr(f"{folder}/{name}", content)
        return
    with tarfile.open(place / f"{stem}.tar.gz", "w:gz") as archive:
        for name, content in made.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_cifar10s_python_version_is_read(here, form):
    lay(here, "cifar10", form)
    dataset = load_dataset("cifar10", data_dir=here, cache_dir=here / "cache")
    assert not dataset.is_stand_in
    assert dataset.source.startswith(
        "images in the format of CIFAR-10, from --data-dir: 20 training"
    )
    assert (18, 2, 4) == (len(dataset.train), len(dataset.validation), len(dataset.test))
    assert [5, 9, 0, 1] == np.asarray(dataset.test.targets).tolist()
    np.testing.assert_array_equal((ROWS + np.uint8(5)).reshape(4, 3, 32, 32), dataset.test.inputs)


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_cifar100_has_a_hundred_classes_by_its_finer_labels(here, form):
    lay(here, "cifar100", form)
    dataset = load_dataset("cifar100", data_dir=here, cache_dir=here / "cache")
    assert 100 == dataset.classes
    assert [5, 6, 7, 98] == np.asarray(dataset.test.targets).tolist()
    whole = np.concatenate([dataset.train.targets, dataset.validation.targets])
    assert sorted([99, 0, 7] * 4) == sorted(whole.tolist())


def test_cifar100s_folder_itself_may_be_named(here):
    lay(here, "cifar100", "folder")
    given = here / "cifar-100-python"
    assert 4 == len(load_dataset("cifar100", data_dir=given, cache_dir=here).test)


def test_cifar100s_binary_version_is_read_by_the_second_label(here):
    rows = np.concatenate(
        [np.full((12, 1), 3), np.arange(12)[:, None] + 60, np.tile(ROWS, (3, 1))], 1
    )
    (here / "cifar-100-binary").mkdir()
    for name, part in {"train.bin": rows, "test.bin": rows[:2]}.items():
        (here / "cifar-100-binary" / name).write_bytes(part.astype(np.uint8).tobytes())
    dataset = load_dataset("cifar100", data_dir=here, cache_dir=here)
    assert [60, 61] == np.asarray(dataset.test.targets).tolist()
    np.testing.assert_array_equal(ROWS[:2].reshape(2, 3, 32, 32), dataset.test.inputs)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL))
@pytest.mark.parametrize("kind", ["u1", "<i4", ">i8", "f4", "b1"])
def test_arrays_come_as_they_were_written(protocol, kind):
    array = np.arange(12).reshape(3, 4).astype(kind)
    for one in (array, np.asfortranarray(array)):
        held = {"a": one, b"b": [1, 2.5, None, True, "ü"]}
        read = read_pickle("file", pickle.dumps(held, protocol))
        np.testing.assert_array_equal(array, read["a"])
        assert held[b"b"] == [e.decode() if isinstance(e, bytes) else e for e in read[b"b"]]


class Calls:
    """What has `call(*given)` run by whoever reads it."""

    def __init__(self, call, *given):
        self.given = call, given

    def __reduce__(self):
        return self.given


class Grows:
    """An object whose state is set."""


HOSTILE = {
    "a command": pickle.dumps(Calls(os.system, "touch trapped")),
    "a folder made": pickle.dumps({"data": Calls(os.mkdir, "trapped")}),
    "code": pickle.dumps(Calls(eval, "__import__('os').mkdir('trapped')")),
    "an attribute": pickle.dumps(Calls(getattr, "x", "format")),
    "an object of a class": pickle.dumps(Grows()),
    "an array of objects": pickle.dumps(np.array([Calls(os.mkdir, "trapped")])),
    "an array of text": pickle.dumps(np.array([None, "a"], object)),
    "a file of NumPy's": b"cnumpy\nfromfile\n(S'/etc/passwd'\ntR.",
    "a module of NumPy's": b"cnumpy.testing._private.utils\nruntime\n(S'x'\ntR.",
    "of Python 2": b"(S'touch trapped'\nios\nsystem\n.",
    "by its own name": b"cnt\nsystem\n(S'touch trapped'\ntR.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent object": b"Pname\n.",
    "state of a function": b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",
    "attributes of a class": b"\x80\x02cnumpy\ndtype\nN}X\x07\x00\x00\x00restoreNs\x86b.",
    "an array without end": b"\x80\x02cnumpy\nndarray\n(M\xff\xffM\xff\xffM\xff\xfft\x85R.",
    "more memory than there is": b"\x80\x02]r\xff\xff\xff\x7f0\x8a\xff",
    "bytes that are not there": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
    "text without end": b"\x80\x02c_codecs\nencode\n]q\x00(h\x00h\x00e\x85R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_is_run(name):
    with pytest.raises(DataError, match=r"^file: "):
        read_pickle("file", HOSTILE[name])


def test_a_hostile_file_is_named_with_what_it_asked_for(here):
    lay(here, "cifar10", "folder")
    path = here / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(HOSTILE["a folder made"])
    with pytest.raises(DataError, match=r"data_batch_3: asks for posix\.mkdir, which is not run"):
        load_dataset("cifar10", data_dir=here, cache_dir=here)


ODD = {
    "no dictionary": (pickle.dumps([1]), "found a list, expected a dictionary"),
    "no array": (pickle.dumps({"data": [1], "labels": [1]}), "no array of uint8 called data"),
    "floats": (pickle.dumps({"data": ROWS / 2, "labels": [1] * 4}), "no array of uint8"),
    "other pixels": (
        of_python_2(ROWS, [1] * 3),
        "no whole numbers called labels, one for each of 4",
    ),
    "another shape": (pickle.dumps({"data": ROWS[:, 1:], "labels": [1] * 4}), "shape .4, 3071."),
    "a label too large": (
        of_python_2(ROWS, [1, 2, 10, 3]),
        "found label 10 in record 2, expected 0 to 9",
    ),
    "labels of words": (pickle.dumps({"data": ROWS, "labels": list("abcd")}), "no whole numbers"),
    "labels of lists": (
        pickle.dumps({"data": ROWS, "labels": [[1], [1, 2], 3, 4]}),
        "no whole numbers",
    ),
    "no labels": (pickle.dumps({"data": ROWS}), "no whole numbers called labels"),
    "cut off": (of_python_2(ROWS, [1] * 4)[:-9], "damaged or no pickle"),
    "a page": (b"<!DOCTYPE html>", "damaged or no pickle"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_batch_that_is_none_is_refused_with_its_name(here, name):
    content, message = ODD[name]
    lay(here, "cifar10", "folder")
    (here / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_2: .*{message}"):
        load_dataset("cifar10", data_dir=here, cache_dir=here)


WHOLE = of_python_2(ROWS[:1], [1])
CODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    at=st.integers(0, 160),
    piece=st.lists(st.sampled_from(CODES) | st.binary(max_size=4), max_size=6),
    is_cut=st.booleans(),
)
def test_whatever_befalls_a_pickle_it_is_read_or_refused(at, piece, is_cut):
    changed = WHOLE[:at] + b"".join(piece) + (b"." if is_cut else WHOLE[at:])
    with contextlib.suppress(DataError):
        read_pickle("file", changed)
