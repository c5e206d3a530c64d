"""Records that are made up, written as a run would write them."""

import msgspec
import pytest

from dlbench.record import schema as r
from dlbench.record.facts import Surroundings
from dlbench.record.file import Writer

MACHINE = r.Machine(
    cpu="EPYC 9B45",
    physical_cores=1,
    logical_cores=2,
    usable_cores=2,
    memory_bytes=24 * 2**30,
    gpus=(),
    system="Linux 6.1",
    python="3.11.2",
    packages={"numpy": "2.4.6"},
)


def make_record(times_s, machine=None, case=None, steps=5, **header):
    """A record of one suite with these process medians (s) by backend, each of so many steps; None is a skipped one."""
    cases, lines = [], []
    for backend, medians_s in times_s.items():
        fields = {
            "suite": "ci",
            "scenario": "train",
            "backend": backend,
            "device": "cpu",
            "batch": 32,
            "threads": 2,
            "precision": "fp32",
            "mode": "",
        }
        one = r.Case(**(fields | (case or {})))
        cases.append(one)
        if medians_s is None:
            lines.append(r.Skip(one, f"{backend} is not installed", f"pip install {backend}"))
            continue
        lines.append(r.Verification(one, "ok", "", (), None, 0, "1.0", {}, {}))
        for number, median_s in enumerate(medians_s):
            timings = (round(1e9 * median_s),) * steps
            lines.append(r.Process(one, number, "ok", "", timings, version="1.0"))
    fields = {
        "schema": r.SCHEMA,
        "created": "2026-11-20T14:05:00Z",
        "dlbench": "0.1.0",
        "suite": "ci",
        "description": "",
        "workload": {},
        "workload_digest": "ab" * 32,
        "parameter_count": 12_810,
        "forward_flops": 10**6,
        "training_flops": 3 * 10**6,
        "data": r.Data("mnist", "files", "cd" * 32, False),
        "seed": 0,
        "rounds": 3,
        "budget_s": 12.0,
        "machine": msgspec.structs.replace(MACHINE, **(machine or {})),
        "cases": tuple(cases),
    }
    return r.Record(r.Header(**(fields | header)), tuple(lines))


@pytest.fixture
def write(tmp_path):
    """Writes a record of these process medians (s) by backend, and gives its path."""

    def write(name, times_s, **more):
        path = tmp_path / name
        whole = make_record(times_s, **more)
        writer = Writer(path)
        for line in (whole.header, *whole.lines):
            writer.write(line)
        writer.close()
        return path

    return write


@pytest.fixture
def make_busy_record():
    """Makes the record of three processes beside which others used so many cores."""

    def busy(other_cores):
        whole = make_record({"numpy": [0.01] * 3})
        beside = Surroundings(1.0, other_cores, 0.0, 0.0, 0.0, 0.0, 0.0, 2, 2, None, None)
        lines = [
            msgspec.structs.replace(line, during=beside) if isinstance(line, r.Process) else line
            for line in whole.lines
        ]
        return r.Record(whole.header, tuple(lines))

    return busy
