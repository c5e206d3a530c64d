"""Suites made in code: the same as those in files, there and back again."""

import dataclasses
import inspect
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlbench
from dlbench import parts
from dlbench.spec.layers import KINDS
from dlbench.spec.suite import list_suites
from dlbench.spec.training import OPTIMIZERS, SCHEDULES
from dlbench.verify.random_networks import draw_workload

WORDS = {**KINDS, **OPTIMIZERS, **SCHEDULES}
SMALL = {
    "input": (1, 8, 8),
    "layers": [parts.conv2d(2, 3), parts.flatten(), parts.linear(4)],
    "optimizer": parts.sgd(0.1),
}


def again(suite):
    """What its text says."""
    return dlbench.Suite.from_toml(suite.to_toml(), suite.name)


@pytest.mark.parametrize("name", [name for name, _ in list_suites()])
def test_a_suite_that_ships_with_dlbench_is_the_same_after_a_round_trip(name):
    suite = dlbench.Suite.load(name)
    assert suite == again(suite)
    assert suite.workload.digest == again(suite).workload.digest


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    epochs=st.integers(1, 1_000_000),
    description=st.text(max_size=60),
    batches=st.lists(st.integers(1, 2**20), min_size=1, max_size=4, unique=True),
    backends=st.lists(st.sampled_from(["numpy", "torch", "mine:Adapter"]), unique=True),
    scenarios=st.sampled_from([["train"], ["infer"], ["infer", "train"], []]),
    name=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,20}", fullmatch=True),
)
def test_a_suite_that_was_built_is_the_same_after_a_round_trip(seed, name, **chosen):
    workload, _ = draw_workload(seed)
    table = workload.to_table()
    suite = dlbench.Suite.build(
        name,
        input=table["input_shape"],
        layers=table["layers"],
        loss=table["loss"],
        optimizer=table["optimizer"],
        schedule=table["schedule"],
        **chosen,
    )
    assert suite == again(suite)
    assert workload == suite.workload
    # and what is said once says the same when it is written again
    assert suite.to_toml() == again(suite).to_toml()


@pytest.mark.parametrize("word", WORDS)
def test_a_part_has_the_options_and_the_defaults_of_its_word(word):
    kind, function = WORDS[word], getattr(parts, word)
    parameters = inspect.signature(function).parameters
    if word in ("residual", "concat", "scale"):
        return
    fields = {field.name: field for field in dataclasses.fields(kind)}
    # what is always inferred need not be said
    assert set(fields) - {"in_features"} == set(parameters) - {"name"}
    required = {
        name: {"kernel": 3, "rate": 0.5, "output": 2, "groups": 2}.get(name, 7)
        for name, each in parameters.items()
        if each.default is inspect.Parameter.empty
    }
    table = function(**required)
    assert word == table["type"]
    for name in set(fields) & set(parameters) - set(required):
        given = table.get(name)
        assert fields[name].default in (given, (given, given)), name
    assert function.__doc__


def test_a_network_in_code_is_that_of_a_file():
    block = [parts.conv2d(4, 3, padding=1, bias=False), parts.batch_norm()]
    built = dlbench.Suite.build(
        "mine",
        input=(3, 16, 16),
        layers=[
            parts.conv2d(4, 3, padding=((0, 1), (1, 0))),
            parts.residual(block),
            parts.concat(block, [parts.avg_pool(3, stride=1, padding=1)]),
            parts.concat(block),
            parts.residual([parts.conv2d(16, 3, padding=1, stride=2)], shortcut="option_a"),
            parts.global_avg_pool(),
            parts.linear(10, name="last"),
        ],
        optimizer=parts.adam(0.001),
        schedule=parts.step(2, gamma=0.5),
        data=parts.data("cifar10", mean=[0.5] * 3, std=[0.2] * 3),
        batches=[1, 8],
    )
    read = tomllib.loads(built.to_toml())
    assert {"type": "adam", "learning_rate": 0.001} == read["training"]["optimizer"]
    assert built == again(built)
    assert "last" == built.workload.nodes[-1].name
    assert "10" in repr(built)
    assert "mine" in repr(built)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layers": [parts.conv2d(2, 9)]}, "mine: network.layers[0].kernel = 9 does not fit"),
        ({"layers": [{"type": "conv3d"}]}, "did you mean 'conv2d'?"),
        ({"optimizer": {"type": "sgd"}}, "training.optimizer.learning_rate is missing"),
        ({"batches": [0]}, "matrix.batches"),
        ({"data": parts.data("mnist", mean=[0.1])}, "mean and std belong together"),
        ({"input": 7}, "network.input = 7 is not an array"),
        ({"description": 7}, "description = 7 must be a string"),
    ],
)
def test_a_mistake_is_told_with_its_field_as_in_a_file(change, told):
    with pytest.raises(dlbench.SuiteError) as error:
        dlbench.Suite.build("mine", **{**SMALL, **change})
    assert told in str(error.value)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101, 7])
def test_a_name_that_could_be_no_file_is_refused(name):
    with pytest.raises(dlbench.SuiteError, match="the suite's name = "):
        dlbench.Suite.build(name, **SMALL)


def test_a_suite_that_was_built_is_run_like_one_of_a_file(here):
    suite = dlbench.Suite.build("mine.1", **SMALL, backends=["numpy"], batches=[4])
    results = dlbench.verify(suite, threads=1)
    assert [True, True] == [each.verified for each in results]
    assert {"mine.1"} == {each.case.suite for each in results}
    assert results.paths[0].endswith("-mine.1.jsonl")
