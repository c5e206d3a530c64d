"""The section of a suite that says at which smaller shape it is verified."""

import dataclasses
import json

import pytest

import dlbench
from dlbench.errors import SuiteError
from dlbench.spec.network import walk
from dlbench.spec.suite import list_suites, load_suite
from dlbench.spec.verification import Verification, from_table, to_table
from dlbench.verify.extent import extent_of

TEXT = """
[network]
input = [3, 32, 32]
layers = [
    {{ type = "conv2d", out_channels = 4, kernel = 5, stride = 4 }},
    {{ type = "batch_norm" }},
    {{ type = "{end}" }},
    {{ type = "linear", {sizes}out_features = 10 }},
]
[training]
optimizer = {{ type = "sgd", learning_rate = 0.1 }}
[data]
name = "noise"
[verification]
{section}
"""


def suite_of(section, end="flatten", sizes=""):
    return dlbench.Suite.from_toml(TEXT.format(section=section, end=end, sizes=sizes), "mine")


def test_a_suite_says_where_it_is_verified_and_is_the_same_after_a_round_trip():
    suite = suite_of("input = [3, 16, 20]\nbatch = 3")
    assert Verification(input=(3, 16, 20), batch=3) == suite.verification
    assert suite == dlbench.Suite.from_toml(suite.to_toml(), "mine")
    assert suite.verification == from_table(json.loads(json.dumps(to_table(suite.verification))))
    assert from_table(to_table(None)) is None
    assert 2 == suite_of("input = [3, 16, 16]").verification.batch


def test_a_suite_made_in_code_says_it_too():
    suite = load_suite("resnet18")
    table = suite.workload.to_table()
    built = dlbench.Suite.build(
        "mine",
        input=table["input_shape"],
        layers=table["layers"],
        optimizer=table["optimizer"],
        verification={"input": [3, 64, 64]},
    )
    assert built.verification == suite.verification
    assert built.workload == suite.workload


def test_it_is_no_part_of_the_workload():
    suite = suite_of("input = [3, 16, 16]")
    assert suite.workload.digest == suite_of("input = [3, 20, 20]").workload.digest


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("", "verification.input is missing"),
        ("input = 64", "verification.input = 64 is not an array"),
        ("input = [16, 16]", "verification.input = .16, 16. must be channels, height and width"),
        ("input = [1, 16, 16]", "as many channels as the network's 3 × 32 × 32"),
        ("input = [3, 4, 4]", "verification.input = .3, 4, 4. does not fit the network: .*kernel"),
        ("input = [3, 0, 16]", "verification.input = .3, 0, 16. must be 1 or more"),
        ("input = [3, 16, 16]\nbatch = 0", "verification.batch = 0 must be 1 or more"),
        ("input = [3, 16, 16]\nsteps = 3", "verification.steps is not a known key"),
        ("input = [3, 5, 5]\nbatch = 1", "gives norm1 one value per channel at batch 1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(section, message):
    with pytest.raises(SuiteError, match=message):
        suite_of(section)


def test_a_size_that_was_written_down_is_that_of_the_timed_shape():
    suite = suite_of("input = [3, 16, 16]", sizes="in_features = 196, ")
    small = suite.workload.at(suite.verification.input)
    assert 4 * 3 * 3 == small.nodes[-1].input_shape[0]
    assert [node.name for node in small.nodes] == [node.name for node in suite.workload.nodes]


def kinds(workload):
    return [(node.name, dataclasses.asdict(node.layer)) for node in walk(workload.nodes)]


@pytest.mark.parametrize("name", [name for name, _ in list_suites()])
def test_suites_are_verified_with_the_layers_and_parameters_that_are_timed(name):
    """But for the one linear layer behind a flatten, of AlexNet and VGG."""
    suite = load_suite(name)
    small = extent_of(suite.verification).small(suite.workload)
    sizes = {"in_features": None}
    assert [(n, k | sizes if "in_features" in k else k) for n, k in kinds(small)] == [
        (n, k | sizes if "in_features" in k else k) for n, k in kinds(suite.workload)
    ]
    pairs = zip(small.parameters, suite.workload.parameters, strict=True)
    other = [one.name for one, timed in pairs if one.shape != timed.shape]
    assert other == (["linear1.weight"] if name in ("alexnet", "vgg16") else [])
