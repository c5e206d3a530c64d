"""NaN comes through every kernel as it does through the oracle, so that a training that diverges is seen to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from dlbench.backends.cupy.device import source_text
from host_adapter import HostAdapter, launches
from host_device import HostDevice
from recorded import sample
from vectors import PLAN

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import Sequence
from dlbench.spec.workload import read_workload

NAN = np.float32("nan")
DEVICE = HostDevice(source_text)
RELU: dict[str, Any] = {"type": "relu"}
POOL: dict[str, Any] = {"type": "max_pool", "kernel": 2}
CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 4, "kernel": 1}

# layers, and what tells the launch that is meant
CASES: dict[str, tuple[list[dict[str, Any]], str, dict[str, int]]] = {
    "relu by itself": ([RELU], "apply", {}),
    "relu behind a convolution": ([CONV, RELU], "convolution_forward", {"POOL": 0}),
    "a max pool by itself": ([POOL], "max_pool", {}),
    "a max pool whose windows overlap": (
        [POOL | {"kernel": 3, "stride": 2, "padding": 1}, RELU],
        "max_pool",
        {},
    ),
    "a max pool in the convolution's kernel": (
        [CONV, RELU, POOL],
        "convolution_forward",
        {"POOL": 1},
    ),
}


def inputs(channels):
    """Normal numbers with NaN at each place of some window of 2×2, and at two of one."""
    x = np.random.default_rng(0).normal(size=(2, channels, 4, 6)).astype(np.float32)
    for image, row, column in [(0, 0, 0), (0, 0, 3), (0, 3, 0), (0, 3, 5), (1, 0, 1), (1, 1, 0)]:
        x[image, -1, row, column] = NAN
    return x


def opened(layers, channels):
    """A workload, its weights, a session with it, and what it is to compute."""
    workload = read_workload(
        {
            "input_shape": [channels, 4, 6],
            "layers": layers,
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    weights, _, targets = sample(workload, 2)
    session = HostAdapter(DEVICE).open(dataclasses.replace(PLAN, batch=2), workload, weights)
    batch = session.upload(inputs(channels), targets)
    run = Pass(training=False, counts=np.ones(2))
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    expected = Sequence(workload.nodes, exact, run).forward(inputs(channels).astype(np.float64))
    return session, batch, expected, run


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("case", CASES)
def test_an_output_is_nan_where_the_oracles_is(case, channels):
    layers, name, defines = CASES[case]
    session, batch, expected, _ = opened(layers, channels)
    meant = [launch for launch in launches(session) if launch.name == name]
    assert any(defines.items() <= launch.defines.items() for launch in meant)
    assert np.isnan(expected).any()
    assert not np.isnan(expected).all()
    got = session.download(session.infer(batch))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if "max pool" in case])
def test_the_first_nan_of_a_window_is_its_maximum(case):
    session, batch, _, run = opened(CASES[case][0], 4)
    session.train_step(batch)
    values = [value for launch in session.programs[True].launches for value in launch.values]
    places = next(value for value in values if value.dtype == np.uint8)
    (winners,) = (branch.taken for branch in run.branches.values() if branch.other is not None)
    got = DEVICE.to_host(places.memory).reshape(2, 2, 3, 4).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(got, winners[..., 0])


def test_a_loss_is_nan_when_an_output_is():
    session, batch, _, _ = opened([CONV, RELU], 3)
    assert np.isnan(session.download(session.train_step(batch)))
