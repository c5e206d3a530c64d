import copy
import datetime
import json
import re
import string
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.errors import SuiteError
from dlbench.spec.suite import list_suites, load_suite, parse_suite

PATH = Path("somewhere/mine.toml")
TEXT = """
description = "a test"

[network]
input = [1, 12, 12]
layers = [
    { type = "conv2d", out_channels = 4, kernel = 3 },
    { type = "relu" },
    { type = "dropout", rate = 0.25 },
    { type = "max_pool", kernel = 2 },
    { type = "flatten" },
    { type = "linear", in_features = 100, out_features = 10 },
]

[training]
loss = "cross_entropy"
optimizer = { type = "sgd", learning_rate = 0.1, momentum = 0.9 }
schedule = { type = "step", every = 2 }
epochs = 3

[data]
name = "mnist"
mean = [0.1]
std = [0.3]

[matrix]
backends = ["numpy", "torch"]
devices = ["cpu"]
scenarios = ["train", "infer"]
batches = [4, 8]
"""
TABLE = tomllib.loads(TEXT)

# what is wrong: (text in the suite, what stands there instead, what the message says)
REFUSED = {
    "unknown key": ("kernel = 3", "kernal = 3", "network.layers[0].kernal", "'kernel'"),
    "unknown layer": ('"relu"', '"rulu"', "network.layers[1].type = 'rulu'", "'relu'"),
    "unknown section": ("[matrix]", "[matrx]", "matrx", "'matrix'"),
    "unknown key of training": ("epochs = 3", "epoch = 3", "training.epoch", "'epochs'"),
    "unknown key of data": ("std = [0.3]", "stdev = [0.3]", "data.stdev", "'std'"),
    "unknown key of matrix": ("batches", "batchs", "matrix.batchs", "'batches'"),
    "unknown loss": ('"cross_entropy"', '"crossentropy"', "training.loss", "'cross_entropy'"),
    "unknown optimizer": ('"sgd"', '"sgdm"', "training.optimizer.type = 'sgdm'", "'sgd'"),
    "PyTorch's word of RMSprop": (
        '"sgd", learning_rate = 0.1, momentum = 0.9',
        '"rmsprop", learning_rate = 0.1, alpha = 0.9',
        "training.optimizer.alpha",
        "called rho here",
    ),
    "RMSprop, centered": (
        '"sgd", learning_rate = 0.1, momentum = 0.9',
        '"rmsprop", learning_rate = 0.1, centered = true',
        "training.optimizer.centered",
        "is not offered",
    ),
    "Adadelta with momentum": ('"sgd"', '"adadelta"', "training.optimizer.momentum", "has none"),
    "decay of biases that is a word": (
        "momentum = 0.9",
        'decay_biases_and_norms = "no"',
        "decay_biases_and_norms = 'no'",
        "true or false",
    ),
    "unknown schedule": ('"step"', '"steps"', "training.schedule.type = 'steps'", "'step'"),
    "unknown scenario": ('"infer"]', '"inference"]', "matrix.scenarios", "'infer'"),
    "kernel that is a word": ("kernel = 3", 'kernel = "3"', "kernel = '3'", "an integer"),
    "kernel that is a fraction": ("kernel = 3", "kernel = 3.5", "kernel = 3.5", "an integer"),
    "three kernel sizes": ("kernel = 3", "kernel = [3, 3, 3]", "kernel = [3, 3, 3]", "two of them"),
    "rate that is true": ("rate = 0.25", "rate = true", "rate = True", "a number"),
    "rate that is not finite": ("rate = 0.25", "rate = nan", "layers[2].rate = nan", "finite"),
    "rate of 1": ("rate = 0.25", "rate = 1", "network.layers[2].rate = 1", "less than 1"),
    "negative rate": ("rate = 0.25", "rate = -0.1", "layers[2].rate = -0.1", "0 or more"),
    "epochs of 0": ("epochs = 3", "epochs = 0", "training.epochs = 0", "1 to"),
    "no learning rate": (
        "learning_rate = 0.1, ",
        "",
        "training.optimizer.learning_rate",
        "missing",
    ),
    "zero learning rate": ("= 0.1,", "= 0.0,", "learning_rate = 0.0", "greater than 0"),
    "kernel larger than its input": (
        "kernel = 3",
        "kernel = 13",
        "kernel = 13 does not fit",
        "1 × 12 × 12",
    ),
    "pool larger than its input": (
        "kernel = 2",
        "kernel = 11",
        "layers[3].kernel = 11",
        "at most 10",
    ),
    "linear that does not fit": (
        "= 100,",
        "= 9216,",
        "layers[5].in_features = 9216",
        "100 features",
    ),
    "no channels": ("out_channels = 4", "out_channels = 0", "out_channels = 0", "1 or more"),
    "negative stride": ("kernel = 3", "kernel = 3, stride = -1", "stride = -1", "1 or more"),
    "zero size": ("[1, 12, 12]", "[1, 0, 12]", "network.input = [1, 0, 12]", "1 or more"),
    "two sizes": ("[1, 12, 12]", "[12, 12]", "network.input = [12, 12]", "[features]"),
    "batch of 0": ("[4, 8]", "[4, 0]", "matrix.batches", "1 or more"),
    "batch twice": ("[4, 8]", "[8, 8]", "matrix.batches = [8, 8]", "twice"),
    "batch that is a word": ("[4, 8]", '["4"]', "matrix.batches[0] = '4'", "an integer"),
    "no batch": ("[4, 8]", "[]", "matrix.batches", "nothing to run"),
    "no backend": ('["numpy", "torch"]', "[]", "matrix.backends", "nothing to run"),
    "no scenario": ('["train", "infer"]', "[]", "matrix.scenarios", "nothing to run"),
    "no device": ('["cpu"]', "[]", "matrix.devices", "nothing to run"),
    "an integer no float can hold": (
        "out_channels = 4",
        "out_channels = 1" + 400 * "0",
        "network.layers[0]",
        "",
    ),
    "a number no float can hold": (
        "rate = 0.25",
        "rate = 1" + 400 * "0",
        "network.layers[2].rate",
        "",
    ),
    "mean for other channels": ("[0.1]", "[0.1, 0.2]", "data.mean = [0.1, 0.2]", "channels (1)"),
    "mean without std": ("std = [0.3]", "", "data", "std"),
    "std of 0": ("[0.3]", "[0]", "data.std = [0", "greater than 0"),
    "no data": ('name = "mnist"', "", "data.name", "missing"),
    "description that is a number": ('"a test"', "1", "description = 1", "a string"),
    "no flatten": ('    { type = "flatten" },\n', "", "network.layers[4]", "flatten"),
    "date for a rate": ("rate = 0.25", "rate = 2020-01-01", "layers[2].rate", "a number"),
    "no TOML": ("[network]", "[network", "TOML", ""),
}


