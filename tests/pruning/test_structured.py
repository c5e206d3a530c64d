"""A pruned network computes what the whole one does when nothing reads the channels that were left out: held in
float64, on weights and running statistics of which no two are alike."""

import numpy as np
import pytest

from dlbench.errors import UsageError
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.pruning import structured
from dlbench.pruning.channels import Left, Prunable, find, kept_count
from dlbench.pruning.structured import largest, prune
from dlbench.pruning.unstructured import share_of_zeros, zeroed
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import read_workload

CONV = {"type": "conv2d", "out_channels": 6, "kernel": 3, "padding": 1}
NORM, RELU, FLAT = {"type": "batch_norm"}, {"type": "relu"}, {"type": "flatten"}
LINEAR = {"type": "linear", "out_features": 5}
SGD = {"type": "sgd", "learning_rate": 0.1}


def network(*layers):
    return read_workload({"input_shape": [3, 8, 8], "layers": list(layers), "optimizer": SGD})


PLAIN = network(
    *(CONV, NORM, RELU, {"type": "max_pool", "kernel": 2}),
    *({**CONV, "out_channels": 7, "bias": False}, NORM, {"type": "sigmoid"}, FLAT, NORM),
    *({**LINEAR, "out_features": 9}, NORM, RELU, {"type": "dropout", "rate": 0.5}, LINEAR),
)
BLOCKS = network(
    *(CONV, NORM, RELU),
    {
        "type": "residual",
        "body": [{**CONV, "out_channels": 8}, NORM, RELU, {**CONV, "out_channels": 6}, NORM],
    },
    {"type": "concat", "body": [{**CONV, "out_channels": 10}, RELU, {**CONV, "out_channels": 4}]},
    {**CONV, "out_channels": 8},
    {**CONV, "out_channels": 8, "groups": 2},
    {**CONV, "out_channels": 8},
    {"type": "layer_norm"},
    {**CONV, "out_channels": 12},
    {"type": "global_avg_pool"},
    LINEAR,
)


def drawn(workload, seed=0):
    """Weights, scales and running statistics, all of them other than what they begin with."""
    random = np.random.default_rng(seed)
    return {
        p.name: (
            random.uniform(0.5, 1.5, p.shape)
            if p.role == "running_variance"
            else random.normal(size=p.shape)
        ).astype(np.float32)
        for p in workload.parameters
    }


def unread(workload, weights, kept):
    """The same weights with those columns at zero that read channels which are not kept."""
    found = {name: each.copy() for name, each in weights.items()}
    for each in find(workload.nodes):
        if isinstance(each, Prunable):
            out = np.setdiff1d(np.arange(each.channels), kept[each.maker.name])
            columns = found[f"{each.reader.name}.weight"]
            shape = (len(columns), each.channels, -1)
            columns.reshape(shape)[:, out] = 0
    return found


def outputs(workload, weights, inputs):
    run = Pass(False, np.ones(len(inputs)))
    wide = {name: each.astype(np.float64) for name, each in weights.items()}
    return forward(workload.nodes, wide, inputs, run)


def apart(workload, share, seed=0):
    """How far the pruned network's outputs are from those of the whole one that does not read what was left out."""
    weights = drawn(workload, seed)
    pruned = prune(workload, weights, share)
    random = np.random.default_rng(seed + 100)
    inputs = random.normal(size=(4, *workload.input_shape))
    whole = outputs(workload, unread(workload, weights, pruned.kept), inputs)
    found = outputs(pruned.workload, pruned.weights, inputs)
    return float(np.abs(found - whole).max() / np.abs(whole).max())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("workload", [PLAIN, BLOCKS], ids=["plain", "blocks"])
def test_it_computes_what_the_whole_network_does_without_what_was_left_out(workload, share):
    assert apart(workload, share) < 1e-12


@pytest.mark.parametrize("name", ["cnn-mnist", "resnet-cifar10", "smoke", "lenet5"])
def test_suites_are_pruned_so_too(name):
    assert apart(load_suite(name).workload, 0.5) < 1e-12


