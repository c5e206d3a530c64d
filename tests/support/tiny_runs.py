"""What tests of runs share: a suite that takes no time, and how to run it."""

import dataclasses
import sys
from pathlib import Path

import pytest

from dlbench.execute.runner import Observer, run
from dlbench.plan.request import Request
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import Machine
from dlbench.spec.suite import parse_suite
from dlbench.worker.launch import Launch, run_worker, worker_environment
from dlbench.worker.measurements import VERIFY

TINY = """
description = "takes no time"
[network]
input = [10]
layers = [
    { type = "linear", out_features = 8 },
    { type = "relu" },
    { type = "linear", out_features = 1 },
]
[training]
loss = "mean_squared_error"
optimizer = { type = "sgd", learning_rate = 0.05, momentum = 0.5 }
schedule = { type = "step", every = 1, gamma = 0.5 }
[data]
name = "linear"
[matrix]
backends = ["numpy"]
devices = ["cpu"]
batches = [32]
"""
MACHINE = Machine(
    cpu="test",
    physical_cores=None,
    logical_cores=None,
    usable_cores=1,
    memory_bytes=None,
    gpus=(),
    system="test",
    python="3",
    packages={},
)


@pytest.fixture(scope="session")
def cache_dir(request, tmp_path_factory):
    """Where the oracle's results are kept for all tests, in whichever of pytest's processes they run."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(request.config, "workerinput") else own) / "dlbench-cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny():
    return parse_suite(TINY, Path("tiny.toml"))


@pytest.fixture
def tiny_file(tmp_path):
    """The tiny suite as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def request_for(tiny, cache_dir):
    """Makes requests for the tiny suite."""
    return lambda **choices: dataclasses.replace(
        Request(suite=tiny, machine=MACHINE, cache_dir=cache_dir, budget_s=0.2, limit_s=60.0),
        **({"patience_s": 0.0} | choices),
    )


class Listener(Observer):
    """Remembers what it was told."""

    def __init__(self):
        self.estimate_s = None
        self.phases = []
        self.lines = []
        self.messages = []

    def planned(self, cases, estimate_s):
        self.estimate_s = estimate_s

    def phase(self, case, round, phase):
        self.phases.append((case and case.backend, round, phase))

    def line(self, line):
        self.lines.append(line)

    def message(self, text):
        self.messages.append(text)


@dataclasses.dataclass
class Ran:
    """A run that has ended."""

    end: object
    record: object
    observer: Listener

    def of(self, kind, backend=None):
        """The lines of a kind, of one backend."""
        return [
            line
            for line in self.record.lines
            if isinstance(line, kind) and (backend is None or line.case.backend == backend)
        ]

    def of_kind(self, kind):
        """The lines of a kind that is about no case."""
        return [line for line in self.record.lines if isinstance(line, kind)]


@pytest.fixture(scope="session")
def carry_out(tmp_path_factory):
    """Runs a request and reads its record back."""

    def carry_out(request):
        observer, writer = Listener(), Writer(tmp_path_factory.mktemp("run") / "record.jsonl")
        try:
            end = run(request, writer, observer)
        finally:
            writer.close()
        return Ran(end, read_record(writer.path), observer)

    return carry_out


@pytest.fixture
def work():
    """Runs one job in a worker."""

    def work(job, kind=VERIFY, limit_s=60.0, python=sys.executable, on_phase=lambda phase: None):
        launch = Launch(worker_environment(1), limit_s, python)
        return run_worker(kind, job, launch, on_phase)

    return work
