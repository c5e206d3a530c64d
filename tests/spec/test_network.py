import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.errors import PlanRefused, WorkloadError
from dlbench.spec.layers import Conv2d
from dlbench.spec.network import read_network, walk
from dlbench.spec.suite import list_suites, load_suite
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.random_networks import draw_workload

SUITES = [name for name, _ in list_suites()]
CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
SGD = {"type": "sgd", "learning_rate": 0.1}

PARAMETERS = {
    "cnn-mnist": 1_199_882,
    "resnet-cifar10": 269_722,
    "densenet-cifar10": 1_019_722,
    # 64·(9+1) + 64·(576+1) + 128·(576+1) + 512·(2048+1) + 10·(512+1)
    "cnn-mnist-deep": 1_165_642,
    "linear-mse": 11,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_suites_have_the_published_number_of_parameters(name):
    assert PARAMETERS[name] == load_suite(name).workload.parameter_count


def counted_flops(workload, training):
    """What PyTorch's own counter sees of two samples, without computing anything."""
    torch = pytest.importorskip("torch")
    from dlbench.backends.torch.layers import Network, make_loss
    from torch.utils.flop_counter import FlopCounterMode

    network = Network(workload.nodes).to("meta").train(training)
    inputs = torch.empty((2, *workload.input_shape), device="meta")
    targets = torch.empty((2, *workload.output_shape), device="meta")
    with FlopCounterMode(display=False) as counter:
        output = network(inputs)
        if training:
            # values are targets of either loss: class probabilities, or what to come close to
            make_loss(workload.loss)(output, targets).backward()
    surplus = 0
    if training:
        # the counter has the weight's gradient of a convolution in groups for all pairs of channels
        layers = [(node.layer, node.forward_flops) for node in walk(workload.nodes)]
        surplus = sum((each.groups - 1) * n for each, n in layers if isinstance(each, Conv2d))
    return counter.get_total_flops() / 2 - surplus


@pytest.mark.parametrize("name", SUITES)
def test_flops_of_every_suite_agree_with_pytorchs_counter(name):
    workload = load_suite(name).workload.without_dropout()
    assert counted_flops(workload, training=False) == workload.forward_flops
    assert counted_flops(workload, training=True) == workload.training_flops


@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_flops_of_random_networks_agree_with_pytorchs_counter(seed):
    workload, _ = draw_workload(seed, freezes=True)
    assert counted_flops(workload, training=False) == workload.forward_flops
    assert counted_flops(workload, training=True) == workload.training_flops


@settings(max_examples=100)
@given(st.integers(0, 2**31))
def test_every_inferred_shape_is_the_one_pytorch_gives(seed):
    torch = pytest.importorskip("torch")
    from dlbench.backends.torch.layers import Network

    workload, _ = draw_workload(seed)
    x = torch.empty((2, *workload.input_shape), device="meta")
    for node in workload.nodes:
        assert tuple(x.shape[1:]) == node.input_shape
        x = Network([node]).to("meta").eval()(x)
        assert tuple(x.shape[1:]) == node.output_shape


def _every_workload():
    return [load_suite(name).workload for name in SUITES] + [
        draw_workload(seed)[0] for seed in range(30)
    ]


def test_a_workload_read_from_its_own_table_is_equal_and_has_the_same_digest():
    for workload in _every_workload():
        table = json.loads(json.dumps(workload.to_table()))
        again = read_workload(table)
        assert again == workload
        assert again.digest == workload.digest
        assert again.to_table() == workload.to_table()


def test_workloads_that_differ_have_digests_that_differ():
    workloads = _every_workload()
    assert len({workload.digest for workload in workloads}) == len(workloads)


def test_an_option_that_came_later_leaves_the_digests_of_earlier_records_as_they_are():
    known = {
        "linear-mse": "874f7cd0f8b0bba4",
        "resnet-cifar10": "7577ff40c51c43da",
        "cnn-mnist": "d1cd60a33781b7d2",
        "densenet-cifar10": "c2512dbe5e20ab38",
    }
    assert {name: load_suite(name).workload.digest[:16] for name in known} == known


def test_initial_weights_are_the_same_bits_everywhere():
    golden = {
        "smoke": "b8a34f720870e1b9a271c78f4d1b1801a1a7c70636aea2892a6afcab01d46c70",
        "cnn-mnist": "93c7523ae12e7da6b0344cbfb64ff352012ebe304276543538b076d01c7b3e9c",
        "resnet-cifar10": "62db06c008199618539c7b9367f9bf82d926596de8d363ec8fb88f817f4d8336",
    }
    for name, expected in golden.items():
        digest = hashlib.sha256()
        for key, value in initial_weights(load_suite(name).workload, 0).items():
            digest.update(key.encode())
            digest.update(value.astype("<f4").tobytes())
        assert expected == digest.hexdigest(), name


def test_initial_weights_are_he_uniform_and_depend_on_seed_and_name():
    workload = load_suite("cnn-mnist").workload
    first, other = initial_weights(workload, 0), initial_weights(workload, 1)
    assert set(first) == {p.name for p in workload.parameters}
    for p in workload.parameters:
        value = first[p.name]
        assert value.dtype == np.float32
        assert value.shape == p.shape
        if p.role == "weight":
            bound = np.sqrt(6 / p.fan_in)
            assert np.abs(value).max() <= bound * (1 + 1e-7)
            assert np.std(value) == pytest.approx(bound / np.sqrt(3), rel=0.1)
            assert np.mean(value == other[p.name]) < 0.01
        else:
            assert not value.any()


def test_batch_norm_starts_at_the_identity():
    weights = initial_weights(load_suite("resnet-cifar10").workload, 0)
    for name, value in weights.items():
        if name.endswith((".scale", ".running_variance")):
            assert np.all(value == 1)
        if name.endswith((".shift", ".running_mean")):
            assert np.all(value == 0)


def test_batch_norm_has_a_value_of_each_kind_for_a_channel_or_a_feature():
    layers = [CONV, {"type": "batch_norm"}, {"type": "flatten"}, {"type": "batch_norm"}]
    nodes = read_network(layers, (1, 5, 5))
    for node, count in zip(
        (nodes[1], nodes[3]), (4, math.prod(nodes[2].output_shape)), strict=True
    ):
        assert node.output_shape == node.input_shape
        assert {p.shape for p in node.parameters} == {(count,)}
        assert [p.trainable for p in node.parameters] == [True, True, False, False]


def test_layers_are_named_in_order_and_no_name_is_given_twice():
    nodes = read_network(
        [CONV, {"type": "relu"}, CONV, {"type": "relu", "name": "mine"}], (1, 5, 5)
    )
    assert [node.name for node in nodes] == ["conv1", "relu1", "conv2", "mine"]
    for workload in _every_workload():
        names = [node.name for node in walk(workload.nodes)]
        assert len(names) == len(set(names))


def test_only_what_has_parameters_before_it_needs_the_gradient_of_its_input():
    block = {"type": "residual", "body": [CONV, CONV]}
    nodes = read_network([{"type": "relu"}, {**CONV}, {"type": "relu"}, block], (4, 5, 5))
    needs = {node.name: node.needs_input_gradient for node in walk(nodes)}
    assert needs == {
        "relu1": False,
        "conv1": False,
        "relu2": True,
        "conv2": True,
        "conv3": True,
        "residual1": True,
    }


def test_inside_the_first_block_only_the_second_convolution_needs_it():
    nodes = read_network([{"type": "residual", "body": [CONV, CONV]}], (4, 5, 5))
    needs = {node.name: node.needs_input_gradient for node in walk(nodes)}
    assert needs == {"conv1": False, "conv2": True, "residual1": False}


@pytest.mark.parametrize(
    ("shortcut", "layers"),
    [("identity", []), ("option_a", ["option_a"]), ("projection", ["conv2d", "batch_norm"])],
)
def test_shortcuts_have_the_layers_their_word_stands_for(shortcut, layers):
    stride = 1 if shortcut == "identity" else 2
    body = [{**CONV, "stride": stride}]
    (node,) = read_network([{"type": "residual", "shortcut": shortcut, "body": body}], (4, 9, 6))
    table = read_workload(
        {
            "input_shape": [4, 9, 6],
            "layers": [
                {"type": "residual", "shortcut": shortcut, "body": body},
                {"type": "flatten"},
            ],
            "optimizer": SGD,
        }
    ).to_table()
    assert [layer["type"] for layer in table["layers"][0]["shortcut"]] == layers
    assert node.output_shape == ((4, 9, 6) if stride == 1 else (4, 5, 3))


REFUSED = {
    "no layer at all": ([], "network.layers"),
    "a layer that is no table": (["relu"], "network.layers[0]"),
    "layers that are no array": ("relu", "network.layers"),
    "a layer without a type": ([{"kernel": 3}], "'type' is missing"),
    "linear on an image": ([{"type": "linear", "out_features": 3}], "put a flatten before it"),
    "a convolution on features": ([{"type": "flatten"}, CONV], "conv2d needs channels"),
    "pool padding beyond half": (
        [{"type": "max_pool", "kernel": 2, "padding": 2}],
        "network.layers[0].padding = [2, 2] must be at most half of the kernel",
    ),
    "a name given twice": (
        [{"type": "relu", "name": "a"}, {"type": "relu", "name": "a"}],
        "network.layers[1].name = 'a' is taken",
    ),
    "a name with a dot": ([{"type": "relu", "name": "a.b"}], "network.layers[0].name = 'a.b'"),
    "a block without a body": ([{"type": "residual"}], "network.layers[0].body is missing"),
    "an unknown shortcut": (
        [{"type": "residual", "shortcut": "option_b", "body": [CONV]}],
        "network.layers[0].shortcut = 'option_b' is unknown",
    ),
    "a sum of unlike shapes": (
        [{"type": "residual", "body": [{**CONV, "stride": 2}]}],
        "4 × 8 × 8 cannot be added to the body's 4 × 4 × 4",
    ),
    "dropping channels in option A": (
        [{"type": "residual", "shortcut": "option_a", "body": [{**CONV, "out_channels": 2}]}],
        "cannot drop channels (4 to 2)",
    ),
    "a concatenation of unlike images": (
        [{"type": "concat", "body": [{**CONV, "stride": 2}]}],
        "cannot be put behind the channels",
    ),
    "an unknown key of a block": (
        [{"type": "concat", "branches": [], "body": [CONV]}],
        "network.layers[0].branches is not a known key",
    ),
    "a body and bodies": (
        [{"type": "concat", "bodies": [[CONV], []], "body": [CONV]}],
        "network.layers[0].bodies and body exclude each other",
    ),
    "one body alone side by side": (
        [{"type": "concat", "bodies": [[{"type": "relu"}]]}],
        "network.layers[0].bodies = [[{'type': 'relu'}]] needs two bodies or more",
    ),
    "layers where bodies should be": (
        [{"type": "concat", "bodies": [CONV, CONV]}],
        "network.layers[0].bodies[0] is a table; each body is an array of layers",
    ),
    "bodies where layers should be": (
        [{"type": "concat", "body": [[CONV], [CONV]]}],
        "network.layers[0].body[0] is an array; bodies side by side are written bodies = [[…], […]]",
    ),
    "bodies of unlike images": (
        [{"type": "concat", "bodies": [[CONV], [{**CONV, "stride": 2}]]}],
        "network.layers[0].bodies[1]: its 4 × 4 × 4 cannot be put beside the 4 × 8 × 8 of bodies[0]",
    ),
    "a body that ends in features": (
        [{"type": "concat", "bodies": [[CONV], [{"type": "flatten"}]]}],
        "network.layers[0].bodies[1]: its 256 features",
    ),
    "a mistake inside a body": (
        [{"type": "concat", "bodies": [[], [CONV, {**CONV, "kernel": 0}]]}],
        "network.layers[0].bodies[1][1].kernel = 0",
    ),
    "uneven padding of a pool beyond its kernel": (
        [{"type": "max_pool", "kernel": 2, "padding": [[0, 0], [2, 0]]}],
        "network.layers[0].padding = [[0, 0], [2, 0]]: the two sides of an axis must be at most the kernel [2, 2]",
    ),
    "padding of four numbers": (
        [{**CONV, "padding": [1, 1, 1, 1]}],
        (
            "network.layers[0].padding = [1, 1, 1, 1] must be an integer, two of them: [height, width], or those of"
            " each side: [[top, bottom], [left, right]]"
        ),
    ),
    "padding below 0 on one side": ([{**CONV, "padding": [[0, -1], [0, 0]]}], "must be 0 or more"),
    "padding that is a word": ([{**CONV, "padding": "some"}], "network.layers[0].padding = 'some'"),
    "ceil mode of a convolution": (
        [{**CONV, "ceil_mode": True}],
        "network.layers[0].ceil_mode is not a known key",
    ),
    "counted padding of a maximum": (
        [{"type": "max_pool", "kernel": 2, "count_include_pad": True}],
        "network.layers[0].count_include_pad is not a known key",
    ),
    "a kernel too large even for ceil mode": (
        [{"type": "max_pool", "kernel": 10, "stride": 2, "ceil_mode": True}],
        "at most 9",
    ),
    "repeat 0": ([{**CONV, "repeat": 0}], "network.layers[0].repeat = 0"),
    "repeat of too many": ([{**CONV, "repeat": 3_000_000_000}], "network.layers[0].repeat"),
    "momentum above 1": ([{"type": "batch_norm", "momentum": 1.5}], "momentum = 1.5"),
    "dropout of everything": ([{"type": "dropout", "rate": 1.0}], "rate = 1.0 must be less than 1"),
    "an integer no float can hold": (
        [{"type": "batch_norm", "eps": 10**400}],
        "network.layers[0].eps",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_network_is_refused_with_the_path_of_the_mistake(case):
    layers, part = REFUSED[case]
    with pytest.raises(WorkloadError) as caught:
        read_network(layers, (4, 8, 8))
    assert part in str(caught.value)


def test_a_mistake_deep_inside_is_named_with_its_whole_path():
    inner = {"type": "residual", "body": [CONV, {"type": "conv2d", "out_channels": 4}]}
    with pytest.raises(WorkloadError) as caught:
        read_network([CONV, {"type": "concat", "body": [inner]}], (4, 8, 8))
    assert str(caught.value).startswith("network.layers[1].body[0].body[1].kernel is missing")


def test_a_shortcut_of_a_very_large_image_is_inferred_at_once():
    body = [{"type": "conv2d", "out_channels": 1, "kernel": 1, "stride": [500_000_000, 1]}]
    shape = (1, 1_000_000_007, 3)
    (node,) = read_network([{"type": "residual", "shortcut": "option_a", "body": body}], shape)
    assert node.output_shape == (1, 3, 3)


def test_an_empty_first_body_is_what_one_body_behind_the_input_is():
    one = read_network([{"type": "concat", "body": [CONV]}], (2, 5, 5))
    assert one == read_network([{"type": "concat", "bodies": [[], [CONV]]}], (2, 5, 5))
    assert one[0].body == one[0].bodies[1]


def test_parameters_and_operations_of_bodies_add_up():
    bodies = [[{**CONV, "kernel": 1, "padding": 0}], [CONV, {"type": "relu"}], []]
    (node,) = read_network([{"type": "concat", "bodies": bodies}], (2, 5, 5))
    assert node.output_shape == (4 + 4 + 2, 5, 5)
    assert [inner.name for inner in walk((node,))] == ["conv1", "conv2", "relu1", "concat1"]
    assert sum(p.size for n in walk((node,)) for p in n.parameters) == 4 * (2 + 1) + 4 * (18 + 1)
    assert sum(n.forward_flops for n in walk((node,))) == 2 * 25 * 4 * (2 + 18)
    assert node.forward_bytes == 0


def test_a_backend_that_asks_for_the_one_body_of_several_refuses_the_network():
    (node,) = read_network([{"type": "concat", "bodies": [[CONV], [CONV]]}], (2, 5, 5))
    with pytest.raises(PlanRefused, match="concat1 is a concat of bodies side by side"):
        _ = node.body


def test_blocks_nested_without_end_are_refused():
    layer = {"type": "relu"}
    for _ in range(2000):
        layer = {"type": "residual", "body": [layer]}
    with pytest.raises(WorkloadError, match="deep"):
        read_network([layer], (1, 4, 4))
