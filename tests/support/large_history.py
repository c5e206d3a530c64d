"""A history of made-up rows, as large as one likes, written straight into its tables.

``python tests/support/large_history.py PLACE [MACHINES] [RECORDS]`` makes one of a million rows: of each machine 1,000
records of the same 50 cases.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import json
import sys
from pathlib import Path

import sqlalchemy as sql

from dlbench.history.database import open_database
from dlbench.history.rows import Key, Row
from dlbench.history.store import series_of
from dlbench.history.tables import RECORDS, ROWS
from dlbench.record.case import Case

BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
BATCHES = (16, 32, 64, 128, 256)
BACKENDS = ("cupy", "jax", "numpy", "tensorflow", "torch")
CASES = len(BATCHES) * len(BACKENDS) * 2


def make(place, machines=20, records=1000, hours=1):
    """Makes a history of `machines` × `records` × `CASES` rows, some hours apart on each machine; all count as searched
    for change points, of which there are none."""
    base = open_database(place, create=True)
    with contextlib.closing(base):
        for machine in range(machines):
            numbers = range(machine * records + 1, (machine + 1) * records + 1)
            base.write(lambda write, m=machine, n=numbers: _of_machine(write, m, n, hours))


def sqlite_or_url(place):
    return place if "://" in place else Path(place)


def _of_machine(base, machine, numbers, hours):
    base.execute(
        sql.insert(RECORDS),
        [
            {
                "run": f"run {number}",
                "digest": hashlib.sha256(str(number).encode()).hexdigest(),
                "lines": CASES + 1,
                "name": f"{number}.jsonl",
                "created": (
                    BEGIN + hours * datetime.timedelta(hours=number - numbers[0])
                ).isoformat(),
                "versions": json.dumps({"dlbench": "1.0", "numpy": f"2.{number // 100}"}),
            }
            for number in numbers
        ],
    )
    facts = {"cpu": f"CPU {machine}", "memory": "24 GiB", "workload": "cnn-mnist abababababab"}
    for place, (backend, batch, scenario) in enumerate(
        itertools.product(BACKENDS, BATCHES, ("infer", "train"))
    ):
        case = Case(
            suite="cnn-mnist",
            scenario=scenario,
            backend=backend,
            device="cpu",
            batch=batch,
            threads=2,
        )
        series = series_of(base, Key(case, "", json.dumps(facts)), len(numbers))
        base.execute(_rows(series, numbers, 1e-4 * (place + 1)))
        base.exec_driver_sql(f"UPDATE series SET searched = 1 WHERE id = {series}")


def _rows(series, numbers, step_s):
    """A row of the series in each of some records, whose times scatter by a hundredth."""
    median_s = step_s * (1 + sql.cast((RECORDS.c.id * 7919) % 101, sql.Float) / 10_000)
    made = {
        "series": sql.literal(series),
        "created": RECORDS.c.created,
        "record": RECORDS.c.id,
        "version": sql.literal("1.0"),
        "status": sql.literal("ok"),
        "verified": sql.literal(1),
        "problem": sql.literal(""),
        "disturbance": sql.literal(""),
        "processes_s": sql.literal(json.dumps([step_s] * 3)),
        "median_s": median_s,
        "low_s": median_s * 0.99,
        "high_s": median_s * 1.01,
    }
    assert {field.name for field in dataclasses.fields(Row)} <= made.keys()
    own = sql.select(*made.values()).where(RECORDS.c.id.between(numbers[0], numbers[-1]))
    return sql.insert(ROWS).from_select(list(made), own)


if __name__ == "__main__":
    make(sqlite_or_url(sys.argv[1]), *map(int, sys.argv[2:]))