def test_the_suite_that_the_mistakes_are_made_in_is_right():
    suite = parse_suite(TEXT, PATH)
    assert suite.name == "mine"
    assert suite.epochs == 3
    assert suite.matrix.batches == (4, 8)
    assert suite.data.std == (0.3,)
    assert suite.workload.output_shape == (10,)


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_with_file_field_value_and_what_would_be_valid(case):
    old, new, *parts = REFUSED[case]
    assert old in TEXT
    with pytest.raises(SuiteError) as caught:
        parse_suite(TEXT.replace(old, new, 1), PATH)
    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    for part in parts:
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("section", ["network", "training", "data"])
def test_a_section_that_is_missing_is_named(section):
    text = re.sub(rf"(?ms)^\[{section}\].*?(?=^\[|\Z)", "", TEXT)
    with pytest.raises(SuiteError, match=rf"mine.toml: {section}: this section is missing"):
        parse_suite(text, PATH)


def test_the_matrix_may_be_left_out():
    matrix = parse_suite(TEXT[: TEXT.index("[matrix]")], PATH).matrix
    # which stands for all that are installed
    assert () == matrix.backends
    assert matrix.batches == (64,)


def test_a_kernel_that_does_not_fit_is_told_both_remedies():
    with pytest.raises(SuiteError, match=r"padding 0\); at most 12, or padding ≥ 1"):
        parse_suite(TEXT.replace("kernel = 3", "kernel = 13"), PATH)


