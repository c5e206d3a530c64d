"""Scenarios for the stub of the driver's library, and what comes out at the other end."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlbench.analyse.table import build
from dlbench.record.file import read_record
from dlbench.record.schema import Process, Telemetry

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
NORMAL = {
    "devices": "GPU-11111111-aaaa,GPU-22222222-bbbb",
    "*.name": "Stub H200",
    "*.memory": 3_000_000_000,
    "*.reserved": 500_000_000,
    "*.power_instant": 310_000,
    "*.power_average": 300_000,
    "*.energy": "ramp 300 40",
    "*.sm_clock": 1980,
    "*.memory_clock": 3201,
    "*.temperature": 54,
    "*.reasons": 0,
    "*.samples": "87 50",
    "GPU-11111111-aaaa.pci": "0000:1b:00.0",
    "GPU-22222222-bbbb.pci": "0000:61:00.0",
}
"""Two devices of an Ampere kind, the first of which the tests use."""
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


@dataclasses.dataclass
class Stubbed:
    """An environment in which the driver behaves as a scenario says."""

    environment: dict
    state: Path

    def run(self, *command, timeout=60, **environment):
        """Runs a Python command there."""
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.state,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "not given back" not in done.stderr, done.stderr
        return done


@pytest.fixture
def stubbed(nvml_stub, tmp_path):
    """Makes environments: `changes` to the normal scenario (None takes a line out), and the driver's kind."""

    def stubbed(changes=(), driver="new"):
        files = {"*.lost": f"@{tmp_path / 'lost'}", "*.processes": f"@{tmp_path / 'pids'}"}
        scenario = NORMAL | files | dict(changes)
        file = tmp_path / "scenario"
        file.write_text("".join(f"{k}={v}\n" for k, v in scenario.items() if v is not None))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_")}
        environment |= {
            "DLBENCH_NVML_SCENARIO": str(file),
            "PYTHONPATH": str(FIXTURES),
            "STAND_IN_STATE": str(tmp_path),
            "LD_LIBRARY_PATH": str(nvml_stub[driver]) if driver else "",
        }
        return Stubbed(environment, tmp_path)

    return stubbed


@dataclasses.dataclass
class Found:
    """What a record came to."""

    record: object
    rows: list

    @property
    def row(self):
        """The only row."""
        (row,) = self.rows
        return row

    def lines(self, source):
        """What a source sampled."""
        return [
            line
            for line in self.record.lines
            if isinstance(line, Telemetry) and line.source == source
        ]

    def line(self, source="nvml"):
        """What a source sampled beside the only process."""
        (line,) = self.lines(source)
        return line

    @property
    def processes(self):
        """The processes that were timed."""
        return [line for line in self.record.lines if isinstance(line, Process)]


def found_in(path):
    """The record with its rows, unknown cells being None."""
    from dlbench.reports.run import json_rows

    record = read_record(path)
    return Found(record, json.loads(json_rows.render(build([(str(path), record)])))["rows"])


@pytest.fixture
def sample(stubbed, tmp_path):
    """Samples for `seconds` beside a process that says these facts. `midway` is a file into which 1 is written
    after a third of them, `others` are processes that are on the device too."""

    def sample(changes=(), facts=None, *, driver="new", seconds=0.3, midway="", others=""):
        path = tmp_path / f"record-{len(list(tmp_path.glob('record-*')))}.jsonl"
        facts = {"device_uuid": "11111111-aaaa"} if facts is None else facts
        midway = midway and f"{tmp_path / midway}=1"
        where = stubbed(changes, driver)
        script = HERE / "sampled_alone.py"
        done = where.run(script, path, json.dumps(facts), seconds, midway, STAND_IN_PIDS=others)
        assert 0 == done.returncode, done.stderr
        return found_in(path)

    return sample


@pytest.fixture
def run_dlbench(stubbed, tmp_path):
    """A whole run of a stand-in for a CUDA backend."""

    def run_dlbench(changes=(), *options, driver="new", cuda=None, expect=0, **environment):
        (tmp_path / "tiny.toml").write_text(TINY)
        path = tmp_path / "run.jsonl"
        path.unlink(missing_ok=True)
        where = stubbed(changes, driver)
        where.environment["STAND_IN_CUDA"] = ",".join(cuda or NORMAL["devices"].split(","))
        command = [
            Path(sys.executable).with_name("dlbench"),
            "run",
            "--suite",
            "tiny.toml",
            "--quiet",
            "--output",
            path,
        ]
        command += ["--backend", "cuda_stand_in:Adapter", "--threads", 1, "--data", "noise"]
        done = where.run(*command, *options, **environment)
        assert expect == done.returncode, done.stderr
        return found_in(path), done.stdout

    return run_dlbench
