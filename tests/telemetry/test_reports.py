"""Cells of telemetry in the reports, and what the command line takes for a period."""

import csv
import dataclasses
import io
import json
import math

import click
import pytest
from dlbench.reports.run import csv_rows, json_rows, markdown, terminal
from hypothesis import given
from hypothesis import strategies as st

from dlbench.analyse import telemetry_columns
from dlbench.analyse.case_columns import COLUMNS
from dlbench.analyse.columns import TELEMETRY
from dlbench.analyse.table import build
from dlbench.cli import options
from dlbench.record.facts import Surroundings
from dlbench.record.schema import (
    SCHEMA,
    Case,
    Check,
    Data,
    End,
    Header,
    Machine,
    Process,
    Record,
    Telemetry,
    Trace,
    Verification,
)

MS = 1_000_000
CHECK = Check("output", "", 0.0, 0.0, 0.0, 1.0, 1.0, True)


def case(device="cuda", backend="torch"):
    return Case("tiny", "train", backend, device, 100, 1, "fp32", "")


def record(*lines, step_ms=10, during=None, planned=(), **turns):
    """A record of the cases of these lines, timed from 1 to 3 s on the clock, 200 steps each."""
    cases = tuple(dict.fromkeys([*(line.case for line in lines), *planned]))
    machine = Machine(None, None, None, 1, None, (), "test", "3", {})
    data = Data("noise", "noise", "00", False)
    header = Header(SCHEMA, "", "0", "tiny", "", {}, "00", 1, 1, 3, data, 0, 1, 1.0, machine, cases)
    measured = []
    for each in cases:
        process = Process(
            each,
            1,
            "ok",
            "",
            timings_ns=(step_ms * MS,) * 200,
            started_ns=1000 * MS,
            ended_ns=3000 * MS,
            during=during,
            checks=(CHECK,),
            **turns,
        )
        measured += [Verification(each, "ok", "", (CHECK,), 0.0, 0, "1", {}, {}), process]
    end = End("complete", 1.0, {}, None)
    return Record(
        header, (*measured, *(line for line in lines if isinstance(line, Telemetry)), end)
    )


def line(of=None, source="nvml", unavailable=None, **traces):
    """What was sampled each 50 ms; a trace is given as its value or as a function of the time (s)."""
    times_ns = tuple(range(0, 4000 * MS, 50 * MS))
    made = {
        metric: Trace(
            times_ns,
            tuple(float(value(t * 1e-9) if callable(value) else value) for t in times_ns),
        )
        for metric, value in traces.items()
    }
    return Telemetry(
        of or case(),
        1,
        source,
        50 * MS,
        traces=made,
        unavailable=unavailable or {},
        device_name="Stub",
        device_uuid="GPU-1",
    )


def cells(*lines, **options):
    """The telemetry cells of the first row of a record of these lines."""
    return shown(record(*lines, **options))


def shown(given):
    """The telemetry cells of the first row of a record."""
    (row, *_) = build([("run.jsonl", given)]).rows
    told = {each.title: each.text(row) for each in COLUMNS if TELEMETRY in each.sections}
    return {title: cell for title, cell in told.items() if cell}


def energy(watts):
    """A counter that takes a step each 0.1 s."""
    return lambda s: watts * math.floor(10 * s + 1e-6) / 10


def test_cells_have_units_and_the_number_of_valid_samples():
    found = cells(
        line(
            utilization=0.873,
            power_instant_w=310.4,
            power_average_w=299.6,
            energy_j=energy(305),
            memory_used_bytes=3 * 2**30,
            sm_clock_mhz=1980,
            temperature_c=54,
            clock_event_reasons=0,
            other_processes=0,
        )
    )
    # 200 steps of 100 samples take 2 s: 1,000 samples take 0.1 s
    assert {
        "GPU": "Stub",
        "GPU busy": "87 % (40)",
        "power": "310 W",
        "power, 1 s average": "300 W",
        "GPU memory in use": "3.00 GiB",
        "SM clock": "1,980 MHz",
        "max. temperature": "54 °C",
        "throttled": "no",
        "other GPU processes": "0",
    }.items() <= found.items()
    assert "30.5 J" == found["J per 1,000 samples"]


