"""Whatever a suite or a data file holds, a command ends well or says what is wrong: no failure of dlbench itself, no
memory or time without end. A few dozen examples each time, many thousands in `make soak`."""

import gzip
import io
import os
import re
import struct
import tarfile

import numpy as np
import pytest
from confined import Confined
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlbench.spec.suite import list_suites

brief = settings(max_examples=40, suppress_health_check=list(HealthCheck))
long = settings(max_examples=20_000, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def confined():
    with Confined() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


# --- suites ---

NAMES = [name for name, _ in list_suites()]
NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?")
WORD = re.compile(r"[A-Za-z_]\w*")
TOKENS = st.one_of(
    st.integers(-2, 300).map(str),
    st.sampled_from(
        ["0", "1e308", "nan", "-inf", "0x" + "f" * 5000, "9" * 5000, str(2**53), str(10**6)]
    ),
    st.sampled_from(
        ["[]", "[1, 2]", "{}", "true", '""', "'\u202e'", '"\\u001b[2J"', "[[1, 2], [3, 4]]"]
    ),
    st.sampled_from(
        ["relu", "conv2d", "residual", "concat", "flatten", "linear", "noise", "repeat"]
    ),
    st.integers(1, 5).map(lambda power: "a" * 10**power),
    st.text(max_size=6),
)
DEPTHS = st.lists(st.sampled_from([1, 2, 50, 1000]), min_size=1, max_size=25)


def layers_repeated(text, counts):
    """The suite with residual blocks around one activation, each repeated."""
    inner = '{ type = "relu" }'
    for count in counts:
        inner = f'{{ type = "residual", repeat = {count}, body = [{inner}] }}'
    return text.replace("layers = [", f"layers = [ {inner}, ", 1)


@st.composite
def suites(draw):
    """A suite that ships, spoilt in some places, as its file's bytes."""
    text = SHIPPED[draw(st.sampled_from(NAMES))]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["number", "word", "cut", "line", "repeat", "insert"]))
        found = list((NUMBER if kind == "number" else WORD).finditer(text))
        if kind in ("number", "word") and found:
            one = draw(st.sampled_from(found))
            text = text[: one.start()] + draw(TOKENS) + text[one.end() :]
        elif kind == "repeat":
            text = layers_repeated(text, draw(DEPTHS))
        elif kind == "line":
            lines = text.splitlines()
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines or [""])))
            text = "\n".join(lines)
        else:
            begin = draw(st.integers(0, len(text)))
            end = begin if kind == "insert" else min(len(text), begin + draw(st.integers(0, 80)))
            text = text[:begin] + (draw(TOKENS) if kind == "insert" else "") + text[end:]
    encoded = text.encode("utf-8", "replace")
    return draw(st.sampled_from([encoded] * 9 + [encoded.replace(b"a", b"\xff", 1)]))


def _shipped():
    from importlib import resources

    folder = resources.files("dlbench.suites")
    return {name: (folder / f"{name}.toml").read_text("utf-8") for name in NAMES}


SHIPPED = _shipped()


def suite_holds(confined, place, content):
    path = place / "any.toml"
    path.write_bytes(content)
    words = ["--suite", str(path), "--data", "noise", "--dry-run", "--quiet", "--threads", "1"]
    confined.holds("run", *words)


@brief
@given(content=suites())
def test_any_suite_is_planned_or_refused(confined, place, content):
    suite_holds(confined, place, content)


@pytest.mark.soak
@long
@given(content=suites())
def test_any_suite_is_planned_or_refused_at_length(confined, place, content):
    suite_holds(confined, place, content)


# --- data files ---


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def _mnist():
    images = (np.arange(48 * 784) % 251).astype(np.uint8).reshape(48, 28, 28)
    labels = (np.arange(48) % 10).astype(np.uint8)
    files = {
        "train-images-idx3-ubyte": idx(images),
        "train-labels-idx1-ubyte": gzip.compress(idx(labels)),
        "t10k-images.idx3-ubyte": gzip.compress(idx(images[:6])),
        "t10k-labels-idx1-ubyte": idx(labels[:6]),
    }
    held = io.BytesIO()
    np.savez_compressed(held, x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6])
    return files, {"mnist.npz": held.getvalue()}


def _cifar():
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 4 * 3073
            archive.addfile(member, io.BytesIO(bytes(4 * 3073)))
    return {"cifar-10-binary.tar.gz": held.getvalue()}


FORMS = (*(("mnist", files) for files in _mnist()), ("cifar10", _cifar()))


@st.composite
def spoilt_files(draw):
    """A data set's files, one of them changed in some bytes; unpacked before that and packed after it, or not."""
    name, files = draw(st.sampled_from(FORMS))
    one = draw(st.sampled_from(sorted(files)))
    content = files[one]
    is_packed = content[:2] == b"\x1f\x8b" and draw(st.booleans())
    content = gzip.decompress(content) if is_packed else content
    for _ in range(draw(st.integers(1, 3))):
        near = draw(st.sampled_from([0, 0, max(0, len(content) - 400)]))
        at = min(len(content), near + draw(st.integers(0, 400)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"9" * 12]),
            )
        )
        kind = draw(st.sampled_from(["overwrite", "insert", "cut", "remove"]))
        after = {"overwrite": at + len(piece), "insert": at, "cut": len(content), "remove": at + 9}[
            kind
        ]
        content = content[:at] + (b"" if kind in ("cut", "remove") else piece) + content[after:]
    return name, files | {one: gzip.compress(content, 1) if is_packed else content}


def data_holds(confined, place, name, files):
    folder = place / "data"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        os.unlink(path)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    suite = {"mnist": "smoke", "cifar10": "cnn-cifar10"}[name]
    words = ["--suite", suite, "--data", name, "--data-dir", str(folder), "--batch", "4"]
    confined.holds("run", *words, "--dry-run", "--quiet", "--threads", "1")


@brief
@given(spoilt=spoilt_files())
def test_any_data_file_is_read_or_refused(confined, place, spoilt):
    data_holds(confined, place, *spoilt)


@pytest.mark.soak
@long
@given(spoilt=spoilt_files())
def test_any_data_file_is_read_or_refused_at_length(confined, place, spoilt):
    data_holds(confined, place, *spoilt)
