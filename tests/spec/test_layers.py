"""What layers are made of: shapes, parameters, operations, refusals; and that what came later changes no digest."""

import json

import pytest

from dlbench.contract import Plan
from dlbench.errors import PlanRefused, WorkloadError
from dlbench.spec import quantization
from dlbench.spec.layers import Scale
from dlbench.spec.network import read_network
from dlbench.spec.suite import load_suite
from dlbench.spec.windows import bins
from dlbench.spec.workload import read_workload

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
# as they stand in records that were written before any layer here was
DIGESTS = {
    "ci": "c4140e5e415fc3e5",
    "cnn-cifar10": "49a5c5a3b5283506",
    "cnn-mnist-deep": "5553c20fca18bf8e",
    "cnn-mnist-wide": "d349985d20d613d3",
    "cnn-mnist": "d1cd60a33781b7d2",
    "densenet-cifar10": "c2512dbe5e20ab38",
    "linear-mse-adam": "b1d8ed6c3b467dfc",
    "linear-mse": "874f7cd0f8b0bba4",
    "resnet-cifar10": "7577ff40c51c43da",
    "smoke": "af8572352920fed4",
    "vgg-cifar10": "c9de86cdcb71678f",
}


def workload_of(*layers, shape=(4, 6, 6), **more):
    """These layers, and what a loss needs behind them."""
    tail = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    table = {
        "input_shape": list(shape),
        "layers": [*layers, *tail],
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
    return read_workload(table | more)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_suite_has_the_digest_that_earlier_records_know_it_by(name):
    assert load_suite(name).workload.digest.startswith(DIGESTS[name])


def test_options_that_came_later_stand_in_a_table_only_where_they_are_used():
    (plain, *_), (grouped, *_) = (
        workload_of(CONV | {"groups": groups}).to_table()["layers"] for groups in (1, 4)
    )
    assert "groups" not in plain
    assert 4 == grouped["groups"]
    again = read_workload(json.loads(json.dumps(workload_of(CONV | {"groups": 4}).to_table())))
    assert again == workload_of(CONV | {"groups": 4})


def test_clipping_stands_in_a_table_only_where_it_is_used():
    sgd = {"type": "sgd", "learning_rate": 0.1}
    assert "clip_norm" not in workload_of().to_table()["optimizer"]
    clipped = workload_of(optimizer=sgd | {"clip_norm": 2})
    assert 2.0 == clipped.to_table()["optimizer"]["clip_norm"]
    assert clipped == read_workload(json.loads(json.dumps(clipped.to_table())))
    assert (1.0, 1.0, 0.5) == tuple(round(clipped.optimizer.clipping(n), 5) for n in (0, 1.9, 4))
    with pytest.raises(WorkloadError, match=r"optimizer.clip_norm = 0 must be greater than 0"):
        workload_of(optimizer=sgd | {"clip_norm": 0})


def test_a_loss_is_a_word_or_a_table_with_its_options():
    plain = workload_of()
    assert "cross_entropy" == plain.to_table()["loss"]
    assert plain == workload_of(loss={"type": "cross_entropy", "label_smoothing": 0.0})
    smoothed = workload_of(loss={"type": "cross_entropy", "label_smoothing": 0.1})
    assert {"type": "cross_entropy", "label_smoothing": 0.1} == smoothed.to_table()["loss"]
    assert smoothed == read_workload(json.loads(json.dumps(smoothed.to_table())))
    assert smoothed.digest != plain.digest


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"label_smoothing": 0.1}, "loss: 'type' is missing"),
        ({"type": "hinge"}, "loss.type = 'hinge' is unknown"),
        (3, "loss = 3 is unknown; known: cross_entropy, mean_squared_error"),
        ({"type": "cross_entropy", "label_smoothing": 1}, "loss.label_smoothing = 1 must be less"),
        (
            {"type": "mean_squared_error", "label_smoothing": 0.1},
            "loss.label_smoothing is not a known key",
        ),
    ],
)
def test_a_loss_that_is_none_is_refused_where_it_stands(loss, message):
    with pytest.raises(WorkloadError) as error:
        workload_of(loss=loss)
    assert message in str(error.value)


