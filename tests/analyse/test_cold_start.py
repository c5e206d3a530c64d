"""The cold-start ledger: where a beginning ends, what it costs, and when that has paid off."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dlbench.reports.run import terminal
from hypothesis import given
from hypothesis import strategies as st
from rounds import timed

from dlbench.analyse.cold_start import COLUMNS, cold_start, payback, steps_until_steady
from dlbench.analyse.statistics import Timed
from dlbench.analyse.table import ColdStart, build
from dlbench.cli import main
from dlbench.errors import UsageError
from dlbench.record.schema import Record

MS = 1_000_000
STEADY = [int(10 * MS * (1 + 0.01 * (i % 5))) for i in range(60)]
SECONDS = {"interpreter": 0.2, "import": 1.5, "open": 0.25, "upload": 0.1, "warm-up": 1.0}


def early(*milliseconds: float) -> list[int]:
    """Steps of these lengths, and after them ten like the steady ones."""
    return [int(value * MS) for value in milliseconds] + STEADY[:10]


@pytest.mark.parametrize(
    ("trace", "steps"),
    [
        (early(), 0),
        (early(60), 1),
        (early(60, 20, 15, 12), 4),
        (early(60, 10, 900), 3),
        (early(60, 10, 10, 10, 10, 10, 900), 7),
        (early(60, 10, 10, 10, 10, 10, 15), 1),
        (early(60, 15, 10, 15, 10, 10, 10), 4),
        ([int(20 * MS * 0.97**i) for i in range(24)], 22),
    ],
    ids=[
        "none",
        "a first step",
        "a short ramp",
        "a compilation in step 3",
        "a late compilation",
        "a single outlier",
        "two good steps by chance",
        "a slow ramp",
    ],
)
def test_the_beginning_ends_where_steps_are_like_the_steady_ones(
    trace: list[int], steps: int
) -> None:
    assert steps_until_steady(trace, STEADY) == steps


def test_steps_that_jump_between_two_lengths_are_steady_from_the_first() -> None:
    both = [5 * MS, 6 * MS] * 40
    assert steps_until_steady([50 * MS, *both[:12]], both) == 1


def test_a_process_without_three_steps_like_its_steady_ones_has_no_end_of_its_beginning() -> None:
    assert steps_until_steady([30, 20], [10, 11]) is None


def process(make: Any, case: Any, number: int = 0, **changes: Any) -> Any:
    fields = {
        "timings_ns": tuple(STEADY),
        "first_step_ns": 60 * MS,
        "warmup_ns": (25 * MS, *STEADY[:10]),
        "seconds": SECONDS,
    }
    return make.process(case, number, **(fields | changes))


def test_a_cold_start_is_what_came_on_top_of_steady_steps(make: Any) -> None:
    found = cold_start([process(make, make.case())])
    assert found is not None
    assert (found.interpreter_s, found.import_s, found.build_s) == (0.2, 1.5, 0.25)
    assert found.device_start_s is None
    assert found.steps_until_steady == 2
    # two steps of 60 and 25 ms where steady ones take 10.2 ms
    assert found.compile_s == pytest.approx(0.085 - 2 * 0.0102)
    assert found.total_s == pytest.approx(0.2 + 1.5 + 0.25 + 0.0646)
    assert found.processes == 1


def test_a_device_that_is_started_apart_is_in_the_whole(make: Any) -> None:
    plain, apart = (
        cold_start([process(make, make.case(), seconds=seconds)])
        for seconds in (SECONDS, SECONDS | {"device": 0.5})
    )
    assert plain is not None
    assert apart is not None
    assert apart.device_start_s == 0.5
    assert apart.total_s == pytest.approx(plain.total_s + 0.5)


def test_each_part_is_the_median_over_the_processes_that_tell_all_of_it(make: Any) -> None:
    case = make.case()
    lines = [
        process(make, case, number, seconds=SECONDS | {"import": value})
        for number, value in enumerate((1.0, 9.0, 2.0))
    ]
    lines.append(process(make, case, 3, steady=False, seconds=SECONDS | {"import": 50.0}))
    lines.append(process(make, case, 4, seconds={"wall": 3.0}))
    lines.append(process(make, case, 5, first_step_ns=None))
    found = cold_start(lines)
    assert found is not None
    assert (found.import_s, found.processes) == (2.0, 3)
    assert cold_start(lines[3:]) is None


def rounds(step_s: float) -> dict[int, Timed]:
    return timed(step_s * (1 + 1e-3 * (number - 1)) for number in range(3))


@pytest.mark.parametrize(
    ("cold_s", "step_s", "verdict"),
    [
        (9.0, 0.008, "after"),
        (9.0, 0.012, "never"),
        (3.0, 0.008, "at once"),
        (4.0, 0.008, "at once"),
        (3.0, 0.012, "until"),
        (4.0, 0.012, "never"),
        (9.0, 0.010, "unknown"),
        (3.0, 0.010, "unknown"),
        (None, 0.008, "unknown"),
    ],
)
def test_every_way_that_two_starts_can_stand_to_each_other_has_its_word(
    cold_s: float | None, step_s: float, verdict: str
) -> None:
    # differing noise, or else equal steps would have an interval without any width
    other = timed([0.0101, 0.0099, 0.0100])
    found = payback(cold_s, rounds(step_s), 4.0, other)
    assert found.verdict == verdict
    assert (found.steps is not None) == (verdict in ("after", "until"))
    assert bool(found.reason) == (verdict == "unknown")


def test_one_process_a_side_cannot_tell_when_a_start_has_paid_off() -> None:
    found = payback(9.0, timed([0.008]), 4.0, timed([0.010]))
    assert (found.verdict, found.steps) == ("unknown", None)
    assert "a single process" in found.reason


@given(
    cold_s=st.floats(0.1, 100),
    other_cold_s=st.floats(0.1, 100),
    step_s=st.floats(1e-5, 1),
    faster=st.floats(1.1, 50),
    later=st.booleans(),
)
def test_after_so_many_steps_both_have_taken_equally_long(
    cold_s: float, other_cold_s: float, step_s: float, faster: float, later: bool
) -> None:
    row, other = (step_s / faster, step_s) if later else (step_s, step_s / faster)
    found = payback(cold_s, rounds(row), other_cold_s, rounds(other))
    if found.steps is None:
        assert (cold_s <= other_cold_s) if later else (cold_s >= other_cold_s)
        return
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.steps <= found.high
    ours, theirs = cold_s + found.steps * row, other_cold_s + found.steps * other
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.fixture
def record(make: Any) -> Record:
    """TensorFlow's graph against PyTorch's steps, which are longer by half but start sooner."""
    torch, tensorflow = make.case("torch"), make.case("tensorflow")
    slow = tuple(int(1.5 * each) for each in STEADY)
    noise = (1.0, 1.002, 0.999)
    lines = [make.verification(torch), make.verification(tensorflow)]
    for number, factor in enumerate(noise):
        lines.append(
            process(
                make,
                torch,
                number,
                timings_ns=tuple(int(factor * each) for each in slow),
                first_step_ns=30 * MS,
                warmup_ns=slow[:10],
            )
        )
        lines.append(
            process(make, tensorflow, number, seconds=SECONDS | {"import": 3.0, "device": 0.1})
        )
    found: Record = make.measured([torch, tensorflow], lines)
    return found


def test_the_table_has_the_ledger_only_where_it_is_asked_for(record: Record) -> None:
    added = {column.name for column in COLUMNS}
    assert not added & set(build([("a", record)]).frame.columns)
    frame = build([("a", record)], cold_start=ColdStart("torch:cpu")).frame
    assert added <= set(frame.columns)
    row = frame.set_index("backend").loc["tensorflow"]
    assert (row["against"], row["payback"]) == ("torch:cpu/eager", "after")
    extra_s = row["cold_start_s"] - frame.set_index("backend").loc["torch"]["cold_start_s"]
    assert row["payback_steps"] == pytest.approx(extra_s / 0.0051, rel=5e-3)
    assert frame.set_index("backend").loc["torch"]["payback"] is None


def test_without_a_word_a_row_is_held_against_the_first_mode_of_its_own_backend(
    record: Record, make: Any
) -> None:
    graph = make.case("torch", mode="graph")
    lines = [make.verification(graph)] + [process(make, graph, n) for n in range(3)]
    both = Record(record.header, (*record.lines[:-1], *lines, record.lines[-1]))
    frame = build([("a", both)], cold_start=ColdStart()).frame
    told = dict(
        zip(zip(frame["backend"], frame["mode"], strict=True), frame["against"], strict=True)
    )
    assert told == {
        ("torch", "graph"): "torch:cpu/eager",
        ("torch", "eager"): None,
        ("tensorflow", "graph"): None,
    }


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main.cli, words)


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_report_tells_the_parts_and_when_they_have_paid_off(
    invoke: Callable[..., Result], record: Record, write_record: Any, tmp_path: Path, form: str
) -> None:
    write_record(tmp_path / "a.jsonl", record)
    words = ["report", "a.jsonl", "--format", form]
    assert "cold start" not in invoke(*words).stdout
    done = invoke(*words, "--cold-start", "--against", "torch:cpu")
    assert done.exit_code == 0, done.stderr
    for told in ("import", "build", "compile", "3.00 s", "64.6 ms", "2 steps", "3 processes"):
        assert told in done.stdout
    flat = " ".join(done.stdout.replace("\\", "").split())
    assert "starts later than torch:cpu/eager and breaks even after 3" in flat
    alone = " ".join(invoke(*words, "--cold-start").stdout.replace("\\", "").split())
    assert "name one with --cold-start-baseline BACKEND:DEVICE" in alone


def test_formats_for_programs_have_the_same_columns(
    invoke: Callable[..., Result], record: Record, write_record: Any, tmp_path: Path
) -> None:
    write_record(tmp_path / "a.jsonl", record)
    words = ["report", "a.jsonl", "--cold-start", "--cold-start-baseline", "torch:cpu", "--format"]
    rows = json.loads(invoke(*words, "json").stdout)["rows"]
    assert {row["payback"] for row in rows} == {"after", None}
    lines = list(csv.DictReader(io.StringIO(invoke(*words, "csv").stdout)))
    for row, line in zip(rows, lines, strict=True):
        assert float(line["cold_start_s"]) == row["cold_start_s"]
        assert line["payback"] == (row["payback"] or "")


def test_what_cannot_be_held_against_is_refused(
    invoke: Callable[..., Result], record: Record, write_record: Any, tmp_path: Path
) -> None:
    write_record(tmp_path / "a.jsonl", record)
    done = invoke("report", "a.jsonl", "--against", "torch:cpu")
    assert (done.exit_code, "add --cold-start" in done.stderr) == (2, True)
    done = invoke("report", "a.jsonl", "--cold-start", "--against", "jax:cpu")
    assert (done.exit_code, done.stdout) == (2, "")
    assert (
        "'jax:cpu' matches no row; the rows are: torch:cpu/eager, tensorflow:cpu/graph"
        in done.stderr
    )
    with pytest.raises(UsageError, match="is not a backend:device"):
        build([("a", record)], cold_start=ColdStart("torch"))


def test_a_report_on_records_whose_processes_tell_no_phases_says_so(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path
) -> None:
    write_record(tmp_path / "a.jsonl", make.record())
    done = invoke("report", "a.jsonl", "--cold-start")
    assert done.exit_code == 0
    assert "no process recorded a complete start" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ((0.5, 0.502, 0.499), "after "),
        ((1.5, 1.502, 1.499), "never"),
        ((1.2, 0.9, 1.0), "cannot be told"),
    ],
)
def test_a_mode_that_compiles_is_held_against_the_backends_default_mode(
    make: Any, factors: tuple[float, ...], told: str
) -> None:
    eager, compiled = make.case("torch"), make.case("torch", mode="compile")
    lines = [make.verification(eager), make.verification(compiled)]
    for number, factor in enumerate(factors):
        lines.append(process(make, eager, number, first_step_ns=STEADY[0], warmup_ns=STEADY[:10]))
        timings = tuple(int(factor * each) for each in STEADY)
        compiling = {"first_step_ns": 1_020 * MS - timings[0], "warmup_ns": timings[:10]}
        lines.append(process(make, compiled, number, timings_ns=timings, **compiling))
    found = make.measured([eager, compiled], lines)
    report = build([("a", found)], cold_start=ColdStart())
    (row,) = [row for row in report.rows if row["payback"]]
    assert "torch:cpu/eager" == row["against"]
    column = next(each for each in report.columns if each.name == "payback")
    assert column.text(row).startswith(told)
    if told == "after ":
        # a second of compiling, by 5.1 ms saved a step
        assert 1.01 / 0.0051 == pytest.approx(row["payback_steps"], rel=0.02)
    assert "pays off" in terminal.render(report, width=200)
