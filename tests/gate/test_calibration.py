"""What a calibration says about a stream that is known."""

import functools

import numpy as np
import pytest
from click.testing import CliRunner
from record_makers import make_gate_header

from dlbench.cli import main
from dlbench.errors import DlbenchError
from dlbench.gate import request
from dlbench.gate.calibration import calibrate, describe, stream_of
from dlbench.gate.design import Design
from dlbench.gate.pairs import order, summary
from dlbench.gate.schema import Beside, Half, Record
from dlbench.gate.trial import consecutive
from dlbench.record import schema as r
from dlbench.record.file import Writer
from recording import paired, read_timings

CASE = r.Case("ci", "train", "numpy", "cpu", 32, 1, "fp32", "")


def recorded_us(path):
    """The summaries of a recording's processes."""
    return np.array([summary(timings) for timings in read_timings(path)])


def recorded(stream_us, design=None, process_s=0.4):
    """The record of a calibration whose processes came to these step times."""
    header = make_gate_header(
        [CASE],
        base="this code",
        new="this code again",
        budget_s=600.0,
        design=design or Design(),
        calibration=True,
    )
    lines = [
        Half(
            order(number // 2)[number % 2],
            r.Process(
                CASE,
                number // 2,
                "ok",
                "",
                (round(1000 * time),) * 3,
                started_ns=round(number * process_s * 1e9),
            ),
        )
        for number, time in enumerate(stream_us)
    ]
    return Record(header, tuple(lines))


def test_the_rates_are_those_of_the_trials_on_the_stream_in_time_order(recordings):
    stream = recorded_us(recordings / "two_cores.csv.gz")[:1000]
    record = recorded(stream)
    assert stream_of(record) == pytest.approx(paired(stream), abs=1e-6)
    found = calibrate(record)
    assert 0.8 == pytest.approx(found.pair_s)
    assert Design().looks == found.looks
    same = found.rows[0].tally
    expected = consecutive(stream_of(record), Design())
    assert expected == same
    assert same.slower.of > 10
    assert found.promise is not None
    assert f"a threshold of {100 * found.promise:.3g} %" in describe(found)


def test_a_gate_that_ends_before_the_last_look_is_judged_by_the_looks_it_reaches():
    assert (8, 12, 16, 20) == calibrate(recorded(np.full(400, 1000.0), process_s=1.4)).looks


def test_noise_without_end_promises_nothing():
    times = np.random.default_rng(0).lognormal(7, 1.5, 240)
    assert "no threshold up to" in describe(calibrate(recorded(times)))


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_recording_that_is_too_short_says_how_long_it_should_be(count):
    with pytest.raises(DlbenchError, match="budget"):
        calibrate(recorded(np.full(count, 1000.0)))


def test_a_calibrations_record_is_told_again(recordings, tmp_path):
    whole = recorded(recorded_us(recordings / "two_cores.csv.gz")[:200])
    writer = Writer(tmp_path / "noise.jsonl")
    for line in (whole.header, *whole.lines):
        writer.write(line)
    writer.close()
    told = CliRunner().invoke(main.cli, ["gate", "--report", str(writer.path)])
    assert 0 == told.exit_code, told.output
    assert describe(calibrate(whole)) == told.stdout.rstrip("\n")


@pytest.mark.parametrize("pairs", [8, 400])
def test_pairs_that_take_too_long_for_a_gate_are_said_to_and_not_to_be_too_few(pairs):
    with pytest.raises(DlbenchError, match=r"a pair takes 5\.2 s.*fewer than the 12 pairs") as said:
        calibrate(recorded(np.full(2 * pairs, 1000.0), process_s=2.6))
    assert "too short" not in str(said.value)


def test_what_went_wrong_before_the_first_pair_is_the_reason():
    whole = recorded([])
    wrong = Beside(CASE.label, "failed", "this code: should be 1")
    with pytest.raises(DlbenchError, match=r"should be 1$"):
        calibrate(Record(whole.header, (wrong,)))


def test_a_few_trials_promise_nothing_and_one_fluke_among_many_vetoes_nothing():
    quiet = np.exp(np.random.default_rng(0).normal(7, 0.002, 1000))
    few = calibrate(recorded(quiet[:80]))
    assert few.promise is None
    assert "by so few trials" in describe(few)
    assert 0.01 == calibrate(recorded(quiet)).promise
    # one trial in sixty calls the same code slower, which bounds no rate above 1 %
    fluke = quiet.copy()
    fluke[160:184] *= np.tile([1.0, 1.03, 1.03, 1.0], 6)
    found = calibrate(recorded(fluke))
    assert 1 == found.rows[-3].tally.slower.count
    assert 0.01 == found.promise


def test_a_calibration_runs_and_is_told_again(repository, monkeypatch):
    words = ["gate", "--suite", "tiny.toml"]
    record = repository.folder.parent / "noise.jsonl"
    # two early looks are enough to see all of it
    monkeypatch.setattr(request, "Design", functools.partial(Design, looks=(2, 4)))
    options = ["--calibrate", "--budget", "20", "--output", str(record), "--quiet"]
    ran = CliRunner().invoke(main.cli, [*words, *options])
    assert 0 == ran.exit_code, ran.output
    assert "numpy:cpu/train/32: " in ran.stdout
    assert "processes of the same code" in ran.stdout
    again = CliRunner().invoke(main.cli, ["gate", "--report", str(record)])
    assert (0, ran.stdout) == (again.exit_code, again.stdout)
    assert '"status":"budget"' in record.read_text().splitlines()[-1]
