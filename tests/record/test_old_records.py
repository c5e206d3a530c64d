"""Records of an earlier version give the figures that it printed itself.

`data/NAME.jsonl.gz` was written by dlbench 0.1.0 before its rooms were rebuilt: ``cnn-mnist`` by a run on two cores,
``sweep-gpu`` by hand with its own writer, so that it has what no machine here has (a GPU, two modes, telemetry,
trainings). `NAME.expected.json.gz` is what that version printed of them; but that it called CuPy faster from batch 8
on, of rows that are disturbed, of which nothing is concluded now.
"""

import csv
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from dlbench.analyse.table import ColdStart, build
from dlbench.plugins import load_reporter
from dlbench.record.file import read_record
from dlbench.record.schema import Record

DATA = Path(__file__).parent / "data"
WORDS = {"reason", "remedy", "disturbance", "telemetry_unknown", "too_short", "payback_reason"}
WORDS |= {"baseline", "against", "label"}
"""Columns of sentences, which may be said better, and of rows' names, which now tell modes apart."""


@pytest.fixture(params=["cnn-mnist", "sweep-gpu"])
def name(request: pytest.FixtureRequest) -> str:
    """Which record."""
    return str(request.param)


@pytest.fixture
def record(name: str, tmp_path: Path) -> Record:
    """It, as it is read now."""
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()))
    return read_record(path)


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    """What was printed of it, by format."""
    found: dict[str, Any] = json.loads(
        gzip.decompress((DATA / f"{name}.expected.json.gz").read_bytes())
    )
    return found


def shown(form: str, name: str, record: Record, *given: Any) -> str:
    """A record in a format."""
    text: str = load_reporter(form)(build([(f"{name}.jsonl", record)], *given))
    return text


def rows(text: str) -> list[dict[str, Any]]:
    """The figures of a CSV, numbers as such."""
    return [
        {key: figure(value) for key, value in row.items() if key not in WORDS}
        for row in csv.DictReader(io.StringIO(text))
    ]


def figure(text: str) -> Any:
    """A number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def same(old: Any, new: Any) -> None:
    """Holds nested figures against each other; sentences, and what is new, aside."""
    if isinstance(old, dict):
        assert old.keys() <= new.keys()
        for key in old.keys() - WORDS:
            same(old[key], new[key])
    elif isinstance(old, list):
        assert len(old) == len(new)
        for before, now in zip(old, new, strict=True):
            same(before, now)
    elif isinstance(old, float):
        assert math.isclose(old, new, rel_tol=1e-12)
    else:
        assert old == new


def test_every_column_of_a_csv_has_the_same_name_place_and_figures(
    name: str, record: Record, expected: dict[str, Any]
) -> None:
    now = shown("csv", name, record, None, ColdStart())
    same(rows(expected["csv"]), rows(now))
    same(rows(expected["against-torch"]), rows(shown("csv", name, record, "torch:cpu")))


def test_json_has_the_same_rows_crossovers_and_facts_of_runs(
    name: str, record: Record, expected: dict[str, Any]
) -> None:
    same(expected["json"], json.loads(shown("json", name, record)))


@pytest.mark.parametrize("form", ["bencher", "github-action-benchmark", "pytest-benchmark"])
def test_formats_of_other_tools_have_the_same_names_and_figures(
    name: str, record: Record, expected: dict[str, Any], form: str
) -> None:
    now = json.loads(shown(form, name, record))
    if form == "pytest-benchmark":
        # what it matches benchmarks by is the full name
        for each in (*expected[form]["benchmarks"], *now["benchmarks"]):
            del each["name"]
    same(expected[form], now)
