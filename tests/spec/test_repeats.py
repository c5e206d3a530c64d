"""Layers that stand there several times in a row, one by one or in groups."""

import pytest

from dlbench.errors import WorkloadError
from dlbench.spec.network import read_network

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}


def test_repeat_puts_a_layer_there_as_often_as_it_says():
    nodes = read_network([{**CONV, "repeat": 3}], (2, 5, 5))
    assert [node.input_shape[0] for node in nodes] == [2, 4, 4]
    assert [node.name for node in nodes] == ["conv1", "conv2", "conv3"]


def test_repeat_puts_several_layers_there_as_often_as_it_says():
    pair = {"repeat": 2, "layers": [CONV, {"type": "relu"}]}
    nodes = read_network([{"repeat": 2, "layers": [pair, {"type": "tanh"}]}], (2, 5, 5))
    names = [
        "conv1",
        "relu1",
        "conv2",
        "relu2",
        "tanh1",
        "conv3",
        "relu3",
        "conv4",
        "relu4",
        "tanh2",
    ]
    assert names == [node.name for node in nodes]
    assert "network.layers[0].layers[0].layers[1]" == nodes[3].path
    written_out = [CONV, {"type": "relu"}, CONV, {"type": "relu"}, {"type": "tanh"}] * 2
    assert read_network(written_out, (2, 5, 5)) == nodes


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"layers": []}, r"network.layers\[0\].layers is empty"),
        ({"layers": [CONV], "repeats": 2}, r"network.layers\[0\].repeats is not a known key"),
        ({"layers": {"type": "relu"}}, r"network.layers\[0\].layers = .* is not an array"),
        ({"layers": [{"type": "rulu"}]}, r"network.layers\[0\].layers\[0\].type = 'rulu'"),
        ({"layers": [CONV], "repeat": 0}, r"network.layers\[0\].repeat = 0 must be 1 to 1000"),
        ({"repeat": 2}, r"network.layers\[0\]: 'type' is missing"),
        ({"type": "relu", "layers": [CONV]}, r"network.layers\[0\].layers is not a known key"),
    ],
)
def test_several_layers_that_cannot_be_repeated_are_refused(group, message):
    with pytest.raises(WorkloadError, match=message):
        read_network([group], (2, 5, 5))


def test_layers_that_are_repeated_inside_repeated_ones_are_not_too_many_or_too_deep():
    group = {"type": "relu"}
    for _ in range(4):
        group = {"repeat": 1000, "layers": [group]}
    with pytest.raises(WorkloadError, match="more than 10,000"):
        read_network([group], (2, 5, 5))
    with pytest.raises(WorkloadError, match="nested deeper than 4 levels"):
        read_network([{"layers": [group]}], (2, 5, 5))
