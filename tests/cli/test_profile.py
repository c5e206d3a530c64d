"""Where a step goes, from outside: a real run of the NumPy backend, and one with a delay that is known."""

import csv
import io
import itertools
import json

import pytest
from click.testing import CliRunner

from dlbench.cli import main
from dlbench.record.file import read_record
from dlbench.record.schema import Profile


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run, and the record lies."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def invoke(folder):
    def run(*words, environment=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            return CliRunner().invoke(main.cli, [str(word) for word in words])

    return run


@pytest.fixture(scope="module")
def profiled(invoke):
    """What is told of NumPy as it is, and with a delay in the backward pass of its second layer."""
    done = invoke(
        *("profile", "--suite", "smoke", "--batch", "8", "--data", "noise", "--threads", "1"),
        *("--backend", "numpy", "--backend", "slow_layers:relu1_backward_4000", "--budget", "0.2"),
        *("--output", "a.jsonl", "--quiet"),
    )
    assert 0 == done.exit_code, done.output
    return done.output


def test_a_profile_is_told_and_kept(profiled, folder, invoke):
    assert "where a step of numpy:cpu/train/8 goes" in profiled
    assert "where a step of numpy:cpu/infer/8 goes" in profiled
    for word in ("conv1", "linear1", "loss", "optimizer", "the call itself", "of roof"):
        assert word in profiled
    record = read_record(folder / "a.jsonl")
    found = [line for line in record.lines if isinstance(line, Profile)]
    assert ["ok"] * 4 == [line.status for line in found]
    assert all(line.rounds >= 8 for line in found)
    again = invoke("report", "a.jsonl")
    assert "where a step of numpy:cpu/train/8 goes" in again.output
    whole = invoke("run", "--resume", "a.jsonl", "--quiet")
    assert "nothing is missing" in whole.output


def test_a_delay_is_found_where_it_is(profiled, invoke):
    rows = json.loads(invoke("report", "a.jsonl", "--format", "json").output)["layers"]
    trained = {
        row["part"]: row
        for row in rows
        if row["backend"] == "slow_layers:relu1_backward_4000" and row["scenario"] == "train"
    }
    most = max(trained.values(), key=lambda row: row["time_s"])
    assert "relu1" == most["part"]
    assert most["backward_s"] > most["forward_s"]


def test_two_rows_are_explained(profiled, invoke):
    words = ("slow_layers:relu1_backward_4000:cpu", "numpy:cpu", "a.jsonl", "--scenario", "train")
    told = invoke("explain", *words)
    assert 0 == told.exit_code, told.output
    [found] = json.loads(invoke("explain", *words, "--format", "json").output)
    parts = sum(part["time"]["mean_s"] for part in found["parts"])
    assert pytest.approx(found["whole"]["time"]["mean_s"]) == parts
    said = "Nothing is concluded" if found["disturbed"] else "lies above all in relu1"
    assert said in " ".join(told.output.split())
    assert "relu1" in invoke("explain", *words, "--format", "markdown").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("torch:cpu", "numpy:cpu", "a.jsonl"), "row 'torch:cpu' matches no row"),
        (("numpy:cpu", "numpy:cpu", *["a.jsonl"] * 3), "3 records: name one with both rows"),
    ],
)
def test_what_cannot_be_explained_is_said(profiled, invoke, words, told):
    done = invoke("explain", *words)
    assert 2 == done.exit_code
    assert told in done.output


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_a_trace_is_what_the_trace_event_format_says(profiled, invoke):
    """The JSON object format with complete and metadata events, as viewers of Chrome and Perfetto read it; Perfetto's
    own trace processor is downloaded when it is first used, so it cannot be asked in a test."""
    text = invoke("report", "a.jsonl", "--format", "trace").output
    whole = json.loads(text, parse_constant=no_constant)
    assert {"traceEvents", "displayTimeUnit"} == whole.keys()
    assert whole["displayTimeUnit"] in ("ms", "ns")
    named, spans = {}, {}
    for event in whole["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert event["args"]["name"]
            named[event["pid"], event.get("tid")] = event["args"]["name"]
            continue
        assert "X" == event["ph"]
        assert {"cat", "tid", "ts", "dur"} <= event.keys()
        assert isinstance(event["tid"], int)
        spans.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["dur"]))
    for (process, track), found in spans.items():
        assert named[process, None]
        assert named[process, track]
        for (begin, lasts), (then, _) in itertools.pairwise(sorted(found)):
            assert begin >= 0
            assert lasts >= 0
            # those of a track lie one behind the other, within what floating-point sums are
            assert begin + lasts <= then + 1e-6
    # tracks of a process begin where the one before has ended
    for process in {process for process, _ in spans}:
        ends = [
            max(b + d for b, d in found)
            for (pid, _), found in sorted(spans.items())
            if pid == process
        ]
        assert ends == sorted(ends)


def test_a_trace_has_every_layer(profiled, invoke):
    trace = json.loads(invoke("report", "a.jsonl", "--format", "trace").output)["traceEvents"]
    spans = [event for event in trace if event["ph"] == "X"]
    assert {"conv1", "relu1", "pool1", "flatten1", "linear1"} <= {span["name"] for span in spans}
    assert 4 == len({span["pid"] for span in spans})
    tracks = {e["args"]["name"] for e in trace if e["name"] == "thread_name"}
    assert {"forward", "backward", "update"} == tracks


@pytest.mark.parametrize("form", ["trace", "layers-csv"])
def test_a_record_without_profiles_has_no_parts_to_show(form, folder, invoke):
    made = invoke(
        "verify", "--suite", "smoke", "--data", "noise", "--backend", "numpy", "--output", "b.jsonl"
    )
    assert 0 == made.exit_code, made.output
    done = invoke("report", "b.jsonl", "--format", form)
    (folder / "b.jsonl").unlink()
    assert 2 == done.exit_code
    assert "no step was profiled; profiles are made with: dlbench profile" in done.output


def test_parts_are_rows_of_csv(profiled, invoke):
    text = invoke("report", "a.jsonl", "--format", "layers-csv").output
    rows = list(csv.DictReader(io.StringIO(text)))
    trained = [r for r in rows if r["backend"] == "numpy" and r["scenario"] == "train"]
    assert pytest.approx(1.0) == sum(float(row["share"]) for row in trained)