FAULTS = {
    "the reader keeps the neighbours of what is kept": (
        "_leave_out",
        lambda right: lambda weights, each, rows: reader_of_neighbours(right, weights, each, rows),
    ),
    "a flattened image is taken apart pixel by pixel": (
        "_columns",
        lambda right: (
            lambda rows, features: (
                rows[None, :] + np.arange(features)[:, None] * (rows.max() + 1)
            ).ravel()
        ),
    ),
    "the norms keep the first channels": (
        "_leave_out",
        lambda right: lambda weights, each, rows: norms_of_the_first(right, weights, each, rows),
    ),
    "the reader keeps the first channels": (
        "_leave_out",
        lambda right: lambda weights, each, rows: reader_of_the_first(right, weights, each, rows),
    ),
}


def norms_of_the_first(right, weights, each, rows):
    whole = {p.name: weights[p.name] for node in each.norms for p in node.parameters}
    right(weights, each, rows)
    for name, values in whole.items():
        weights[name] = values[: len(weights[name])]


def reader_of_the_first(right, weights, each, rows):
    name = f"{each.reader.name}.weight"
    whole = weights[name]
    right(weights, each, rows)
    weights[name] = whole[:, : weights[name].shape[1]]


def reader_of_neighbours(right, weights, each, rows):
    name = f"{each.reader.name}.weight"
    whole = weights[name]
    right(weights, each, rows)
    weights[name] = whole[:, structured._columns((rows + 1) % each.channels, each.features)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows(monkeypatch, fault):
    name, wrong = FAULTS[fault]
    monkeypatch.setattr(structured, name, wrong(getattr(structured, name)))
    assert apart(PLAIN, 0.5) > 1e-3


def test_the_filters_of_the_smallest_l1_norm_go():
    weight = np.zeros((5, 2, 1, 1), np.float32)
    weight[:, 0, 0, 0] = [1, -3, 2, 0, 2]
    # by L2 the first would be the least but one
    weight[0, 1, 0, 0] = 1.5
    assert [0, 1, 2] == largest(weight, 3).tolist()
    assert [1] == largest(weight, 1).tolist()


@pytest.mark.parametrize(
    ("channels", "share", "kept"),
    [(8, 0.5, 4), (7, 0.5, 4), (10, 0.3, 7), (3, 0.99, 1), (1, 0.9, 1)],
)
def test_so_many_channels_are_kept(channels, share, kept):
    assert kept == kept_count(channels, share)


def test_what_is_left_alone_is_named_with_the_reason():
    reasons = {
        each.maker.name: each.reason for each in find(BLOCKS.nodes) if isinstance(each, Left)
    }
    assert {
        "conv1": "residual1 reads them in several places",
        "conv3": "residual1 adds them to others",
        "conv5": "concat1 puts them beside others",
        "conv6": "conv7 reads them in groups",
        "conv7": "its groups tie its channels to those that it reads",
        "conv8": "layer_norm1 mixes channels",
        "linear1": "they are the network's output",
    } == reasons
    assert ["conv2", "conv4", "conv9"] == [
        each.maker.name for each in find(BLOCKS.nodes) if isinstance(each, Prunable)
    ]


def test_a_network_of_which_nothing_can_be_left_out_is_refused():
    alone = network(FLAT, LINEAR)
    with pytest.raises(UsageError, match="linear1: they are the network's output"):
        prune(alone, drawn(alone), 0.5)
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match="above 0 and below 1"):
            prune(PLAIN, drawn(PLAIN), share)


def test_zeroed_weights_are_the_smallest_and_nothing_else_changes():
    weights = drawn(PLAIN)
    found = zeroed(PLAIN, weights, 0.75)
    assert share_of_zeros(PLAIN, found) == pytest.approx(0.75, abs=0.01)
    for parameter in PLAIN.parameters:
        before, after = weights[parameter.name], found[parameter.name]
        if parameter.role != "weight":
            np.testing.assert_array_equal(before, after)
            continue
        gone = after == 0
        np.testing.assert_array_equal(before[~gone], after[~gone])
        assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