def test_the_share_of_the_window_that_steps_take_up_stands_beside_the_energy_of_all_of_it():
    assert "80 %" == cells(line(energy_j=energy(300)), step_ms=8)["time in steps"]
    assert "time in steps" not in cells(line(sm_clock_mhz=1980))


IN_TURNS = {
    "block_steps": (100, 100),
    "block_started_ns": (1000 * MS, 2200 * MS),
    "block_ended_ns": (1900 * MS, 3000 * MS),
}


def memory(*lines, **options):
    """The cell of the device's memory in the row of torch, and why it is empty."""
    rows = build([("run.jsonl", record(*lines, **options))]).rows
    (row,) = [row for row in rows if row["backend"] == "torch"]
    return row["device_memory_bytes"], row["telemetry_unknown"] or ""


def test_memory_of_a_device_that_neighbours_of_the_run_used_too_is_not_told_as_a_rows_own():
    used = {"memory_used_bytes": 3 * 2**30}
    beside_one = line(**used, neighbour_processes=1)
    other = case(backend="cupy")
    value, reason = memory(beside_one, planned=(other,), **IN_TURNS)
    assert (None, True) == (value, "other processes of the run were on the device" in reason)
    # where the driver tells that there was none, where the run took no turns, and where none was planned
    nobody = line(**used, neighbour_processes=0)
    assert 3 * 2**30 == memory(nobody, planned=(other,), **IN_TURNS)[0]
    assert 3 * 2**30 == memory(beside_one, planned=(other,))[0]
    assert 3 * 2**30 == memory(beside_one, **IN_TURNS, alone="it does not fit")[0]
    assert 3 * 2**30 == memory(line(**used), planned=(case("cpu", "cupy"),), **IN_TURNS)[0]
    # where it does not tell, who may have been there was
    assert memory(line(**used), planned=(other,), **IN_TURNS)[0] is None


def test_energy_is_over_all_steps_in_the_windows_and_what_others_drew_is_not_in_it():
    found = cells(
        line(
            power_instant_w=lambda s: 300 if 0.99 < s < 1.91 or 2.19 < s < 3.01 else 700,
            energy_j=energy(300),
        ),
        reentry_steps=4,
        reentry_ns=(10 * MS,) * 8,
        **IN_TURNS,
    )
    # 208 steps of 100 samples in 1.7 s
    assert "24.5 J" == found["J per 1,000 samples"]
    assert "300 W" == found["power"]


def test_energies_that_differ_by_more_than_a_tenth_are_both_shown():
    assert "30.0 J" == cells(line(energy_j=energy(300), power_instant_w=320))["J per 1,000 samples"]
    both = cells(line(energy_j=energy(300), power_instant_w=350))["J per 1,000 samples"]
    assert "30.0 J by counter, 35.0 J by power" == both


def test_energy_without_a_counter_says_that_it_is_power_over_time():
    found = cells(line(power_instant_w=350, unavailable={"energy_j": "Not Supported"}))
    assert "35.0 J by power" == found["J per 1,000 samples"]


def test_what_the_window_is_too_short_for_says_so_and_what_is_unknown_is_empty():
    few = Trace((500 * MS, 1500 * MS, 2500 * MS), (0.5, 0.5, 0.5))
    whole = line(unavailable={"power_instant_w": "denied"}, sm_clock_mhz=1980)
    found = cells(
        Telemetry(
            **{name: getattr(whole, name) for name in whole.__struct_fields__}
            | {"traces": {**whole.traces, "utilization": few}}
        )
    )
    assert "window too short (1)" == found["GPU busy"]
    assert "power" not in found
    assert not any(cell.startswith("0") for cell in found.values())


def test_a_throttled_device_says_by_what():
    assert "100 %: hardware thermal limit" == cells(line(clock_event_reasons=0x41))["throttled"]


def test_the_host_stands_there_where_there_is_no_gpu():
    seen = Surroundings(2.0, 0.1, *[None] * 9, own_cores=1.9)
    whole = record(Process(case("cpu", "numpy"), 1, "ok", ""), during=seen)
    assert {"CPU cores used": "1.90", "by other processes": "0.10"} == shown(whole)
    short = record(
        Process(case("cpu", "numpy"), 1, "ok", ""), during=dataclasses.replace(seen, window_s=0.1)
    )
    assert {telemetry_columns.TOO_SHORT} == {*shown(short).values()}


