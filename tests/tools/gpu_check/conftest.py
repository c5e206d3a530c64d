"""A machine that has a GPU by its own account: the stub of the driver, and NumPy sessions that say they run on CUDA."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlbench.contract import Device
from dlbench.plan.backend_status import Found
from dlbench.record.schema import Machine

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
UUID = "GPU-11111111-aaaa"
SCENARIO = {
    "devices": UUID,
    "*.name": "Stub H200",
    "*.memory": 3_000_000_000,
    "*.power_instant": 310_000,
    "*.power_average": 310_000,
    "*.energy": "ramp 310 40",
    "*.sm_clock": 1980,
    "*.temperature": 54,
    "*.reasons": 0,
    f"{UUID}.pci": "0000:1b:00.0",
}
STAND_IN = "cuda_stand_in:Adapter"
TINY = """
description = "takes no time"
[network]
input = [10]
layers = [{ type = "linear", out_features = 1 }]
[training]
loss = "mean_squared_error"
optimizer = { type = "sgd", learning_rate = 0.05 }
[data]
name = "linear"
[matrix]
backends = ["numpy"]
batches = [32]
"""
MACHINE = Machine(
    cpu="test",
    physical_cores=None,
    logical_cores=None,
    usable_cores=1,
    memory_bytes=None,
    gpus=("Test GPU, 1 GiB",),
    system="test",
    python="3",
    packages={},
)
GPU = (Device("cpu", "all cores"), Device("cuda:0", "NVIDIA H200, GPU-8f2c"))


@pytest.fixture
def found():
    """What may be found of the built-in backends on a machine with a GPU."""

    def found(*absent):
        seen = {
            "cudnn": Found(
                "ok",
                version="9.27",
                precisions=("fp32", "tf32"),
                modes=("graph", "eager"),
                devices=GPU[1:],
            ),
            "cupy": Found(
                "ok",
                version="14.2",
                precisions=("fp32", "tf32"),
                modes=("graph", "eager"),
                devices=GPU[1:],
            ),
            "numpy": Found("ok", version="2.4", devices=GPU[:1]),
            "tensorflow": Found(
                "ok", version="2.21", precisions=("fp32", "tf32"), modes=("graph",), devices=GPU
            ),
            "torch": Found(
                "ok", version="2.11", precisions=("fp32", "tf32"), modes=("eager",), devices=GPU
            ),
        }
        missing = Found("skipped", "not installed", "install it", default_device="cuda")
        return seen | dict.fromkeys(absent, missing)

    return found


@pytest.fixture
def tiny_file(tmp_path):
    """A suite as a file, that takes no time."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@dataclasses.dataclass
class Place:
    """A folder on a machine with a GPU."""

    folder: Path
    environment: dict

    def start(self, *words, **options):
        """A Python program there."""
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *words, expect=0, timeout=600):
        """What a Python program there says on stderr."""
        with self.start(*words) as process:
            _, told = process.communicate(timeout=timeout)
        assert "Traceback" not in told, told
        assert expect == process.returncode, told
        return told


@pytest.fixture
def place(nvml_stub, tmp_path):
    """Such a folder, with nothing but the stand-in to measure with."""
    scenario = tmp_path / "scenario"
    processes = {"*.processes": f"@{tmp_path / 'pids'}"}
    lines = (f"{key}={value}\n" for key, value in (SCENARIO | processes).items())
    scenario.write_text("".join(lines))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_")} | {
        "DLBENCH_NVML_SCENARIO": str(scenario),
        "DLBENCH_PATIENCE": "0",
        "LD_LIBRARY_PATH": str(nvml_stub["new"]),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(FIXTURES), str(ROOT / "tools")]),
        "STAND_IN_CUDA": UUID,
        "STAND_IN_STATE": str(tmp_path),
    }
    return Place(tmp_path, environment)