def test_a_convolution_in_groups_reads_a_part_of_its_channels():
    (node,) = read_network([CONV | {"out_channels": 6, "groups": 2}], (8, 5, 5))
    weight, bias = node.parameters
    assert ((6, 4, 3, 3), (6,)) == (weight.shape, bias.shape)
    assert (36, 36) == (weight.fan_in, bias.fan_in)
    assert 2 * 6 * 36 * 25 == node.forward_flops
    (depthwise,) = read_network([CONV | {"out_channels": 8, "groups": 8}], (8, 5, 5))
    assert (8, 1, 3, 3) == depthwise.parameters[0].shape
    assert 9 == depthwise.parameters[0].fan_in


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(4, 6, 4), (6, 4, 4), (4, 4, 8)])
def test_groups_that_do_not_divide_channels_are_refused_with_both_numbers(
    channels, outputs, groups
):
    with pytest.raises(WorkloadError) as error:
        read_network([CONV | {"out_channels": outputs, "groups": groups}], (channels, 5, 5))
    assert (
        f"network.layers[0].groups = {groups} must divide the {channels} channels of the input and"
        f" the {outputs} of the output" == str(error.value)
    )


def test_groups_are_one_or_more():
    with pytest.raises(WorkloadError, match=r"layers\[0\].groups = 0 must be 1 or more"):
        read_network([CONV | {"groups": 0}], (4, 5, 5))


def test_int8_refuses_groups_by_their_name():
    with pytest.raises(PlanRefused, match=r"^int8 has no groups for conv2d \(conv1\)$"):
        quantization.outline(workload_of(CONV | {"groups": 2}))


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (7, 7, [(i, i + 1) for i in range(7)]),
        (7, 3, [(0, 3), (2, 5), (4, 7)]),
        (10, 4, [(0, 3), (2, 5), (5, 8), (7, 10)]),
        (2, 3, [(0, 1), (0, 2), (1, 2)]),
        (5, 1, [(0, 5)]),
    ],
)
def test_adaptive_windows_begin_and_end_as_in_aten(size, count, expected):
    assert expected == list(bins(size, count))


def test_an_adaptive_pool_has_the_output_that_it_is_told():
    (node,) = read_network([{"type": "adaptive_avg_pool", "output": [3, 8]}], (4, 7, 5))
    assert (4, 3, 8) == node.output_shape
    assert (bins(7, 3), bins(5, 8)) == node.bins
    assert 0 == node.forward_flops


SQUEEZE = [{"type": "global_avg_pool"}, {"type": "linear", "out_features": 4}]


@pytest.mark.parametrize(
    "body", [SQUEEZE, [{"type": "adaptive_avg_pool", "output": 1}, {"type": "tanh"}]]
)
def test_a_scaling_ends_in_a_number_for_each_channel(body):
    (node,) = read_network([{"type": "scale", "body": body}], (4, 6, 6))
    assert (4, 6, 6) == node.output_shape
    assert len(body) == len(node.body)
    assert node.layer == Scale()
    workload = workload_of({"type": "scale", "body": body})
    assert workload == read_workload(json.loads(json.dumps(workload.to_table())))


def test_a_transposed_convolution_undoes_the_size_of_a_convolution():
    conv = {"kernel": [3, 4], "stride": [2, 3], "padding": [1, 0]}
    for size in ((9, 13), (10, 14), (10, 15)):
        (down,) = read_network([CONV | conv], (4, *size))
        _, rows, columns = down.output_shape
        added = [(n + 2 * p - k) % s for n, k, s, p in zip(size, *conv.values(), strict=True)]
        up = {"type": "conv_transpose2d", "out_channels": 2, **conv, "output_padding": added}
        (node,) = read_network([up], (4, rows, columns))
        assert (2, *size) == node.output_shape
        weight, bias = node.parameters
        assert ((4, 2, 3, 4), (2,)) == (weight.shape, bias.shape)
        # two positions of the kernel meet along each axis at the most
        assert 4 * 2 * 2 == weight.fan_in
        assert 2 * weight.size * rows * columns == node.forward_flops


