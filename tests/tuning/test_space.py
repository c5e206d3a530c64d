import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dlbench.api.asking import request_of
from dlbench.errors import SuiteError, UsageError
from dlbench.spec.suite import Suite, load_suite
from dlbench.tuning.changed_fields import changed, present, value_of
from dlbench.tuning.space import (
    Choices,
    Range,
    at,
    file_name,
    grid,
    own_point,
    read_space,
    told,
)

RATE = "training.optimizer.learning_rate"


def test_words_are_read_as_choices_or_ranges():
    space = read_space(
        [f"{RATE}=0.001..0.5:log", "batch=16..64", "mode=eager,compile"], ranges=True
    )
    assert Range(0.001, 0.5, log=True) == space[RATE]
    assert not space[RATE].is_whole
    assert space["batch"].is_whole
    assert Choices(("eager", "compile")) == space["mode"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["batch"], "'batch' is not FIELD=VALUE,VALUE, like"),
        (["batch="], "is not FIELD=VALUE,VALUE, like"),
        (["bach=1"], "'bach' cannot be varied; did you mean 'batch'"),
        (["batch=1", "batch=2"], "batch is named twice"),
        (["batch=1,2,1"], "batch = 1 is named twice"),
        (["batch=a"], "batch = 'a' is no whole number"),
        (["seed=true"], "seed = 'true' is no whole number"),
        (["mode=eager,"], "mode = '' is no word"),
        ([f"{RATE}=2..1"], "the first number must be the smaller"),
        ([f"{RATE}=0..1:log"], "with log it must begin above 0"),
        ([f"{RATE}=a..b"], "'a' is no number"),
        ([f"{RATE}=0..inf"], "is no number"),
        ([f"{RATE}=1..2:cubic"], "'cubic' is not log"),
    ],
)
def test_what_is_no_field_or_no_value_is_told(words, why):
    with pytest.raises(UsageError, match=why):
        read_space(words, ranges=True)


def test_a_range_is_refused_where_single_values_are_wanted():
    with pytest.raises(UsageError, match="name single values"):
        read_space([f"{RATE}=1..2"], ranges=False)


def test_a_grid_has_every_combination_in_order():
    points = list(grid({"batch": Choices((8, 16)), RATE: Choices((0.1, 0.2, 0.3))}))
    assert 6 == len(points)
    assert {"batch": 8, RATE: 0.2} == points[1]


def test_a_point_makes_a_request():
    request = request_of("smoke", "noise", backends=("numpy",))
    there = at(request, {RATE: 0.5, "batch": 4, "threads": 1, "network.layers[3].rate": 0.1})
    assert 0.5 == there.suite.workload.optimizer.learning_rate
    assert 0.1 == there.suite.workload.nodes[3].layer.rate
    assert ((4,), 1) == (there.chosen_batches, there.chosen_threads)
    # what it came from stays
    assert 0.05 == request.suite.workload.optimizer.learning_rate
    assert 0.05 == load_suite("smoke").workload.optimizer.learning_rate


def test_the_requests_own_point():
    request = request_of("smoke", "noise", backends=("numpy",))
    space = read_space([f"{RATE}=0.01..0.1", "batch=8,16"], ranges=True)
    assert ({RATE: 0.05, "batch": 16}, "") == own_point(request, space)
    beside = read_space([f"{RATE}=0.1..0.2"], ranges=True)
    assert (None, f"{RATE} = 0.05 is not among what is searched") == own_point(request, beside)
    unsaid = read_space(["training.optimizer.weight_decay=0.1,0.2"], ranges=True)
    assert own_point(request, unsaid)[0] is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("network.layers[9].rate", r"there is no network\.layers\[9\]; the last is 5"),
        ("network.layers[3].rates", "did you mean 'rate'"),
        ("network.layers.rate", "is no table, so it has no rate"),
        ("network[0].layers", r"network\[0\]: that is no array"),
        ("training.optimiser.momentum", "did you mean 'optimizer'"),
        ("training..momentum", "is no field; one is written"),
        ("matrix.batches", "is no field of a suite"),
    ],
)
def test_a_field_that_is_not_there_is_told(path, why):
    with pytest.raises(SuiteError, match=why):
        changed(load_suite("smoke"), {path: 0.5})


def test_a_value_that_a_field_cannot_have_is_told_with_the_field():
    with pytest.raises(SuiteError, match=r"layers\[3\]\.rate = 1\.5 must be less than 1"):
        changed(load_suite("smoke"), {"network.layers[3].rate": 1.5})


@given(rate=some.floats(0.001, 10), channels=some.integers(1, 8), momentum=some.floats(0.1, 0.9))
def test_what_was_changed_is_there_and_nothing_else_is(rate, channels, momentum):
    suite = load_suite("smoke")
    fields = {
        RATE: rate,
        "network.layers[0].out_channels": channels,
        "training.optimizer.momentum": momentum,
    }
    found = changed(suite, fields)
    assert fields == {path: present(found, path) for path in fields}
    assert channels == found.workload.nodes[0].layer.out_channels
    back = changed(found, {path: present(suite, path) for path in fields})
    assert suite == back
    # the file that says the same is read as the same
    assert found == Suite.from_toml(found.to_toml(), "smoke")


def test_a_field_that_the_file_leaves_at_its_default_may_be_changed():
    found = changed(load_suite("smoke"), {"training.optimizer.nesterov": True})
    before = load_suite("smoke").workload.optimizer
    assert dataclasses.replace(before, nesterov=True) == found.workload.optimizer


@pytest.mark.parametrize(
    ("word", "value"),
    [("0.1", 0.1), ("3", 3), ("true", True), ("sgd", "sgd"), ('"sgd"', "sgd"), ("[1, 2]", [1, 2])],
)
def test_a_word_means_what_it_means_in_a_file(word, value):
    assert value == value_of(word)


@given(
    some.dictionaries(
        some.text(min_size=1, max_size=40), some.text(max_size=200), min_size=1, max_size=3
    )
)
def test_every_point_has_a_file_of_its_own_in_the_folder(point):
    name = file_name(point)
    assert "/" not in name
    assert name.isascii()
    assert len(name) < 200
    other = dict(point)
    first = next(iter(other))
    other[first] = f"{other[first]}x"
    assert name != file_name(other)
    assert told(point)
