"""The gate's promises, held on recordings of processes that all ran the same code."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from record_makers import make_gate_header

from dlbench.errors import DlbenchError
from dlbench.gate.design import Design
from dlbench.gate.pairs import order
from dlbench.gate.schema import Half
from dlbench.gate.signed_rank import p_greater
from dlbench.gate.trial import Share, consecutive
from dlbench.record.file import Writer
from dlbench.record.schema import Case, Process
from gate_trial import overlapping
from recording import read_stream

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "gate" / "data"
# the share of each recording that the design was tuned on
TUNED_ON = {"two_cores.csv.gz": 0.5, "two_cores_shared.csv.gz": 0.0, "two_cores_busy.csv.gz": 0.0}


@pytest.fixture(scope="module", params=TUNED_ON)
def unseen(request):
    """What the design was not tuned on."""
    stream = read_stream(DATA / request.param)
    return stream[round(TUNED_ON[request.param] * len(stream)) :]


@pytest.mark.parametrize("trials", [consecutive, lambda *a: overlapping(*a, step=10)])
def test_the_same_code_passes_and_does_not_fail(unseen, trials):
    tally = trials(unseen, Design())
    assert tally.slower.of >= 60
    assert tally.slower.value <= 0.01
    assert tally.passed.value >= 0.95
    assert tally.mean_pairs <= 20
    assert tally.most_pairs <= 40


def test_a_slowdown_of_five_percent_is_found(unseen):
    tally = overlapping(unseen, Design(), 0.05, step=10)
    assert tally.slower.value >= 0.95
    assert tally.mean_pairs <= 20


def test_one_slow_case_among_eight_is_found_and_the_others_are_not_blamed(unseen):
    tally = overlapping(unseen, Design(), 0.05, cases=8, step=6)
    assert tally.slower.value >= 0.95
    assert tally.wrongly_failed.value <= 0.01


def test_loud_noise_of_no_known_shape_fails_about_one_comparison_in_a_hundred():
    draw = np.random.default_rng(0)
    logs = draw.standard_t(2, 160_000)
    stream = logs[1::2] - logs[::2]
    tally = consecutive(stream, Design(threshold=1e-9, futility=1e-12))
    assert tally.slower.of > 1500
    assert tally.slower.interval[0] < 0.01
    assert tally.slower.value < 0.013


def test_looking_again_and_again_would_cry_wolf():
    stream = read_stream(DATA / "two_cores.csv.gz")
    alarms = []
    for begin in range(0, len(stream) - 40, 20):
        found = [
            one if order(number)[0] == "base" else -one
            for number, one in enumerate(stream[begin : begin + 40])
        ]
        alarms.append(any(p_greater(found[:seen]) <= 0.05 for seen in range(2, 41, 2)))
    assert 0.1 < np.mean(alarms) < 0.25


def test_no_pair_is_in_two_consecutive_trials():
    stream = np.random.default_rng(0).normal(0, 0.001, 400)
    tally = consecutive(stream, Design())
    # every trial ends at the first look, and the last needs room for all looks
    assert (400 - 40) // 8 + 1 == tally.slower.of
    assert 8 == tally.mean_pairs == tally.most_pairs


def test_the_exact_interval_of_none_in_three_hundred_ends_near_one_percent():
    low, high = Share(0, 300).interval
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert (0.0, 1.0) == Share(0, 0).interval


def test_a_calibrations_record_is_a_recording_in_the_order_of_time(tmp_path):
    case = Case("ci", "train", "numpy", "cpu", 32, 1, "fp32", "")
    writer = Writer(tmp_path / "noise.jsonl")
    writer.write(make_gate_header([case], calibration=True))
    for number in range(3):
        for arm, ns in zip(order(number), (10 + number, 20 + number), strict=True):
            writer.write(Half(arm, Process(case, number, "ok", "", (ns,) * 3)))
    writer.close()
    assert list(np.log([2, 21 / 11, 22 / 12])) == pytest.approx(list(read_stream(writer.path)))


@pytest.mark.parametrize("text", ["process,s0\n0,abc\n", "process,s0\n0\n", "process,s0\n0,-3\n"])
def test_a_file_that_is_no_recording_is_refused_by_name(tmp_path, text):
    path = tmp_path / "noise.csv"
    path.write_text(text)
    with pytest.raises(DlbenchError, match=r"noise\.csv"):
        read_stream(path)


def test_the_tools_try_the_gate_and_a_comparison_on_a_recording():
    table = subprocess.run(
        [
            sys.executable,
            ROOT / "tools/gate_trial.py",
            DATA / "two_cores.csv.gz",
            "--slowdown",
            "8",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert 2 == table.count("| +8 % |")
    table = subprocess.run(
        [sys.executable, ROOT / "tools/compare_trial.py", DATA / "two_cores.csv.gz"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "| 3 | 138 |" in table