def test_the_host_of_a_record_from_an_earlier_version_is_as_it_was_sampled():
    host = line(
        case("cpu", "numpy"), "host", worker_cpu_s=lambda s: 1.9 * s, busy_cpu_s=lambda s: 2 * s
    )
    assert {"CPU cores used": "1.90", "by other processes": "0.10"} == cells(host)
    # the worker's own reading of others was there too, and was not shown
    seen = Surroundings(2.0, 0.3, *[None] * 9)
    assert {"CPU cores used": "1.90", "by other processes": "0.10"} == shown(
        record(host, during=seen)
    )


HEADING = "telemetry over the measured windows"
FORMATS = {"terminal": terminal.render, "markdown": markdown.render}


@pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)
def test_reports_for_people_show_telemetry_and_why_it_is_missing_only_where_there_is_any(render):
    shown = render(
        build([("a.jsonl", record(line(sm_clock_mhz=1980, unavailable={"energy_j": "denied"})))])
    )
    assert HEADING in shown
    assert "1,980 MHz" in shown
    assert "denied" in shown
    nothing = render(build([("a.jsonl", record(line(source="host")))]))
    assert "GPU busy" not in nothing
    assert HEADING not in nothing


def test_a_narrow_terminal_keeps_the_main_columns_and_names_the_others():
    everything = line(
        utilization=0.9,
        gpm_graphics=0.9,
        gpm_sm=0.5,
        gpm_dram=0.5,
        gpm_tensor=0.0,
        power_instant_w=310,
        energy_j=energy(300),
        memory_used_bytes=2**30,
        sm_clock_mhz=1980,
        clock_event_reasons=0,
        temperature_c=50,
    )
    shown = terminal.render(build([("a.jsonl", record(everything))]), width=80)
    assert "GPU busy" in shown
    assert "J per 1,000 samples" in shown
    assert "hidden, terminal too narrow: " in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_formats_for_machines_have_all_columns_and_null_for_what_is_unknown():
    report = build(
        [("a.jsonl", record(line(sm_clock_mhz=1980, unavailable={"energy_j": "denied"})))]
    )
    (row,) = json.loads(json_rows.render(report))["rows"]
    assert [column.name for column in COLUMNS] == list(row)
    assert (1980, None, None) == (row["sm_clock_mhz"], row["joules_per_1000"], row["utilization"])
    assert "energy counter: denied" in row["telemetry_unknown"]
    (row,) = csv.DictReader(io.StringIO(csv_rows.render(report)))
    assert ("1980.0", "") == (row["sm_clock_mhz"], row["joules_per_1000"])


def test_a_row_that_failed_has_no_telemetry():
    good = record(line(sm_clock_mhz=1980))
    lines = tuple(
        Process(each.case, 1, "failed", "no") if isinstance(each, Process) else each
        for each in good.lines
    )
    (row,) = json.loads(json_rows.render(build([("a", Record(good.header, lines))])))["rows"]
    assert {None} == {row[column.name] for column in telemetry_columns.COLUMNS}


@given(st.integers(5, 10_000), st.sampled_from(["ms", " ms"]))
def test_a_period_is_a_number_and_its_unit(milliseconds, unit):
    seconds = options.period_s(None, None, f"{milliseconds}{unit}")
    assert pytest.approx(milliseconds * 1e-3) == seconds
    assert pytest.approx(seconds) == options.period_s(None, None, f"{seconds:.3f}s")


@pytest.mark.parametrize("word", ["off", "0", "0ms", "0 s"])
def test_a_period_can_be_off(word):
    assert 0 == options.period_s(None, None, word)


@pytest.mark.parametrize("word", ["50", "", "ms", "-5ms", "1e3ms", "5 min", "nan s", "1ms", "11s"])
def test_a_period_without_a_unit_or_out_of_bounds_is_refused(word):
    with pytest.raises(click.BadParameter):
        options.period_s(None, None, word)
