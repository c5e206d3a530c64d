"""The parsers of MNIST's and CIFAR-10's files, on sound and on damaged input."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlbench.data import files
from dlbench.data.formats import archives, cifar
from dlbench.data.formats.cifar import find_cifar, missing_cifar, read_cifar
from dlbench.data.formats.mnist import find_mnist, missing_mnist, read_idx, read_mnist
from dlbench.errors import DataError

per_example = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def pixels(count: int) -> np.ndarray:
    return (np.arange(count * 784) % 251).astype(np.uint8).reshape(count, 28, 28)


def write_mnist(folder: Path, *, dotted: bool = False, packed: bool = False) -> None:
    for stem, array in {
        "train-images-idx3": pixels(24),
        "train-labels-idx1": np.arange(24) % 10,
        "t10k-images-idx3": pixels(5),
        "t10k-labels-idx1": np.arange(5),
    }.items():
        name = stem.replace("-idx", ".idx") if dotted else stem
        content = idx_bytes(array)
        path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)


def records(count: int, first_label: int = 0) -> bytes:
    rows = (np.arange(count * 3073) % 249).astype(np.uint8).reshape(count, 3073)
    rows[:, 0] = (np.arange(count) + first_label) % 10
    return rows.tobytes()


CIFAR_NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def write_cifar(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CIFAR_NAMES):
        (folder / name).write_bytes(records(3, number))


def cifar_archive(names: list[str] = CIFAR_NAMES, prefix: str = "cifar-10-batches-bin/") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(prefix + name)
            member.size = 3 * 3073
            archive.addfile(member, io.BytesIO(records(3, number)))
    return held.getvalue()


def test_an_idx_file_is_read_with_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(pixels(3)))
    assert np.array_equal(read_idx(path, 3), pixels(3))


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(idx_bytes(pixels(3))))
    assert np.array_equal(read_idx(path, 3), pixels(3))
    path = tmp_path / "images.gz"
    path.write_bytes(idx_bytes(pixels(3)))
    assert np.array_equal(read_idx(path, 3), pixels(3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, expected 00 00 08 03"),
        (b"<!DOCTYPE html>", "starts with 3c 21 44 4f, expected 00 00 08 03"),
        (idx_bytes(np.zeros(5)), "starts with 00 00 08 01, expected 00 00 08 03"),
        (idx_bytes(pixels(2))[:10], "truncated, found 10 bytes of header, expected 16"),
        (idx_bytes(pixels(2))[:-1], "truncated, found 1567 bytes of data, expected 2 x 28 x 28"),
        (idx_bytes(pixels(2)) + b"x", "more data than the 2 x 28 x 28 = 1568 bytes"),
        (gzip.compress(idx_bytes(pixels(2)))[:-9], "damaged gzip data"),
        (gzip.compress(idx_bytes(pixels(2))) + b"junk", "damaged gzip data"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected at most"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_damaged_idx_file_is_named_with_what_was_found_and_expected(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, 3)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_header_that_lies_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 300_000, 28, 28) + b"few")
    tracemalloc.start()
    with pytest.raises(DataError, match="truncated, found 3 bytes"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_gzip_bomb_is_not_unpacked_beyond_what_its_header_states(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(pixels(1)) + bytes(50_000_000), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError, match="more data than"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("packed", [False, True])
@given(data=st.data())
@per_example
def test_whatever_befalls_an_idx_file_it_reads_or_is_a_data_error(
    tmp_path: Path, packed: bool, data: st.DataObject
) -> None:
    content = idx_bytes(pixels(2))
    path = tmp_path / "file"
    path.write_bytes(data.draw(damaged(gzip.compress(content) if packed else content)))
    with contextlib.suppress(DataError):
        assert read_idx(path, 3).ndim == 3


@st.composite
def damaged(draw: Callable[..., int], content: bytes) -> bytes:
    """Cut, overwrite or insert somewhere in a file, mostly near its head."""
    place = draw(st.one_of(st.integers(0, 40), st.integers(0, len(content))))
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return content[:place]
    octet = bytes([draw(st.integers(0, 255))])
    return content[:place] + octet + content[place + (kind == 1) :]


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_found_under_both_names_plain_or_packed(
    tmp_path: Path, dotted: bool, packed: bool
) -> None:
    write_mnist(tmp_path, dotted=dotted, packed=packed)
    found = find_mnist([tmp_path / "absent", tmp_path])
    (images, labels), (test_images, test_labels) = read_mnist(found)
    assert images.shape == (24, 1, 28, 28)
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 0], pixels(24))
    assert labels.dtype == np.int64
    assert labels.tolist() == [n % 10 for n in range(24)]
    assert (test_images.shape, test_labels.tolist()) == ((5, 1, 28, 28), [0, 1, 2, 3, 4])


def test_an_incomplete_mnist_is_not_found_and_what_lacks_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert not find_mnist([tmp_path])
    assert missing_mnist([tmp_path / "absent", tmp_path]) == (
        f"{tmp_path}: t10k-labels-idx1-ubyte[.gz] not found"
    )


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((24, 28, 27)), "found images 28 x 27"),
        ("train-labels-idx1-ubyte", np.zeros(23), "found 23 labels, expected 24"),
        ("train-labels-idx1-ubyte", np.arange(24), "found label 10 at 10, expected 0 to 9"),
    ],
)
def test_idx_files_that_are_no_mnist_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_mnist(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    found = find_mnist([tmp_path])
    with pytest.raises(DataError, match=message):
        read_mnist(found)


@pytest.mark.parametrize("layout", ["flat", "nested", "archive", "flat archive"])
def test_cifar10_is_read_from_a_folder_its_subfolder_or_the_archive(
    tmp_path: Path, layout: str
) -> None:
    if layout == "flat":
        write_cifar(tmp_path)
    elif layout == "nested":
        write_cifar(tmp_path / "cifar-10-batches-bin")
    else:
        prefix = "./" if layout == "flat archive" else "cifar-10-batches-bin/"
        (tmp_path / "cifar-10-binary.tar.gz").write_bytes(cifar_archive(prefix=prefix))
    place = find_cifar(cifar.CIFAR10, [tmp_path / "absent", tmp_path])
    assert place is not None
    (images, labels), (test_images, test_labels) = read_cifar(cifar.CIFAR10, place)
    assert images.shape == (15, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6]
    expected = np.frombuffer(records(3, 5), dtype=np.uint8).reshape(3, 3073)
    assert np.array_equal(test_images.reshape(3, 3072), expected[:, 1:])
    assert test_labels.tolist() == [5, 6, 7]


def test_an_absent_cifar10_is_not_found_and_what_was_looked_for_is_named(tmp_path: Path) -> None:
    assert find_cifar(cifar.CIFAR10, [tmp_path]) is None
    message = missing_cifar(cifar.CIFAR10, [tmp_path])
    assert message.startswith(str(tmp_path))
    assert "cifar-10-binary.tar.gz" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found 0 bytes, expected a whole number of 3073-byte records"),
        (records(3)[:-1], "found 9218 bytes"),
        (records(2), "hold .3, 2, 3, 3, 3. records, expected equally many"),
        (b"\x0a" + records(3)[1:], "found label 10 in record 0, expected 0 to 9"),
    ],
)
def test_damaged_cifar10_batches_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_cifar(cifar.CIFAR10, tmp_path)


def test_a_batch_of_more_records_than_cifar10_has_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    smaller = [dataclasses.replace(cifar.CIFAR10[0], records=2)]
    with pytest.raises(DataError, match="found more than 6146 bytes"):
        read_cifar(smaller, tmp_path)


@pytest.mark.parametrize("cut", [5, 50, 100])
def test_a_truncated_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    content = cifar_archive()
    path.write_bytes(content[: len(content) * cut // 100 - 1])
    with pytest.raises(DataError, match=r"damaged|not in the archive"):
        read_cifar(cifar.CIFAR10, path)


def test_an_archive_without_the_binary_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(cifar_archive(prefix="cifar-10-batches-py/"))
    with pytest.raises(DataError, match=r"data_batch_1.bin, .* not in the archive"):
        read_cifar(cifar.CIFAR10, path)


def test_nothing_in_an_archive_reaches_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    names = ["../evil.bin", "/evil.bin", *CIFAR_NAMES]
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name in names:
            plain = name.startswith(("..", "/"))
            member = tarfile.TarInfo(name if plain else f"cifar-10-batches-bin/{name}")
            member.size = 3 * 3073
            archive.addfile(member, io.BytesIO(records(3)))
    path.write_bytes(held.getvalue())
    read_cifar(cifar.CIFAR10, path)
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == [path.name]


def test_a_link_in_the_place_of_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type = tarfile.SYMTYPE
        member.linkname = "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(DataError, match="is no plain file"):
        read_cifar(cifar.CIFAR10, path)


def test_an_archive_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 100_000)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        member.size = 1_000_000
        archive.addfile(member, io.BytesIO(bytes(1_000_000)))
    with pytest.raises(DataError, match="unpacks to more than 100000 bytes"):
        read_cifar(cifar.CIFAR10, path)


@pytest.mark.parametrize("packed", [False, True])
@given(data=st.data())
@per_example
def test_whatever_befalls_an_archive_it_reads_or_is_a_data_error(
    tmp_path: Path, packed: bool, data: st.DataObject
) -> None:
    content = cifar_archive()
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(data.draw(damaged(content if packed else gzip.decompress(content))))
    try:
        (images, _), _ = read_cifar(cifar.CIFAR10, path)
        assert images.shape == (15, 3, 32, 32)
    except DataError:
        pass


def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "absent", 1)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path, 1)


def test_reading_stops_one_byte_past_the_limit() -> None:
    assert files.read_at_most(io.BytesIO(b"abc"), 3) == b"abc"
    assert files.read_at_most(io.BytesIO(b"abcdef"), 3) == b"abcd"
