"""Suites beyond all measure: refused in few words, in no time, and with the place."""

import os
import tomllib
from pathlib import Path

import pytest

from dlbench.errors import SuiteError
from dlbench.spec.network import walk
from dlbench.spec.suite import load_suite, parse_suite
from dlbench.spec.workload import read_workload

PATH = Path("somewhere/mine.toml")
TEXT = """
[network]
input = [1, 12, 12]
layers = [
    { type = "conv2d", out_channels = 4, kernel = 3 },
    { type = "flatten" },
    { type = "linear", out_features = 10 },
]
[training]
optimizer = { type = "sgd", learning_rate = 0.1 }
epochs = 3
[data]
name = "mnist"
"""
LONG = "a" * 70_000
BITS = f"0x{'f' * 5000}"
BOMB = '{ type = "residual", repeat = 1000, body = [{ type = "residual", repeat = 1000, body = ['
BOMB += '{ type = "relu" }] }]'
# (text in the suite, what stands there instead, what the message says)
ABSURD = {
    "5,000 digits": (
        "epochs = 3",
        f"epochs = {'9' * 5000}",
        "line 11: a number of too many digits",
    ),
    "as many bits": (
        "epochs = 3",
        f"epochs = {BITS}",
        "training.epochs = an integer of 20,000 bits",
    ),
    "such a size": ("[1, 12,", f"[{BITS}, 12,", "network.input = [an integer of 20,000 bits"),
    "such a repeat": (
        "kernel = 3",
        f"kernel = 3, repeat = {BITS}",
        "layers[0].repeat = an integer",
    ),
    "such a type": ('"conv2d"', BITS, "network.layers[0].type = an integer of"),
    "such a loss": ("epochs = 3", f"loss = {BITS}", "training.loss = an integer of"),
    "a long name": ("kernel = 3", f'kernel = 3, name = "{LONG}"', "network.layers[0].name"),
    "a long key": ("kernel = 3", f"kernel = 3, {LONG} = 1", "network.layers[0].aaa"),
    "a long type": ("conv2d", LONG, "network.layers[0].type = 'aaa"),
    "a long loss": ("epochs = 3", f'loss = "{LONG}"', "training.loss = 'aaa"),
    "a long array": ("kernel = 3", f"kernel = [{'1, ' * 9999}]", "layers[0].kernel = [1, 1"),
    "an escape": ("kernel = 3", r'kernel = 3, "\u001b[2J\n" = 1', "layers[0]. [2J is not a known"),
    "a million layers": ("kernel = 3 }", f"kernel = 3 }}, {BOMB} }}", "layers[1].body[0]"),
    "a million epochs more": ("epochs = 3", "epochs = 1_000_001", "1 to 1,000,000"),
}


@pytest.mark.parametrize("case", ABSURD)
def test_what_is_absurd_is_refused_in_few_words(case):
    old, new, part = ABSURD[case]
    assert old in TEXT
    with pytest.raises(SuiteError) as caught:
        parse_suite(TEXT.replace(old, new, 1), PATH)
    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    assert part in message
    assert len(message) < 600
    assert message.isprintable()


def test_a_network_may_have_ten_thousand_layers_however_they_are_repeated():
    block = {"type": "residual", "repeat": 3, "body": [{"type": "relu", "repeat": 1000}]}
    layers = [{"type": "residual", "repeat": 3, "body": [block]}, {"type": "relu", "repeat": 986}]
    given = tomllib.loads(TEXT)["training"] | {"input_shape": [9], "loss": "cross_entropy"}
    # 3 × (1 + 3 × 1,001) + 986 + 2
    table = given | {"layers": [*layers, {"type": "relu"}, {"type": "linear", "out_features": 2}]}
    assert 10_000 == len(list(walk(read_workload(table).nodes)))
    with pytest.raises(SuiteError, match=r"layers\[4\]: with this layer .* more than 10,000"):
        parse_suite(_with_layers([*table["layers"], {"type": "relu"}]), PATH)


def _with_layers(layers):
    """The suite with other layers, as text."""
    written = str(layers).replace("': ", "' = ")
    begin, end = TEXT.index("layers ="), TEXT.index("[training]")
    text = TEXT[:begin] + f"layers = {written}\n" + TEXT[end:]
    return text.replace("[1, 12, 12]", "[9]")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
def test_what_is_no_ordinary_file_is_no_suite(tmp_path, kind):
    path = tmp_path / "mine.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**37)
    reasons = r"is no regular file|is larger than 1,024 KiB|cannot be read: Is a directory"
    with pytest.raises(SuiteError, match=rf"^mine\.toml: ({reasons})"):
        load_suite(str(path))


@pytest.mark.parametrize("name", ["x" * 70_000, "x" * 70_000 + ".toml", "a\0.toml", "../ci"])
def test_a_name_that_no_suite_can_have_is_refused_in_few_words(name):
    with pytest.raises(SuiteError) as caught:
        load_suite(name)
    assert len(str(caught.value)) < 700
