"""The CuPy backend says what is missing, and nothing else yet."""

import sys
import types

import pytest
from dlbench.backends.cupy_cuda import Adapter

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable


def reason_and_remedy():
    plan = Plan("cupy", "cuda", 64, 2)
    for ask in (Adapter().info, lambda: Adapter().open(plan, None, None)):
        with pytest.raises(BackendUnavailable) as caught:
            ask()
    return caught.value.reason, caught.value.remedy


def fake_cupy(gpu):
    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(is_available=lambda: gpu)
    return module


def test_without_cupy_it_names_the_gpu_and_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert reason_and_remedy() == (
        "CuPy is not installed",
        "this row needs an NVIDIA GPU and  pip install 'dlbench[cupy]'",
    )


def test_without_a_gpu_it_asks_for_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpu=False))
    assert reason_and_remedy() == ("no CUDA device", "this row needs an NVIDIA GPU")


def test_with_both_it_says_that_the_kernels_are_not_there_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(gpu=True))
    assert reason_and_remedy() == ("the raw CuPy kernels are not in this version", "")
