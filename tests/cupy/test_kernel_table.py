"""The table of launches, with the CPU for a GPU: what each must move and compute is counted right."""

from __future__ import annotations

import kernel_table
import pytest
from dlbench.backends.cupy.device import source_text
from host_device import HostDevice

from dlbench.spec.workload import read_workload


@pytest.fixture(scope="module")
def rows():
    """The launches of a step: two images of 4×4, two channels of 3×3 and their largest, two samples of two logits."""
    workload = read_workload(
        {
            "input_shape": [1, 4, 4],
            "layers": [
                {"type": "conv2d", "out_channels": 2, "kernel": 3},
                {"type": "max_pool", "kernel": 2},
                {"type": "flatten"},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    device = HostDevice(source_text)
    session = kernel_table.session_after_a_step(device, workload, 2, "fp32")
    return kernel_table.shares(device, session.programs[True], repeats=2)


def test_every_launch_has_its_time_and_what_it_must_do(rows):
    found = {row.name: (row.moved_bytes, row.flops) for row in rows}
    progress = 32
    taps, filters = 9, 2
    forward = 4 * (2 * 16 + taps * filters + filters + 2 * filters) + 2 * filters + progress
    assert (forward, 2 * 2 * 4 * taps * filters) == found["convolution_forward"]
    weights = 4 * 256
    backward = 4 * (2 * 16 + 2 * 4 * filters) + weights
    assert (backward, 2 * 2 * 4 * taps * filters) == found["convolution_weight_gradient"]
    assert 0 == found["cross_entropy"][1]
    assert all(row.seconds > 0 for row in rows)


def test_the_table_tells_shares_of_what_was_measured():
    rows = [
        kernel_table.Share("one", 1e-3, 500_000_000, 2 * 10**9),
        kernel_table.Share("two", 3e-3, 10**6, 0),
    ]
    *_, one, two = kernel_table.table(rows, 1e12, 4e12).splitlines()
    assert "| 1 | `one` | 1000.0 | 25% | 500.00 | 50% | 2,000 | 50% |" == one
    assert "| 2 | `two` | 3000.0 | 75% | 1.00 | 0% | 0 |  |" == two
