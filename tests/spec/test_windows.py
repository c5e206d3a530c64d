"""How many windows convolutions and pools have, and what is said of a padding that is none."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.errors import WorkloadError
from dlbench.spec.network import read_network

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}

SAME = {
    "an odd kernel": ({}, "for kernel 3 and stride 1, padding = 1 keeps its input's 8 × 9"),
    "an even kernel": (
        {"kernel": [4, 3]},
        "for kernel [4, 3] and stride 1, padding = [[1, 2], [1, 1]]",
    ),
    "dilation": ({"dilation": 2}, "for kernel 3, dilation 2 and stride 1, padding = 2"),
    "a stride": (
        {"stride": 2},
        (
            "for kernel 3 and stride 2 on 8 × 9, frameworks that have it with a stride mean padding = [[0, 1], [1, 1]];"
            " networks for those that have not have padding = 1"
        ),
    ),
    "capital letters": ({"padding": "SAME"}, "padding = 'SAME' has to be numbers: for kernel 3"),
    "the other word": ({"padding": "valid"}, "padding = 'valid' has to be numbers: it is 0"),
    "another mistake beside it": ({"kernel": 0}, "network.layers[0].kernel = 0"),
}


@pytest.mark.parametrize("case", SAME)
def test_a_padding_that_is_a_frameworks_word_is_refused_with_its_numbers(case):
    options, part = SAME[case]
    with pytest.raises(WorkloadError) as caught:
        read_network([{**CONV, "padding": "same", **options}], (4, 8, 9))
    assert part in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_the_numbers_that_same_stands_for_give_the_shape_that_it_gives(size, kernel, stride):
    layer = {"type": "max_pool", "kernel": list(kernel), "stride": list(stride)}
    with pytest.raises(WorkloadError) as caught:
        read_network([{**layer, "padding": "same"}], (1, *size))
    padding = json.loads(
        re.search(r"padding = (\S+(?: [\d\[\], ]+)?)(?=;| keeps)", str(caught.value))[1]
    )
    (node,) = read_network([{**layer, "padding": padding}], (1, *size))
    expected = [-(-length // step) for length, step in zip(size, stride, strict=True)]
    assert list(node.output_shape[1:]) == expected


def test_padding_that_is_alike_on_both_sides_is_the_same_however_it_is_written():
    ways = [[[1, 1], [2, 2]], [1, 2], [1, [2, 2]]]
    nodes = [read_network([{**CONV, "padding": way}], (2, 5, 5)) for way in ways]
    assert nodes[0] == nodes[1] == nodes[2]
    assert nodes[0][0].layer.even_padding == (1, 2)
    (node,) = read_network([{**CONV, "padding": [[0, 1], [2, 0]]}], (2, 5, 5))
    assert node.layer.even_padding is None
    assert node.layer.edges == ((0, 1), (2, 0))
    assert node.output_shape == (4, 4, 5)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_windows_are_as_many_as_pytorch_has_with_any_option(data):
    torch = pytest.importorskip("torch")
    kernel, stride = (data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5))) for _ in range(2))
    padding = [data.draw(st.integers(0, k // 2)) for k in kernel]
    size, ceil_mode = (
        data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9))),
        data.draw(st.booleans()),
    )
    table = {"type": "max_pool", "kernel": list(kernel), "stride": list(stride)}
    pool = torch.nn.MaxPool2d(kernel, stride, tuple(padding), ceil_mode=ceil_mode)
    try:
        expected = tuple(pool(torch.empty((1, 1, *size), device="meta")).shape[1:])
    except RuntimeError:
        with pytest.raises(WorkloadError, match="does not fit"):
            read_network([{**table, "padding": padding, "ceil_mode": ceil_mode}], (1, *size))
        return
    (node,) = read_network([{**table, "padding": padding, "ceil_mode": ceil_mode}], (1, *size))
    assert node.output_shape == expected