def test_an_unknown_suite_gets_the_nearest_name():
    with pytest.raises(SuiteError, match=r"'cnn-mnits' is unknown; did you mean 'cnn-mnist'\?"):
        load_suite("cnn-mnits")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(SuiteError, match=r"none.toml: cannot be read: No such file"):
        load_suite(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(str(tmp_path / "folder.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match=r"binary.toml: not UTF-8"):
        load_suite(str(binary))


def test_a_file_is_loaded_by_its_path_and_named_after_it(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TEXT, "utf-8")
    assert load_suite(str(file)).name == "mine"


def test_every_suite_that_ships_loads_and_says_in_a_line_what_it_is():
    suites = list_suites()
    assert {name for name, _ in suites} >= {
        *("cnn-mnist", "cnn-mnist-deep", "cnn-mnist-wide", "cnn-cifar10", "linear-mse"),
        *("vgg-cifar10", "resnet-cifar10", "densenet-cifar10", "smoke", "ci"),
    }
    for name, description in suites:
        suite = load_suite(name)
        assert suite.name == name
        assert description == suite.description
        assert description
        assert "\n" not in description


# --- whatever stands in a file, nothing but a SuiteError comes out ---


def dump(value):
    """A value as TOML, tables inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {dump(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(dump(item) for item in value) + "]"
        case str():
            return json.dumps(value)
        case datetime.date():
            return value.isoformat()
    return str(value)


def as_toml(table):
    return "\n".join(f"{json.dumps(key)} = {dump(value)}" for key, value in table.items())


WORDS = [*TABLE, "type", "kernel", "relu", "residual", "body", "shortcut", "option_a", "concat"]
WORDS += ["bodies", "padding", "same", "max_pool", "avg_pool", "ceil_mode", "count_include_pad"]
SCALARS = st.one_of(
    st.integers(-3, 20),
    st.sampled_from([0, 10**6, 10**9, 10**20, 10**400, -(10**400)]),
    st.floats(width=32),
    st.booleans(),
    st.sampled_from(WORDS),
    st.text(string.printable, max_size=5),
    st.just(datetime.date(2020, 1, 2)),
)
KEYS = st.sampled_from(WORDS) | st.text(string.ascii_lowercase, min_size=1, max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def spoilt_tables(draw):
    """The right table with one to three places replaced, removed, or added to."""
    table = copy.deepcopy(TABLE)
    for _ in range(draw(st.integers(1, 3))):
        place = table
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            action = draw(st.sampled_from(["replace", "remove", "add"]))
            if action == "replace":
                place[key] = draw(VALUES)
            elif action == "remove":
                del place[key]
            elif isinstance(place, dict):
                place[draw(KEYS)] = draw(VALUES)
            else:
                place.insert(key, draw(VALUES))
            break
    return table


def refused_or_right(text):
    """Reads a suite's text; the error of a wrong one names the file, and no other error comes."""
    message = "mine.toml: "
    try:
        parse_suite(text, PATH)
    except SuiteError as error:
        message = str(error)
    assert message.startswith("mine.toml: ")


def test_what_is_written_as_toml_here_is_read_back_the_same():
    assert tomllib.loads(as_toml(TABLE)) == TABLE
    assert parse_suite(as_toml(TABLE), PATH) == parse_suite(TEXT, PATH)


@settings(max_examples=400)
@given(spoilt_tables())
def test_a_suite_with_anything_in_any_place_is_refused_or_right(table):
    refused_or_right(as_toml(table))


@settings(max_examples=100)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_table_is_refused_or_right(table):
    refused_or_right(as_toml(table))


@settings(max_examples=200)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5) | VALUES, max_size=4))
def test_any_layers_are_refused_or_right(layers):
    refused_or_right(as_toml(TABLE | {"network": {"input": [1, 12, 12], "layers": layers}}))


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_any_text_is_refused_or_right(text):
    refused_or_right(text)


def test_brackets_without_end_are_refused():
    refused_or_right("a = " + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize("name", ["mine.toml", "Mine.TOML"])
def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load_suite(str(path)).description == "a test"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_utf_16_is_called_that(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_bytes(
        ("" if encoding == "utf-16" else "\ufeff").encode(encoding) + TEXT.encode(encoding)
    )
    with pytest.raises(
        SuiteError, match=r"mine\.toml: not UTF-8 text, .* UTF-16: save it as UTF-8"
    ):
        load_suite(str(path))


def test_a_suite_in_the_users_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.toml").write_text(TEXT)
    assert load_suite("~/mine.toml").name == "mine"
