"""The CuPy backend's adapter: what is missing is said in one sentence, and plans it cannot carry out are refused."""

import sys
import types

import pytest
from dlbench.backends.cupy import adapter
from dlbench.backends.cupy.adapter import Adapter
from fake_cupy import fake_cupy

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused

# what the runtime says where there is no driver at all, too
TOO_OLD = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
DRIVER = "this row needs an NVIDIA GPU with a recent driver"


def reason_and_remedy():
    plan = Plan("cupy", "cuda", 64, 2)
    for ask in (Adapter().info, lambda: Adapter().open(plan, None, None)):
        with pytest.raises(BackendUnavailable) as caught:
            ask()
    return caught.value.reason, caught.value.remedy


def test_without_cupy_it_names_the_gpu_and_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert reason_and_remedy() == (
        "CuPy is not installed",
        "this row needs an NVIDIA GPU and  pip install 'dlbench[cupy]'",
    )


def test_without_a_gpu_it_asks_for_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=0))
    assert reason_and_remedy() == ("no CUDA device", "this row needs an NVIDIA GPU")


def test_a_driver_that_sees_no_gpu_is_no_gpu(monkeypatch):
    error = "cudaErrorNoDevice: no CUDA-capable device is detected"
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=0, error=error))
    assert reason_and_remedy() == ("no CUDA device", "this row needs an NVIDIA GPU")


@pytest.mark.parametrize("error", [TOO_OLD, "cudaErrorUnknown: unknown error"])
def test_when_cuda_cannot_start_it_says_why(monkeypatch, error):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=1, error=error))
    assert reason_and_remedy() == (f"CUDA cannot start ({error})", DRIVER)


def test_without_the_kernels_compiler_it_says_so_and_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=1, nvrtc=None))
    assert reason_and_remedy() == (
        "NVRTC, which compiles the kernels, cannot be loaded (No such file: libnvrtc.so.13)",
        "pip install 'cupy-cuda13x[ctk]'",
    )


def test_the_real_cupy_without_a_driver_gives_a_reason_and_no_traceback():
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert reason_and_remedy() in [
        ("no CUDA device", "this row needs an NVIDIA GPU"),
        (f"CUDA cannot start ({TOO_OLD})", DRIVER),
    ]


def test_it_tells_its_devices_modes_and_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=2))
    info = Adapter().info()
    assert [("cuda:0", "GPU 0"), ("cuda:1", "GPU 1")] == [
        (device.name, device.description) for device in info.devices
    ]
    assert (info.mode, info.modes, info.own_kernels) == ("eager", ("eager", "graph"), True)
    assert info.libraries == {"cuda": "13.2", "driver": "13.1", "nvrtc": "13.0"}


def test_a_device_that_is_not_there_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=1))
    with pytest.raises(BackendUnavailable, match="no CUDA device 3; cuda:0 is the only one"):
        Adapter().open(Plan("cupy", "cuda:3", 64, 2), None, None)


def test_every_session_is_opened_on_the_device_in_use(monkeypatch):
    used = []
    cupy = fake_cupy(gpus=2)
    cupy.cuda.Device = lambda index: types.SimpleNamespace(use=lambda: used.append(index))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(adapter, "Session", lambda *arguments: used.append("opened"))
    for device in ("cuda:0", "cuda:1", "cuda:0"):
        used.append(device)
        Adapter().open(Plan("cupy", device, 64, 2), None, None)
    before_opening = [used[place - 1] for place, what in enumerate(used) if what == "opened"]
    assert [0, 1, 0] == before_opening


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "cpu"}, "cupy has no CPU; cuda, cuda:N or cuda:GPU-UUID"),
        ({"mode": "lazy"}, "cupy has the modes eager and graph; it has no 'lazy'"),
        ({"precision": "bf16"}, "cupy computes in fp32 or tf32, not in 'bf16'"),
        ({"precision": "tf32"}, r"GPU 0 \(sm 7.5\) has no tf32; it came with sm 8.0"),
    ],
)
def test_a_plan_it_cannot_carry_out_is_refused_with_what_it_has(monkeypatch, changes, sentence):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpus=1, capability=(7, 5)))
    plan = {"backend": "cupy", "device": "cuda", "batch": 64, "threads": 2} | changes
    with pytest.raises(PlanRefused, match=sentence):
        Adapter().open(Plan(**plan), None, None)
