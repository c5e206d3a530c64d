"""Folders of one's own images: found, parted, fitted, and refused by the name of the file that is wrong."""

import importlib
import io
import os
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from dlbench.data.datasets import load_dataset
from dlbench.data.formats.image_folder import decode
from dlbench.errors import DataError, UsageError

SHAPE = (3, 8, 8)


def picture(colour, size=(12, 10), mode="RGB"):
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    return Image.fromarray(pixels).convert(mode)


def lay(folder, classes, count, ending="png", first=0):
    """So many images in the folder of each class, all of different colours."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            colour = (40 * number, first + 3 * i, 200)
            picture(colour).save(folder / name / f"{first + i:03}.{ending}")


def load(folder, shape=SHAPE):
    return load_dataset("images", data_dir=folder, cache_dir=folder / "cache", shape=shape)


def decoded(folder):
    dataset = load(folder)
    return [part.inputs[:] for part in (dataset.train, dataset.validation, dataset.test)]


def sizes(dataset):
    return len(dataset.train), len(dataset.validation), len(dataset.test)


def test_each_class_gives_its_share_to_test_and_to_validate_with(tmp_path):
    lay(tmp_path, ["cat", "dog"], 10)
    dataset = load(tmp_path)
    assert (
        "images from --data-dir: 14 to train, 2 to validate, 4 to test, 2 classes" == dataset.source
    )
    assert ((14, 2, 4), 2, False) == (sizes(dataset), dataset.classes, dataset.is_stand_in)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert {0, 1} == {*part.targets}
        assert (np.uint8, SHAPE) == (part.inputs.dtype, part.inputs.shape[1:])
    files = [f for p in (dataset.train, dataset.validation, dataset.test) for f in p.inputs.files]
    assert sorted(tmp_path.glob("*/*.png")) == sorted(files)


def test_the_share_is_one_of_names_and_not_of_places_or_times(tmp_path):
    lay(tmp_path / "a", ["cat", "dog"], 10)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = load(tmp_path / "a"), load(tmp_path / "b")
    assert one.fingerprint == other.fingerprint
    assert [f.name for f in one.test.inputs.files] == [f.name for f in other.test.inputs.files]
    assert ["003.png", "004.png"] == [f.name for f in one.test.inputs.files[:2]]


def test_parts_that_lie_apart_stay_so(tmp_path):
    lay(tmp_path / "train", ["cat", "dog"], 10)
    lay(tmp_path / "val", ["cat", "dog"], 2, first=100)
    assert (18, 2, 4) == sizes(load(tmp_path))
    lay(tmp_path / "test", ["dog"], 3, first=200)
    dataset = load(tmp_path)
    assert (20, 4, 3) == sizes(dataset)
    assert {"val"} == {file.parts[-3] for file in dataset.validation.inputs.files}
    assert [1, 1, 1] == dataset.test.targets.tolist()


def test_a_sample_is_its_own_file_with_its_own_label(tmp_path):
    lay(tmp_path, ["cat", "dog"], 10)
    dataset = load(tmp_path)
    for part in (dataset.train, dataset.validation, dataset.test):
        for i, (file, label) in enumerate(zip(part.inputs.files, part.targets, strict=True)):
            assert ["cat", "dog"][label] == file.parent.name
            red, green, blue = part.inputs[np.array([i])][0, :, 0, 0]
            assert (40 * label, 3 * int(file.stem), 200) == (red, green, blue)


@pytest.mark.parametrize("change", ["content", "name", "class", "shape"])
def test_the_fingerprint_tells_what_lies_there(tmp_path, change):
    lay(tmp_path, ["cat", "dog"], 4)
    before = load(tmp_path).fingerprint
    one = tmp_path / "cat" / "001.png"
    if change == "content":
        picture((1, 2, 3)).save(one)
    elif change == "name":
        one.rename(tmp_path / "cat" / "x.png")
    elif change == "class":
        one.rename(tmp_path / "dog" / "x.png")
    assert before != load(tmp_path, (3, 8, 9) if change == "shape" else SHAPE).fingerprint


def test_an_image_is_scaled_to_cover_and_cut_around_its_middle(tmp_path):
    # 40 x 20: a grey ramp over its width, of which the middle 20 are to be seen
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (20, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    np.testing.assert_array_equal(ramp[:, 10:30], decode(tmp_path / "a.png", (1, 20, 20))[0])
    small = decode(tmp_path / "a.png", (1, 10, 10))[0]
    # every pixel the mean of two of the ramp, weighted by a triangle
    assert np.abs(small[5].astype(int) - np.arange(63, 180, 12)).max() <= 3
    assert (3, 5, 20) == decode(tmp_path / "a.png", (3, 5, 20)).shape


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_colour_become_those_of_the_suite(tmp_path, mode, channels):
    ending = "jpg" if mode == "CMYK" else "png"
    picture((255, 255, 255), mode=mode).save(tmp_path / f"a.{ending}")
    image = decode(tmp_path / f"a.{ending}", (channels, 6, 7))
    assert ((channels, 6, 7), np.uint8) == (image.shape, image.dtype)
    assert image.min() >= 250


def test_jpegs_are_read_under_each_of_their_endings(tmp_path):
    lay(tmp_path, ["cat"], 3, "jpg")
    lay(tmp_path, ["dog"], 3, "jpeg")
    lay(tmp_path, ["emu"], 3, "JPG")
    (tmp_path / "emu" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("not a class")
    dataset = load(tmp_path)
    assert (3, 3, 3) == sizes(dataset)
    assert 3 == dataset.classes
    assert (3, *SHAPE) == dataset.train.inputs[np.arange(3)].shape


def jpeg(size=(12, 10)):
    held = io.BytesIO()
    picture((9, 9, 9), size).save(held, "JPEG")
    return held.getvalue()


def deep():
    held = io.BytesIO()
    Image.fromarray(np.full((9, 9), 60_000, np.uint16)).save(held, "PNG")
    return held.getvalue()


def gif_named_png():
    held = io.BytesIO()
    picture((9, 9, 9)).save(held, "GIF")
    return held.getvalue()


BROKEN = {
    "cut off": (jpeg((200, 200))[:-300], "damaged or no JPEG or PNG .*truncated"),
    "a head alone": (jpeg()[:20], "damaged or no JPEG or PNG"),
    "nothing": (b"", "starts with nothing, expected a JPEG or PNG"),
    "a page": (b"<!DOCTYPE html>", "starts with 3c 21 44 4f"),
    "another format": (gif_named_png(), "starts with 47 49 46 38"),
    "16 bits": (deep(), "is of mode I;16, expected 8 bits a channel"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_image_is_named(tmp_path, name):
    content, message = BROKEN[name]
    lay(tmp_path, ["cat", "dog"], 4)
    (tmp_path / "dog" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"dog/bad\.png: .*{message}"):
        decoded(tmp_path)


def test_a_picture_of_absurd_size_is_not_unpacked(tmp_path):
    # a header that announces 60,000 x 60,000 pixels, with its own checksum
    held = io.BytesIO()
    picture((1, 1, 1)).save(held, "PNG")
    content = bytearray(held.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: (has 60000 x 60000 pixels|damaged)"):
        decode(tmp_path / "a.png", SHAPE)


def odd(folder, name):
    if name == "a table":
        (folder / "cat" / "labels.csv").write_text("a,b")
    elif name == "a folder":
        (folder / "cat" / "more.png").mkdir()
    elif name == "a pipe":
        os.mkfifo(folder / "cat" / "pipe.png")
    elif name == "too few":
        lay(folder, ["emu"], 2)
    elif name == "no classes":
        shutil.rmtree(folder / "cat")
        shutil.rmtree(folder / "dog")
    elif name == "training alone":
        lay(folder / "train", ["cat"], 3)
    elif name == "an unknown class":
        lay(folder / "train", ["cat"], 4)
        lay(folder / "test", ["yak"], 4)


ODD = {
    "a table": r"cat/labels\.csv: is no file called \.jpg, \.jpeg, \.png",
    "a folder": r"cat/more\.png: is no file called",
    "a pipe": r"cat/pipe\.png: is no file called",
    "too few": r"emu: has 2 images, expected 3 or more",
    "no classes": "found no folders, expected one for each class",
    "training alone": "has a folder train, expected test or val beside it",
    "an unknown class": r"test/yak: this class has no folder to train on",
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_named(tmp_path, name):
    lay(tmp_path, ["cat", "dog"], 4)
    odd(tmp_path, name)
    with pytest.raises(DataError, match=ODD[name]):
        load(tmp_path)


@pytest.mark.parametrize("shape", [(10,), (2, 8, 8), ()])
def test_a_suite_that_takes_no_images_is_told(tmp_path, shape):
    lay(tmp_path, ["cat", "dog"], 4)
    with pytest.raises(UsageError, match="gives images of 1 or 3 channels"):
        load(tmp_path, shape)


def test_images_need_a_folder(tmp_path):
    with pytest.raises(UsageError, match="needs --data-dir"):
        load_dataset("images", data_dir=None, cache_dir=tmp_path, shape=SHAPE)


def test_without_pillow_it_is_told_how_to_get_it(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    lay(tmp_path, ["cat", "dog"], 4)
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DataError, match=r"pip install 'dlbench\[images\]'"):
        load(tmp_path)
