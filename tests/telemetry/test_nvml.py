"""The driver's library through whatever answers to ``import pynvml``, and the GPUs of a machine by it."""

import json
import sys
import types

import pytest

from dlbench.telemetry.log import Refused
from dlbench.telemetry.nvml import Nvml


@pytest.fixture
def older(monkeypatch):
    """An older module of the name, as the distribution pynvml has it: less in it, and bytes for text."""

    class NVMLError(Exception):
        def __init__(self, value):
            super().__init__(f"error {value}")
            self.value = value

    names = ("NOT_SUPPORTED", "NOT_FOUND", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND")
    names += ("FUNCTION_NOT_FOUND", "GPU_IS_LOST", "TIMEOUT", "UNKNOWN", "IN_USE")
    module = types.ModuleType("pynvml")
    codes = {f"NVML_ERROR_{name}": number for number, name in enumerate(names, 3)}
    module.__dict__.update(codes, NVMLError=NVMLError)
    module.nvmlInitWithFlags = lambda flags: None
    module.nvmlDeviceGetUUID = lambda handle: b"GPU-1"
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_bytes_of_an_older_module_are_text(older):
    assert "GPU-1" == Nvml().ask("nvmlDeviceGetUUID", None)


def test_what_an_older_module_has_not_got_is_refused_like_what_an_old_driver_has_not_got(older):
    nvml = Nvml()
    with pytest.raises(Refused, match="nvmlGpmQueryDeviceSupport") as refused:
        nvml.ask("nvmlGpmQueryDeviceSupport", None)
    assert refused.value.code in nvml.missing_codes
    assert refused.value.for_good


GPUS_THEN_WHETHER_THE_LIBRARY_WAS_GIVEN_BACK = """
import json, pynvml
from dlbench.telemetry.device import gpu_names
gpus, code = gpu_names(), 0
try:
    pynvml.nvmlDeviceGetPowerUsage(pynvml.nvmlDeviceGetHandleByIndex(0))
except pynvml.NVMLError as error:
    code = error.value
print(json.dumps([gpus, code == pynvml.NVML_ERROR_UNINITIALIZED]))
"""


NAMES = "from dlbench.telemetry.device import gpu_names; print(gpu_names())"


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        ({}, ["Stub H200, 128 GiB", "Stub H200, 128 GiB"]),
        ({"GPU-22222222-bbbb.handle": 4}, ["Stub H200, 128 GiB"]),
        (
            {"GPU-11111111-aaaa.memory": "error 3"},
            ["Stub H200, memory unknown", "Stub H200, 128 GiB"],
        ),
    ],
    ids=["both", "one refused", "one without a figure"],
)
def test_a_machine_has_the_gpus_that_the_driver_shows_with_what_it_tells(stubbed, changes, gpus):
    done = stubbed(changes).run("-c", GPUS_THEN_WHETHER_THE_LIBRARY_WAS_GIVEN_BACK)
    assert [gpus, True] == json.loads(done.stdout)


def test_a_machine_without_a_driver_has_no_gpu(stubbed):
    where = stubbed(driver=None)
    assert "()" == where.run("-c", NAMES).stdout.strip()


@pytest.mark.parametrize(
    "changes", [{"init": "hang"}, {"*.handle": "hang"}, {"*.memory": "hang"}], ids=str
)
def test_a_machine_whose_driver_does_not_answer_has_that_in_place_of_its_gpus(stubbed, changes):
    impatient = f"from dlbench.telemetry import nvml; nvml.PATIENCE_S = 0.3\n{NAMES}"
    shown = stubbed(changes).run("-c", impatient).stdout
    assert shown.startswith("('unknown: the NVIDIA driver did not answer for")
