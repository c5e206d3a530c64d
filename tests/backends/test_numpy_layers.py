"""Every layer of the NumPy backend against PyTorch in float64: outputs, loss and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
from dlbench.backends.numpy import workers
from dlbench.backends.numpy.adapter import Adapter
from dlbench.backends.numpy.convolutions import row_pairs as pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.contract import Plan

pytest.importorskip("torch")
from numpy_beside_torch import CONV, POINT, RATE, check, random_weights, workload_of


@pytest.fixture(autouse=True, scope="module", params=["a row", "two rows"])
def at_a_time(request):
    """Convolutions that can be made two rows at a time are, or none is."""
    least = 0 if request.param == "two rows" else 10**12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_LEAST_PIXELS", least)
        patch.setattr(pairs, "_LEAST_DEPTH", 0)
        yield


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, [1, 3], [4, 2]], ids=str)
@pytest.mark.parametrize("padding", [0, 1, [2, 1]], ids=str)
def test_convolution_agrees_for_any_kernel_and_padding(kernel, padding):
    check([POINT, {**CONV, "kernel": kernel, "padding": padding}])


@pytest.mark.parametrize("stride", [1, 2, 3, [1, 2], [3, 1]], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, [2, 1]], ids=str)
@pytest.mark.parametrize("padding", [0, 2], ids=str)
def test_convolution_agrees_for_any_stride_and_dilation(stride, dilation, padding):
    check(
        [POINT, {**CONV, "stride": stride, "dilation": dilation, "padding": padding}], (2, 13, 10)
    )


@pytest.mark.parametrize("padding", [[[0, 2], [1, 0]], [[2, 0], [0, 1]], [1, [0, 3]]], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"dilation": 2}, {"kernel": [2, 3]}], ids=str
)
@pytest.mark.parametrize("channels", [2, 9])
def test_convolution_agrees_for_padding_that_differs_from_side_to_side(padding, options, channels):
    # few channels and many have their windows expanded in different ways
    first = {**POINT, "out_channels": channels}
    check([first, {**CONV, **options, "padding": padding}], (2, 8, 9))


@pytest.mark.parametrize("kernel", [2, 4, [3, 4]], ids=str)
def test_an_even_kernel_that_keeps_the_size_agrees(kernel):
    sides = [[(k - 1) // 2, k // 2] for k in (kernel if isinstance(kernel, list) else [kernel] * 2)]
    for padding in (sides, [side[::-1] for side in sides]):
        check([POINT, {**CONV, "kernel": kernel, "padding": padding}], (2, 8, 9))


def test_a_stride_larger_than_the_kernel_leaves_inputs_without_gradient():
    check([POINT, {**CONV, "kernel": 2, "stride": 4, "padding": 1}])


def test_convolution_without_bias_agrees():
    check([{**CONV, "bias": False}, {**CONV, "bias": False}])


def test_five_by_five_kernels_with_stride_two_on_odd_images_agree_at_batch_one():
    layers = [
        {"type": "conv2d", "out_channels": 7, "kernel": 5, "stride": 2},
        {"type": "relu"},
        {"type": "conv2d", "out_channels": 9, "kernel": 5, "stride": 2, "padding": 2},
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "linear", "out_features": 10},
    ]
    check(layers, (1, 17, 23), "cross_entropy", batch=1)


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "batch_norm"},
        {"type": "batch_norm", "eps": 1e-2, "momentum": 0.3},
        {"type": "relu"},
        {"type": "leaky_relu"},
        {"type": "leaky_relu", "slope": 0.3},
        {"type": "leaky_relu", "slope": 1.5},
        {"type": "sigmoid"},
        {"type": "tanh"},
        {"type": "relu6"},
        {"type": "silu"},
        {"type": "hard_sigmoid"},
        {"type": "hard_swish"},
        {"type": "gelu"},
        {"type": "gelu", "approximate": "tanh"},
        {"type": "dropout", "rate": 0},
        {"type": "global_avg_pool"},
        {"type": "flatten"},
        {"type": "option_a"},
        {"type": "option_a", "stride": 2, "extra_channels": 3},
        {"type": "option_a", "stride": [3, 1], "extra_channels": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("position", ["first", "between", "after_relu"])
def test_every_elementwise_layer_agrees_wherever_it_stands(layer, position):
    before = {"first": [], "between": [CONV], "after_relu": [CONV, {"type": "relu"}]}[position]
    flat = layer["type"] in ("flatten", "global_avg_pool")
    after = [{"type": "linear", "out_features": 4}] if flat else [CONV]
    check([*before, layer, *after])


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
@pytest.mark.parametrize(
    ("kernel", "padding"),
    # padding is at most half of the kernel
    [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), ([3, 2], 0), ([3, 2], 1)],
    ids=str,
)
@pytest.mark.parametrize("stride", [None, 1, 2, [2, 3]], ids=str)
def test_pooling_agrees_for_any_window(kind, kernel, stride, padding):
    pool = {"type": kind, "kernel": kernel, "padding": padding}
    if stride is not None:
        pool["stride"] = stride
    check([CONV, pool, POINT])
    check([CONV, {"type": "relu"}, pool])


@pytest.mark.parametrize(
    "pool",
    [
        {"type": "max_pool"},
        {"type": "avg_pool"},
        {"type": "avg_pool", "count_include_pad": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(2, 2, 0), (2, 3, 1), (3, 2, 1), ([3, 2], [2, 3], [[0, 2], [1, 0]]), (3, 2, [[1, 0], [0, 1]])],
    ids=str,
)
def test_pooling_agrees_with_every_option(pool, ceil_mode, kernel, stride, padding):
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    check([CONV, {**pool, **windows}, POINT])


def test_bodies_side_by_side_agree():
    pool = {"type": "max_pool", "kernel": 3, "stride": 1, "padding": 1}
    bodies = [[POINT, {"type": "relu"}], [pool, POINT], [], [{**CONV, "padding": 1}]]
    inner = {"type": "concat", "bodies": [[{"type": "relu"}], [], [{"type": "tanh"}]]}
    check([CONV, {"type": "concat", "bodies": bodies}, inner, POINT])
    check([{"type": "concat", "bodies": [[], []]}, POINT])
    check([{"type": "concat", "bodies": bodies}, {"type": "relu"}, POINT], threads=2)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_agree(bias):
    layers = [{"type": "linear", "out_features": n, "bias": bias} for n in (13, 1, 7)]
    check(layers, (10,))


@pytest.mark.parametrize("kind", ["flatten", "global_avg_pool"])
def test_batch_norm_of_features_agrees_in_whatever_order_they_are(kind):
    norm, tanh = {"type": "batch_norm"}, {"type": "tanh"}
    branch = {"type": "residual", "body": [norm, tanh]}
    behind = [{"type": "linear", "out_features": 5}, tanh, norm]
    for rest in ([norm], [norm, *behind], [branch, *behind]):
        check([CONV, tanh, {"type": kind}, *rest], (3, 6, 5), threads=2)


@pytest.mark.parametrize("shortcut", ["identity", "option_a", "projection"])
def test_residual_sums_agree(shortcut):
    stride = 1 if shortcut == "identity" else 2
    out = 5 if shortcut == "identity" else 8
    body = [
        {
            "type": "conv2d",
            "out_channels": out,
            "kernel": 3,
            "padding": 1,
            "stride": stride,
            "bias": False,
        },
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "conv2d", "out_channels": out, "kernel": 3, "padding": 1, "bias": False},
        {"type": "batch_norm"},
    ]
    block = {"type": "residual", "body": body, "shortcut": shortcut}
    check([CONV, block, {"type": "relu"}, POINT])
    check([block, {"type": "global_avg_pool"}], shape=(5, 8, 9))


@pytest.mark.parametrize("chunk_bytes", [1, 20_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_layers_agree_when_a_shard_is_many_chunks(chunk_bytes, threads, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_BYTES", chunk_bytes)
    norm = [{"type": "relu"}, {"type": "batch_norm"}]
    # Norms that read what is stored for other segments too, whose chunks have gaps in memory.
    dense = {"type": "concat", "body": [*norm, {"type": "relu"}, {**CONV, "padding": 1}]}
    pool = {"type": "max_pool", "kernel": 2}
    end = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    check([CONV, *norm, dense, *norm, pool, *norm, *end], loss="cross_entropy", threads=threads)


@pytest.mark.parametrize("gate", ["gelu", "silu"])
@pytest.mark.parametrize("before", [[], [CONV]])
def test_what_a_gate_keeps_never_lies_where_its_input_does(gate, before):
    # what the gate gives is read on the way back, so that it is stored, and what it keeps is not
    layers = [{"type": "tanh"}, {"type": gate}, CONV, {"type": "sigmoid"}]
    check([*before, *layers, {"type": "flatten"}, {"type": "linear", "out_features": 3}])


def test_nested_residuals_and_concatenations_agree():
    dense = {
        "type": "concat",
        "body": [{"type": "batch_norm"}, {"type": "relu"}, {**CONV, "padding": 1}],
    }
    inner = {
        "type": "residual",
        "body": [{**CONV, "out_channels": 10, "padding": 1}, {"type": "tanh"}],
    }
    outer = {"type": "residual", "body": [{"type": "relu"}, inner, {"type": "sigmoid"}]}
    check([CONV, dense, outer, dense, {"type": "avg_pool", "kernel": 2}, POINT])


def test_concatenation_at_the_start_of_a_network_agrees():
    check([{"type": "concat", "body": [{**CONV, "padding": 1}, {"type": "relu"}]}, POINT])


def test_layers_after_flatten_see_the_canonical_order():
    layers = [
        CONV,
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "relu"},
        {"type": "linear", "out_features": 6},
    ]
    check(layers, loss="cross_entropy")
    check([CONV, {"type": "flatten"}, {"type": "tanh"}])


def test_a_tie_in_max_pooling_sends_the_gradient_to_the_first_maximum():
    scale = {"type": "conv2d", "out_channels": 1, "kernel": 1}
    workload = workload_of(
        [
            scale,
            {"type": "max_pool", "kernel": 2},
            {"type": "flatten"},
            {"type": "linear", "out_features": 1},
        ],
        (1, 5, 4),
    )
    # The gradient of conv.weight sums dy · x over the winners; equal outputs come from equal inputs only, so the
    # two channels' sum tells the winner: x0 ties, x1 says where.
    two = workload_of(
        [
            scale,
            {"type": "max_pool", "kernel": 2},
            {"type": "flatten"},
            {"type": "linear", "out_features": 1},
        ],
        (2, 5, 4),
    )
    assert workload.output_shape == two.output_shape
    weights = random_weights(two)
    weights["conv1.weight"][...] = np.float32([1, 0]).reshape(1, 2, 1, 1)
    weights["conv1.bias"][...] = 0
    weights["linear1.weight"][...] = 1
    weights["linear1.bias"][...] = 0
    inputs = np.zeros((1, 2, 5, 4), np.float32)
    inputs[0, 0, 2:4, 2:4] = [[0, 7], [7, 7]]
    inputs[0, 1] = np.arange(20).reshape(5, 4)
    session = Adapter().open(Plan("numpy", "cpu", 1, 1), two, weights)
    session.train_step(session.upload(inputs, np.float32([[6.5]])))
    gradient = (weights["conv1.weight"] - session.weights()["conv1.weight"]) / RATE
    # Winners: 0 and 2 (constant windows), 8, and 11 (the first 7). The loss' gradient is 2 · (7 − 6.5) = 1.
    assert gradient.reshape(2).tolist() == [7, 0 + 2 + 8 + 11]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_convolutional_network_agrees_with_any_number_of_threads(data):
    draw = data.draw
    shape = (draw(st.integers(1, 4)), draw(st.integers(5, 14)), draw(st.integers(5, 14)))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        layers.append(
            {
                "type": "conv2d",
                "out_channels": draw(st.integers(1, 9)),
                "kernel": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
                "stride": [draw(st.integers(1, 2)), draw(st.integers(1, 2))],
                "padding": [1, 1],
                "bias": draw(st.booleans()),
            }
        )
        layers.append(
            draw(
                st.sampled_from(
                    [
                        {"type": "tanh"},
                        {"type": "sigmoid"},
                        {"type": "leaky_relu"},
                        {"type": "batch_norm"},
                    ]
                )
            )
        )
        if draw(st.booleans()):
            layers.append({"type": "max_pool", "kernel": 2, "stride": 1, "padding": 1})
    layers += [{"type": "flatten"}, {"type": "linear", "out_features": 10}]
    check(layers, shape, "cross_entropy", draw(st.integers(2, 9)), draw(st.integers(1, 4)))
