"""What `dlbench compare` says of two files."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.compare.from_record import side_of_records
from dlbench.compare.judge import compare, read_side
from dlbench.compare.sides import Measured, Side
from dlbench.errors import UsageError
from dlbench.record.comparability import LISTED

positive = st.lists(st.floats(1e-4, 1e-2), min_size=1, max_size=8)


def make_side(cases, name="base.jsonl", facts=None, versions=None):
    """A side whose cases have these process medians (s)."""
    measured = tuple(
        case if isinstance(case, Measured) else Measured(case, case, tuple(cases[case]))
        for case in cases
    )
    return Side(name, measured, facts or {"cpu": "EPYC 9B45"}, versions or {})


def processes(middle_s, count=6, spread=0.002, seed=0):
    """Process medians (s) that scatter by a share."""
    draw = np.random.default_rng(seed)
    return [middle_s * math.exp(value) for value in draw.normal(0, spread, count)]


def statuses(verdicts):
    return {case.case: case.status for case in verdicts.cases}


def compared(base, new, threshold=0.05):
    return compare(make_side(base), make_side(new), threshold)


def test_each_verdict_has_its_status():
    base = {
        "slower": processes(0.010, seed=1),
        "faster": processes(0.010, seed=2),
        "same": processes(0.010, seed=3),
        "inconclusive": processes(0.010, spread=0.2, seed=4),
        "missing": processes(0.010),
    }
    new = {
        "slower": processes(0.012, seed=5),
        "faster": processes(0.008, seed=6),
        "same": processes(0.0101, seed=7),
        "inconclusive": processes(0.011, spread=0.2, seed=8),
        "new": processes(0.010),
    }
    verdicts = compared(base, new)
    assert {name: name for name in {**base, **new}} == statuses(verdicts)
    assert all(case.reason for case in verdicts.cases)
    assert 1 == verdicts.exit_code
    assert ["slower", "missing"] == [case.case for case in verdicts.cases[:2]]


@given(positive, positive, st.sampled_from([0.01, 0.05, 0.5]))
def test_a_case_is_slower_just_when_it_is_faster_with_the_files_swapped(base, new, threshold):
    mirror = {"slower": "faster", "faster": "slower"}
    there = compared({"a": base}, {"a": new}, threshold).cases[0]
    back = compared({"a": new}, {"a": base}, threshold).cases[0]
    assert mirror.get(there.status, there.status) == back.status
    assert math.isclose(there.ratio, 1 / back.ratio)
    if there.low is not None:
        assert math.isclose(there.low, 1 / back.high)


@given(st.floats(1e-4, 1e-2), positive)
def test_one_process_on_a_side_is_never_enough(single, others):
    verdict = compared({"a": [single]}, {"a": others}).cases[0]
    assert ("inconclusive", None, None) == (verdict.status, verdict.low, verdict.high)
    assert verdict.ratio > 0


@given(positive, st.floats(1, 2), st.floats(1, 2))
def test_a_file_that_is_slower_by_more_is_not_judged_better(base, one, other):
    order = ["faster", "same", "inconclusive", "slower"]
    small, large = (
        compared({"a": base}, {"a": [factor * time for time in base]}).cases[0].status
        for factor in sorted((one, other))
    )
    if small == "slower":
        assert large == "slower"
    assert order.index(large) > 0


def test_three_noisy_processes_a_side_are_not_called_slower_on_a_ten_percent_difference():
    verdict = compared({"a": [0.0100, 0.0109, 0.0104]}, {"a": [0.0115, 0.0108, 0.0121]}).cases[0]
    assert "inconclusive" == verdict.status
    assert verdict.low < 1 < verdict.high


def test_among_many_cases_a_difference_must_be_clearer_than_alone():
    base, new = [0.0100, 0.0102, 0.0104, 0.0101], [0.0106, 0.0112, 0.0109, 0.0108]
    assert "slower" == compared({"a": base}, {"a": new}).cases[0].status
    others = {str(number): processes(0.01, seed=number) for number in range(400)}
    found = statuses(compared({"a": base} | others, {"a": new} | others))
    assert "inconclusive" == found["a"]


def test_no_difference_at_all_between_identical_processes_is_the_same():
    assert "same" == compared({"a": [0.01] * 3}, {"a": [0.01] * 3}).cases[0].status
    assert "slower" == compared({"a": [0.01] * 3}, {"a": [0.02] * 3}).cases[0].status


@pytest.mark.parametrize(
    ("change", "field", "base", "new"),
    [
        ({"machine": {"cpu": "Xeon"}}, "cpu", "EPYC 9B45", "Xeon"),
        ({"machine": {"cpu": None}}, "cpu", "EPYC 9B45", "unknown"),
        ({"machine": {"usable_cores": 1}}, "usable cores", "2", "1"),
        ({"machine": {"memory_bytes": 8 * 2**30}}, "memory", "24 GiB", "8 GiB"),
        ({"machine": {"gpus": ("H200",)}}, "gpus", "none", "H200"),
        ({"workload_digest": "ef" * 32}, "workload", "ci abababababab", "ci efefefefefef"),
        ({"seed": 7}, "seed", "0", "7"),
        ({"case": {"threads": 1}}, "threads", "2", "1"),
        ({"case": {"precision": "bf16"}}, "precision", "fp32", "bf16"),
    ],
)
def test_unlike_records_are_advisory_and_the_field_is_named_with_both_values(
    write, change, field, base, new
):
    slow = {"numpy": processes(0.02)}
    sides = (
        read_side(write("base.jsonl", {"numpy": processes(0.01)})),
        read_side(write("new.jsonl", slow, **change)),
    )
    verdicts = compare(*sides, 0.05)
    assert [(field, base, new)] == [(d.field, d.base, d.new) for d in verdicts.differences]
    assert verdicts.advisory
    assert "slower" == verdicts.cases[0].status
    assert 3 == verdicts.exit_code
    assert field in verdicts.conclusion


@pytest.mark.parametrize(
    "change",
    [
        {"machine": {"memory_bytes": 24 * 2**30 - 4096}},
        {"machine": {"system": "Linux 6.2"}},
        {"machine": {"packages": {"numpy": "2.5.0"}}},
    ],
)
def test_versions_and_a_little_less_memory_do_not_make_records_unlike(write, change):
    times = {"numpy": processes(0.01)}
    sides = (
        read_side(write("base.jsonl", times)),
        read_side(write("new.jsonl", times, **change)),
    )
    verdicts = compare(*sides, 0.05)
    assert not verdicts.advisory
    assert 0 == verdicts.exit_code
    assert len(verdicts.notes) == 1 + ("memory_bytes" not in change["machine"])


@pytest.mark.parametrize(
    ("steps", "count", "told"),
    [
        (99, 3, ""),
        (101, 3, "1.50 s in 3 processes in the base, 3.03 s in 3 processes in the new one"),
        (20, 3, "1.50 s in 3 processes in the base, 600 ms in 3 processes in the new one"),
        (25, 6, "1.50 s in 3 processes in the base, 1.50 s in 6 processes in the new one"),
    ],
)
def test_records_that_were_not_sampled_alike_are_named_with_the_figures(write, steps, count, told):
    base = read_side(write("base.jsonl", {"numpy": [0.01] * 3, "torch": [0.01] * 3}, steps=50))
    cases = {"numpy": [0.01] * count, "torch": None}
    notes = compare(base, read_side(write("new.jsonl", cases, steps=steps)), 0.05).notes
    found = [note for note in notes if "sampled" in note]
    if told:
        assert f"not sampled alike in 1 of 1 case: numpy:cpu/train/32 {told}; " in found[0]
    assert bool(told) == len(found)


def test_a_package_that_came_is_named_and_a_list_that_one_side_did_not_take_is_not():
    cases, kept = {"a": [0.01] * 3}, {"numpy": "2.3"}
    base = make_side(cases, versions=kept | {f"{LISTED} of a": "4 packages"})
    new = make_side(cases, versions=kept | {"torch": "2.13"})
    told = [note for note in compare(base, new, 0.05).notes if "in the base" in note]
    assert ["torch none in the base, 2.13 in the new one"] == told


def test_a_case_that_failed_in_the_new_record_is_missing_with_the_reason(write):
    times = {"numpy": processes(0.01)}
    sides = (
        read_side(write("base.jsonl", times | {"torch": processes(0.01)})),
        read_side(write("new.jsonl", times | {"torch": None})),
    )
    verdicts = compare(*sides, 0.05)
    missing = verdicts.having("missing")
    assert ["torch:cpu/train/32"] == [case.case for case in missing]
    assert "torch is not installed" in missing[0].reason
    assert 3 == verdicts.exit_code


def test_a_renamed_case_is_missing_and_new_and_does_not_pass():
    verdicts = compared({"a": [0.01] * 3, "old": [0.01] * 3}, {"a": [0.01] * 3, "now": [0.01] * 3})
    assert {"a": "same", "old": "missing", "now": "new"} == statuses(verdicts)
    assert 3 == verdicts.exit_code


def test_a_case_of_neither_file_is_only_mentioned(write):
    times = {"numpy": processes(0.01), "cupy": None}
    sides = (read_side(write("base.jsonl", times)), read_side(write("new.jsonl", times)))
    verdicts = compare(*sides, 0.05)
    assert 1 == len(verdicts.cases)
    assert "1 case measured on neither side" in verdicts.notes


def test_files_without_a_common_case_are_an_error_of_their_own():
    assert 4 == compared({"a": [0.01] * 3}, {"b": [0.01] * 3}).exit_code
    assert 4 == compared({}, {}).exit_code


def test_the_same_case_at_two_thread_counts_is_matched_by_threads():
    def at(threads, times):
        return Measured("ci/numpy", f"numpy {threads}", tuple(times), {"threads": str(threads)})

    base = [at(1, [0.04] * 3), at(2, [0.02] * 3)]
    new = [at(2, [0.02] * 3), at(1, [0.04] * 3)]
    verdicts = compared(base, new)
    assert {"same"} == set(statuses(verdicts).values())
    assert not verdicts.advisory
    # one of two is left over, and which of them it was cannot be told
    verdicts = compared(base, [at(4, [0.01] * 3)])
    assert {"new", "missing"} == set(statuses(verdicts).values())


def test_a_file_of_pytest_benchmark_is_read_as_one_process(tmp_path):
    def file(name, median_s, cpu="Xeon", hz=2.1):
        machine = {"cpu": {"brand_raw": cpu, "count": 2, "hz_actual_friendly": f"{hz} GHz"}}
        benchmark = {"fullname": "t.py::test_a", "stats": {"median": median_s, "rounds": 500}}
        path = tmp_path / name
        whole = {"machine_info": machine, "benchmarks": [benchmark]}
        path.write_text(json.dumps(whole, indent=4))
        return read_side(path)

    verdicts = compare(file("a.json", 0.01), file("b.json", 0.02, hz=3.4), 0.05)
    assert [("t.py::test_a", "inconclusive", 2.0)] == [
        (case.case, case.status, case.ratio) for case in verdicts.cases
    ]
    assert "single process" in verdicts.cases[0].reason
    assert not verdicts.advisory
    assert compare(file("c.json", 0.01), file("d.json", 0.01, cpu="EPYC"), 0.05).advisory


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"benchmarks": 3}', '{"kind":"process"}\n']
)
def test_a_file_that_is_neither_is_refused_by_name(tmp_path, text):
    path = tmp_path / "what.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"what\.json"):
        read_side(path)


def test_records_in_one_file_are_judged_case_by_case_whatever_their_order(write, tmp_path):
    def part(name, median_s, batch, **header):
        suite = "mnist" if batch == 64 else "cifar"
        case = {"suite": suite, "batch": batch}
        return write(name, {"numpy": processes(median_s)}, case=case, suite=suite, **header)

    def side(name, *parts):
        path = tmp_path / name
        path.write_bytes(b"".join(each.read_bytes() for each in parts))
        return read_side(path)

    other = {"workload_digest": "ef" * 32}
    base = side("base.jsonl", part("1", 0.01, 64), part("2", 0.03, 32, **other))
    new = side("new.jsonl", part("3", 0.03, 32, **other), part("4", 0.02, 64))
    verdicts = compare(base, new, 0.05)
    assert {"mnist numpy:cpu/train/64": "slower", "cifar numpy:cpu/train/32": "same"} == (
        statuses(verdicts)
    )
    assert () == verdicts.differences
    assert not any("one side only" in note for note in verdicts.notes)

    # what differs is told of the case that it is about, also where the other file holds one record
    changed = side("changed.jsonl", part("5", 0.01, 64, seed=7), part("6", 0.03, 32, **other))
    told = [(d.field, d.case) for d in compare(base, changed, 0.05).differences]
    assert [("seed", "mnist numpy:cpu/train/64")] == told
    alone = compare(side("alone.jsonl", part("7", 0.01, 64, **other)), base, 0.05)
    assert ["workload"] == [d.field for d in alone.differences]
    assert {"same", "new"} == set(statuses(alone).values())


def test_a_case_that_was_disturbed_while_timed_is_inconclusive_and_names_the_disturbance():
    slow = Measured("a", "a", tuple(processes(0.02)), disturbance="other processes had 1.2 cores")
    verdicts = compare(make_side({"a": processes(0.01)}), make_side([slow]), 0.05)
    assert {"a": "inconclusive"} == statuses(verdicts)
    assert "new: other processes had 1.2 cores" in verdicts.cases[0].reason
    assert 3 == verdicts.exit_code


def test_a_records_disturbance_reaches_the_comparison(make_busy_record):
    side = side_of_records("busy.jsonl", [make_busy_record(other_cores=1.5)])
    told, _, over_all = side.cases[0].disturbance.partition("; ")
    assert "other processes had 1.5 cores in 3 of 3 processes" == told
    assert "other processes had 1.5 cores on average over the whole run" == over_all
    assert (
        ""
        == side_of_records("calm.jsonl", [make_busy_record(other_cores=0.0)]).cases[0].disturbance
    )
