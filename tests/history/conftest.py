"""Records over time: the makers of records, and a program that adds to a history."""

import datetime

import numpy as np
import pytest

from dlbench.record import schema as r
from dlbench.record.file import Writer


@pytest.fixture
def write(tmp_path, make):
    """Writes the record of a day: one case on NumPy, its processes around `median_s`."""

    def write(day, median_s=0.036, *, name=None, status="ok", rounds=3, version="2.4.6", **header):
        case = make.case()
        if status == "ok":
            noise = np.random.default_rng(day)
            lines = [make.verification(case, seconds={"verify": 1 + day / 1000})]
            lines += [
                make.process(case, n, median_s * float(np.exp(noise.normal(0, 0.004))))
                for n in range(1, rounds + 1)
            ]
        else:
            lines = [make.verification(case, status, "why", seconds={"verify": 1 + day / 1000})]
        created = datetime.datetime(2026, 1, 1, 6, tzinfo=datetime.UTC) + datetime.timedelta(day)
        machine = r.Machine(
            "EPYC", 1, 2, 2, 24 * 2**30, (), "Linux 6.1", "3.11.2", {"numpy": version}
        )
        fields = {"created": created.isoformat(), "machine": machine} | header
        record = make.measured([case], lines, **fields)
        path = tmp_path / (name or f"{day:03}.jsonl")
        path.unlink(missing_ok=True)
        writer = Writer(path)
        for line in (record.header, *record.lines):
            writer.write(line)
        writer.close()
        return path

    return write
