"""Draws records far larger than a run writes, to measure how reports keep up with them.

As a program: ``python tests/benchmarks/large.py FILE.jsonl --rows 10000 --timings 100 --long 10``.
"""

import argparse
import datetime
import json
from pathlib import Path

import msgspec
import numpy as np

from dlbench.history import change_points
from dlbench.history.rows import Entry, Key, Row
from dlbench.history.series import search
from dlbench.history.store import Store
from dlbench.record import schema as r
from dlbench.record.comparability import facts_of

BACKENDS = {"numpy": "", "torch": "eager", "tensorflow": "graph", "acme": ""}
ROUNDS = 3
PER_BATCH = 2 * len(BACKENDS)


def cases_of(rows: int) -> list[r.Case]:
    """Distinct cases, eight a batch size: four backends, training and inference."""
    if rows % PER_BATCH:
        raise ValueError(f"{rows} rows are no multiple of {PER_BATCH}")
    return [
        r.Case("large", scenario, backend, "cpu", batch, 2, "fp32", mode)
        for batch in range(1, rows // PER_BATCH + 1)
        for scenario in ("train", "infer")
        for backend, mode in BACKENDS.items()
    ]


def header_of(cases: list[r.Case], created: str = "2026-11-20T14:05:00+00:00") -> r.Header:
    """A header on a machine that is made up."""
    machine = r.Machine("A CPU", 1, 2, 2, 24 * 2**30, (), "Linux 6.1", "3.11.2", {"numpy": "2.4.6"})
    return r.Header(
        schema=r.SCHEMA,
        created=created,
        dlbench="0.1.0",
        suite="large",
        description="made up",
        workload={},
        workload_digest="ab" * 32,
        parameter_count=1_199_882,
        forward_flops=24_000_000,
        training_flops=71_600_000,
        data=r.Data("mnist", "stand-in", "cd" * 32, True),
        seed=0,
        rounds=ROUNDS,
        budget_s=24.0,
        machine=machine,
        cases=tuple(cases),
    )


def lines_of(cases: list[r.Case], timings: int, long: int, checks: int):
    """A line at a time: each configuration verified with so many `checks`, each case measured in
    `ROUNDS` processes with `timings` in all, the first `long` cases with 100,000."""
    noise = np.random.default_rng(0)
    done = tuple(
        r.Check("gradient", f"layer{i}.weight", 0.0132, 0.0132, 1e-7 * (i % 9), 2e-5, 1.0, True)
        for i in range(checks)
    )
    for case in cases:
        if case.scenario == "train":
            facts = {"device": "cpu", "threads": 2}
            yield r.Verification(case, "ok", "", done, 3e-7, 4, "2.4.6", facts, {"verify": 0.6})
    for round_ in range(1, ROUNDS + 1):
        for number, case in enumerate(cases):
            count = (100_000 if number < long else timings) // ROUNDS
            middle_ns = 1e6 * case.batch * noise.lognormal(0, 0.01)
            steps = (middle_ns * noise.lognormal(0, 0.02, count)).astype(np.int64).tolist()
            yield r.Process(
                case,
                round_,
                "ok",
                "",
                tuple(steps),
                tuple(steps[:8]),
                3 * steps[0],
                10**9,
                checks=done[: 2 if case.scenario == "infer" else 20],
                version="2.4.6",
                facts={"device": "cpu", "threads": 2},
                libraries={"blas": "0.3"},
                seconds={"import": 0.1, "measure": 0.2},
            )
        yield r.Peak(round_, 2, (3.2e11, 3.3e11))
    yield r.End("complete", 1e4, {"import": 5e3, "measured": 5e3}, 80.0)


def write(path: Path, rows: int, timings: int = 100, long: int = 0, checks: int = 380) -> Path:
    """Writes such a record, without syncing every line to the disk as a run does."""
    encoder, cases = msgspec.json.Encoder(), cases_of(rows)
    with path.open("wb") as file:
        file.write(encoder.encode(header_of(cases)) + b"\n")
        for line in lines_of(cases, timings, long, checks):
            file.write(encoder.encode(line) + b"\n")
    return path


def entries_of(records: int, cases: int, seed: int = 0):
    """What the history keeps of so many records with so many cases each, a day apart, each case drifting
    by itself."""
    noise = np.random.default_rng(seed)
    facts = json.dumps(facts_of(header_of([])))
    keys = [
        Key(msgspec.structs.replace(c, suite="large"), "", facts)
        for c in cases_of(PER_BATCH * (cases // PER_BATCH + 1))[:cases]
    ]
    versions = {"dlbench": "0.1.0", "python": "3.11.2", "numpy": "2.4.6"}
    begin = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    for day in range(records):
        rows = {}
        for key in keys:
            times = tuple((1e-3 * key.case.batch * noise.lognormal(0, 0.01, ROUNDS)).tolist())
            middle = sorted(times)[1]
            rows[key] = Row("2.4.6", "ok", True, "", "", times, middle, min(times), max(times))
        created = (begin + datetime.timedelta(days=day)).isoformat(timespec="seconds")
        digest = f"{seed:032x}{day:032x}"
        yield Entry(digest, digest, 40, f"{day}.jsonl", created, versions, rows)


def write_history(place: Path | str, records: int, cases: int) -> Path | str:
    """A history of ``records × cases`` rows, with the change points looked for where that can be done."""
    with Store(place, create=True) as store:
        if isinstance(place, Path):
            # what is made up need not survive a loss of power
            with store._base.engine.connect() as base:
                base.exec_driver_sql("PRAGMA synchronous = OFF")
        for entry in entries_of(records, cases):
            store.add(entry)
        if change_points.available():
            search(store)
    return place


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--timings", type=int, default=100, help="a case, in all processes")
    parser.add_argument("--long", type=int, default=0, help="cases with 100,000 timings")
    parser.add_argument("--checks", type=int, default=380, help="a verification")
    write(**vars(parser.parse_args()))