@pytest.mark.parametrize("kind", [{"type": "group_norm", "groups": 2}, {"type": "layer_norm"}])
def test_norms_of_a_sample_have_a_scale_and_a_shift_for_each_channel(kind):
    for shape in ((4, 6, 6), (4,)):
        (node,) = read_network([kind], shape)
        assert shape == node.output_shape
        assert [("scale", (4,)), ("shift", (4,))] == [(p.role, p.shape) for p in node.parameters]


REFUSED = {
    "an output padding of a stride": (
        [{"type": "conv_transpose2d", "out_channels": 2, "kernel": 3, "output_padding": 1}],
        "layers[0].output_padding = [1, 1] must be less than the stride [1, 1]",
    ),
    "a transposed convolution that leaves nothing": (
        [{"type": "conv_transpose2d", "out_channels": 2, "kernel": 1, "padding": 3}],
        "layers[0].padding = [3, 3] leaves nothing of 4 × 6 × 6",
    ),
    "groups that do not divide": (
        [{"type": "group_norm", "groups": 3}],
        "layers[0].groups = 3 must divide the 4 channels of the input",
    ),
    "a norm of one value": (
        [{"type": "global_avg_pool"}, {"type": "group_norm", "groups": 4}],
        "layers[1]: group_norm has one value to normalise in 4",
    ),
    "a norm of one channel": ([CONV | {"out_channels": 1}, {"type": "layer_norm"}], "one value"),
    "neighbours without a middle": (
        [{"type": "local_response_norm", "size": 4}],
        "layers[0].size = 4 must be odd",
    ),
    "a scaling by an image": (
        [{"type": "scale", "body": [CONV]}],
        "body: its 4 × 6 × 6 cannot scale the channels of 4 × 6 × 6; it has to end in 4 features",
    ),
    "a scaling by other channels": (
        [
            {
                "type": "scale",
                "body": [
                    {"type": "global_avg_pool"},
                    *SQUEEZE[1:],
                    {"type": "linear", "out_features": 3},
                ],
            }
        ],
        "body: its 3 cannot scale the channels of 4 × 6 × 6",
    ),
    "a scaling without a body": ([{"type": "scale"}], "layers[0].body is missing or empty"),
    "an option of a scaling": (
        [{"type": "scale", "body": SQUEEZE, "by": 2}],
        "layers[0].by is not a known key",
    ),
    "an adaptive pool of features": (
        [{"type": "flatten"}, {"type": "adaptive_avg_pool", "output": 1}],
        "adaptive_avg_pool needs channels",
    ),
    "an adaptive pool without a size": (
        [{"type": "adaptive_avg_pool", "output": 0}],
        "layers[0].output = 0 must be 1 or more",
    ),
    "another form of gelu": (
        [{"type": "gelu", "approximate": "sigmoid"}],
        "layers[0].approximate = 'sigmoid' is unknown; known: none, tanh",
    ),
    "a form of gelu that is no word": (
        [{"type": "gelu", "approximate": True}],
        "= True is unknown",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_where_it_stands(what):
    layers, message = REFUSED[what]
    with pytest.raises(WorkloadError) as error:
        read_network(layers, (4, 6, 6))
    assert message in str(error.value)


PLAN = Plan("start", "cpu", 2, 1)


def test_a_backend_that_is_still_growing_refuses_groups_by_their_name():
    from dlbench.backends.starts.class_style import Adapter

    of = workload_of(CONV | {"groups": 2})
    with pytest.raises(PlanRefused, match=r"^start has no groups for conv2d$"):
        Adapter().open(PLAN, of, {})
