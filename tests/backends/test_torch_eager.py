"""What is PyTorch's alone: its memory, its modes, its result types."""

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload

torch = pytest.importorskip("torch")

from dlbench.backends.torch_eager import Adapter  # noqa: E402

LAYERS = [
    {"type": "conv2d", "out_channels": 4, "kernel": 3},
    {"type": "batch_norm"},
    {"type": "relu"},
    {"type": "flatten"},
    {"type": "linear", "out_features": 3},
]


@pytest.fixture
def session():
    workload = read_workload(
        {
            "input_shape": [2, 6, 5],
            "layers": LAYERS,
            "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        }
    )
    return Adapter().open(Plan("torch", "cpu", 4, 2), workload, initial_weights(workload, 0))


@pytest.fixture
def batch(session):
    random = np.random.default_rng(0)
    inputs = random.standard_normal((4, 2, 6, 5)).astype(np.float32)
    return session.upload(inputs, random.integers(0, 3, 4))


def test_the_loss_is_a_tensor_that_holds_no_graph(session, batch):
    loss = session.train_step(batch)
    assert isinstance(loss, torch.Tensor)
    assert loss.shape == ()
    assert loss.grad_fn is None
    assert not loss.requires_grad


def test_logits_are_inference_tensors(session, batch):
    logits = session.infer(batch)
    assert logits.is_inference()
    assert session.download(logits).shape == (4, 3)


def test_resident_images_are_contiguous_as_pytorch_makes_them(session, batch):
    inputs, targets = batch
    assert inputs.is_contiguous()
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64


def test_noncontiguous_arrays_are_taken(session):
    inputs = np.zeros((4, 6, 5, 2), np.float32).transpose(0, 3, 1, 2)
    inputs[0, 1, 2, 3] = 5
    resident, _ = session.upload(inputs, np.zeros(4, np.int64))
    assert resident.is_contiguous()
    np.testing.assert_array_equal(resident.numpy(), inputs)


def test_the_cpu_computes_in_ieee_float32(session):
    assert torch.backends.fp32_precision == "ieee"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.get_num_threads() == session.facts["threads"]


def test_a_number_of_threads_is_obeyed():
    workload = read_workload(
        {
            "input_shape": [4],
            "layers": [{"type": "linear", "out_features": 3}],
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    weights = initial_weights(workload, 0)
    for threads in (1, 2):
        session = Adapter().open(Plan("torch", "cpu", 4, threads), workload, weights)
        assert session.facts["threads"] == torch.get_num_threads() == threads
