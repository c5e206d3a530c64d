"""What is PyTorch's alone: its memory, its modes, its result types, and what it says of GPUs."""

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable
from dlbench.spec.workload import initial_weights, read_workload

torch = pytest.importorskip("torch")

from dlbench.backends.torch import adapter  # noqa: E402
from dlbench.backends.torch.adapter import Adapter  # noqa: E402

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


def linear():
    """The smallest network, and weights."""
    workload = read_workload(
        {
            "input_shape": [4],
            "layers": [{"type": "linear", "out_features": 3}],
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    return workload, initial_weights(workload, 0)


def test_a_number_of_threads_is_obeyed():
    workload, weights = linear()
    for threads in (1, 2):
        session = Adapter().open(Plan("torch", "cpu", 4, threads), workload, weights)
        assert session.facts["threads"] == torch.get_num_threads() == threads


@pytest.fixture
def gpus(monkeypatch):
    """Makes PyTorch a CUDA build, with these devices by its own account and by the driver's."""

    def gpus(names, uuids, trouble=None):
        def init():
            if trouble:
                raise RuntimeError(trouble)

        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
        monkeypatch.setattr(adapter, "device_uuids", lambda: uuids)

    return gpus


def test_every_gpu_has_its_name_and_the_uuid_by_which_a_resumed_run_knows_it(gpus):
    gpus(["NVIDIA H200", "NVIDIA H200"], ("GPU-1", "GPU-2"))
    info = Adapter().info()
    h200 = "NVIDIA H200"
    assert [("cuda:0", h200, "GPU-1"), ("cuda:1", h200, "GPU-2")] == [
        (each.name, each.description, each.uuid) for each in info.devices[1:]
    ]
    assert all(each.has_copies and each.telemetry == "nvml" for each in info.devices[1:])
    assert {} == info.absent


def test_a_gpu_whose_uuid_nobody_tells_has_none(gpus, monkeypatch):
    gpus(["NVIDIA H200"], ())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: object())
    assert [""] == [each.uuid for each in Adapter().info().devices[1:]]


def test_a_driver_that_this_build_cannot_use_is_the_reason_and_no_traceback(gpus):
    """PyTorch counts a device there all the same."""
    gpus(["NVIDIA H200"], ("GPU-1",), "The NVIDIA driver on your system is too old")
    info = Adapter().info()
    assert ["cpu"] == [device.name for device in info.devices]
    assert "cannot use the GPU: The NVIDIA driver on your system is too old" in info.absent["cuda"]
    workload, weights = linear()
    with pytest.raises(BackendUnavailable, match="driver on your system is too old") as refused:
        Adapter().open(Plan("torch", "cuda", 4, 1), workload, weights)
    assert "a newer driver" in refused.value.remedy


def test_without_a_driver_there_is_nothing_to_explain(gpus):
    gpus([], (), "Found no NVIDIA driver on your system")
    info = Adapter().info()
    assert (["cpu"], {}) == ([device.name for device in info.devices], info.absent)


def test_a_build_for_the_cpu_alone_says_so(gpus, monkeypatch):
    gpus([], ("GPU-1",))
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "was built for the CPU alone" in Adapter().info().absent["cuda"]
