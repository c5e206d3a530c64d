"""Convolutions whose gradients oneDNN writes past their end, which ends a process: in one of its own."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("torch")

SCRIPT = textwrap.dedent(
    """
    import torch
    from dlbench.backends.torch import layers
    from dlbench.spec.network import read_network

    torch.set_num_threads(1)
    for shape, stride in (
        ((2, 14, 22), 2), ((3, 15, 15), 3), ((1, 14, 7), [2, 1]), ((7, 5, 8), [1, 4]), ((3, 14, 2), 2),
    ):
        layer = {"type": "conv2d", "out_channels": 4, "kernel": 1, "stride": stride}
        for _ in range(200):
            network = layers.Network(read_network([layer], shape), None)
            network.to(memory_format=torch.channels_last)
            x = torch.randn(5, *shape).to(memory_format=torch.channels_last).requires_grad_()
            network(x).square().sum().backward()
        w, b = (each.detach().double().requires_grad_() for each in network.parameters())
        x64 = x.detach().double().requires_grad_()
        torch.nn.functional.conv2d(x64, w, b, stride).square().sum().backward()
        for exact, each in zip((x64, w, b), (x, *network.parameters()), strict=True):
            torch.testing.assert_close(each.grad, exact.grad.float(), rtol=1e-4, atol=1e-4)
    print("right")
    """
)


def test_gradients_of_small_strided_convolutions_stay_within_their_memory():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False
    )
    assert (0, "right\n") == (done.returncode, done.stdout), done.stderr
