"""The adapter and its device, with a CuPy that is none and the stub for cuDNN."""

from __future__ import annotations

import gc
import sys
import types
from pathlib import Path

import pytest
from dlbench.backends.cudnn import adapter, device
from dlbench.backends.cudnn.adapter import Adapter
from dlbench.backends.cudnn.device import CudnnDevice, library_paths
from dlbench.backends.cudnn.library import CUDNN, Library, LibraryError
from dlbench.backends.launches.device import Pointer
from fake_cupy import fake_cupy
from stub import PLAN, StubAdapter, StubDevice, library, library_path, workload_of

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.workload import initial_weights


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy with two devices, and libraries that are the stub."""
    module = fake_cupy(gpus=2)
    monkeypatch.setitem(sys.modules, "cupy", module)
    paths = (library_path(), library_path())
    monkeypatch.setattr(adapter, "library_paths", lambda major: paths)
    return module


def test_it_tells_its_version_devices_modes_and_libraries(cupy):
    info = Adapter().info()
    assert "9.27.0" == info.version == info.libraries["cudnn"]
    assert ["cuda:0", "cuda:1"] == [device.name for device in info.devices]
    assert (info.mode, info.modes) == ("eager", ("eager", "graph"))
    assert info.precisions == ("fp32", "tf32")


def test_without_cupy_it_names_the_gpu_and_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailable) as caught:
        Adapter().info()
    assert "this row needs an NVIDIA GPU and  pip install 'dlbench[cudnn]'" == caught.value.remedy


def test_without_cudnn_it_says_so_and_names_the_command(cupy, monkeypatch):
    missing = ("libnone.so.9", library_path())
    monkeypatch.setattr(adapter, "library_paths", lambda major: missing)
    for ask in (Adapter().info, lambda: Adapter().open(PLAN, None, None)):
        with pytest.raises(BackendUnavailable, match=r"cuDNN cannot be loaded .*libnone") as caught:
            ask()
        assert "pip install 'dlbench[cudnn]'" == caught.value.remedy


def test_a_library_that_lacks_a_function_says_which():
    with pytest.raises(LibraryError, match="has no cudnnConvolve"):
        Library(library_path(), {"cudnnConvolve": ()})


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan("cudnn", "cpu", 1, 1), "cudnn has no CPU"),
        (Plan("cudnn", "cuda", 1, 1, "bf16"), "cudnn computes in fp32 or tf32"),
        (Plan("cudnn", "cuda", 1, 1, mode="lazy"), "cudnn has the modes eager and graph"),
    ],
)
def test_a_plan_that_it_cannot_carry_out_is_refused(cupy, plan, sentence):
    with pytest.raises(PlanRefused, match=sentence):
        Adapter().open(plan, None, None)


def test_the_libraries_are_those_of_nvidias_packages_or_the_loaders(tmp_path, monkeypatch):
    assert ("libcudnn.so.9", "libcublas.so.13") == library_paths(13)
    file = tmp_path / "lib" / "libcudnn.so.9"
    file.parent.mkdir()
    file.touch()
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    found = {"nvidia.cudnn": spec}.get
    monkeypatch.setattr(device.importlib.util, "find_spec", found)
    assert (str(file), "libcublas.so.12") == library_paths(12)


class Array:
    """As much of a CuPy array as a call needs."""

    def __init__(self, address):
        self.data = types.SimpleNamespace(ptr=address)


def test_a_call_is_given_addresses_and_looks_up_a_pointer_each_time():
    made = object.__new__(CudnnDevice)
    made._cupy = types.SimpleNamespace(ndarray=Array)
    calls, pointer = [], Pointer()
    made.bind_call(lambda *args: calls.append(args), ("handle", Array(7), None, 3))()
    call = made.bind_call(lambda *args: calls.append(args), (pointer, Array(8)))
    for address in (1, 2):
        pointer.buffer = Array(address)
        call()
    assert [("handle", 7, None, 3), (1, 8), (2, 8)] == calls


WORKLOAD = workload_of(
    [2, 5, 5],
    [
        {"type": "conv2d", "out_channels": 3, "kernel": 3},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "max_pool", "kernel": 2},
        {"type": "residual", "body": [{"type": "sigmoid"}]},
        {"type": "flatten"},
        {"type": "linear", "out_features": 3},
    ],
)


def test_handles_and_descriptors_are_given_back():
    gc.collect()
    before = library().stub_live()
    made = StubDevice()
    handles = library().stub_live() - before
    session = StubAdapter(made).open(PLAN, WORKLOAD, initial_weights(WORKLOAD, 0))
    assert library().stub_live() > before + handles
    del session
    gc.collect()
    assert before + handles == library().stub_live()
    del made
    gc.collect()
    assert before == library().stub_live()


def test_a_refusal_of_the_library_is_an_error_with_its_reason():
    found = Library(library_path(), CUDNN)
    with pytest.raises(LibraryError, match="cudnnDestroy: BAD_PARAM destroyed twice"):
        found.call("cudnnDestroy", None)


def test_a_step_is_these_calls():
    """What docs/cudnn-backend.md lists."""
    session = StubAdapter().open(PLAN, WORKLOAD, initial_weights(WORKLOAD, 0))
    names = [work.name.removeprefix("cudnn") for work in session.programs[True].launches]
    forward = [
        *("ConvolutionForward", "AddTensor", "BatchNormalizationForwardTraining"),
        *("PoolingForward", "ActivationForward", "ActivationForward", "OpTensor"),
        *("cublasSgemm_v2", "AddTensor", "cross_entropy"),
    ]
    backward = [
        *("ConvolutionBackwardBias", "cublasSgemm_v2", "cublasSgemm_v2"),
        *("ActivationBackward", "AddTensor", "ActivationBackward", "PoolingBackward"),
        *("BatchNormalizationBackward", "ConvolutionBackwardBias", "ConvolutionBackwardFilter"),
    ]
    assert [*forward, *backward, "update"] == names


def test_every_module_is_in_the_documentation():
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / "cudnn-backend.md").read_text("utf-8")
    modules = [path.name for path in (root / "backends" / "cudnn").glob("[!_]*.py")]
    assert len(modules) > 5
    assert [] == [name for name in modules if f"`{name}`" not in text]
