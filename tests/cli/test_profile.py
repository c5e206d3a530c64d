"""Where a step goes, from outside: a real run of the NumPy backend, and one with a delay that is known."""

import csv
import io
import itertools
import json
import os
import shutil

import pytest
from click.testing import CliRunner

from dlbench.cli import main
from dlbench.execute import ladder_turns
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
        *("--output", "a.jsonl", "--trace", "a.json", "--quiet"),
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


def test_a_longer_budget_has_further_processes(folder, invoke, monkeypatch):
    monkeypatch.setattr(ladder_turns, "LADDER_S", 0.1)
    done = invoke(
        *("profile", "--suite", "smoke", "--batch", "8", "--data", "noise", "--threads", "1"),
        *("--backend", "numpy", "--scenario", "infer", "--budget", "0.2"),
        *("--output", "several.jsonl", "--quiet"),
    )
    assert 0 == done.exit_code, done.output
    [found] = [x for x in read_record(folder / "several.jsonl").lines if isinstance(x, Profile)]
    assert 2 == found.processes
    assert sorted(found.round_ended_ns) == list(found.round_ended_ns)
    assert {found.rounds} == {len(r.blocks_ns) for r in found.rungs if r.kind != "ceiling"}
    assert f"{found.rounds} rounds of 2 processes" in " ".join(done.output.split())


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
        (
            ("numpy:cpu", "numpy:cpu", "a.jsonl", "--scenario", "latency"),
            "in no scenario and batch size that both have; asked for: latency",
        ),
    ],
)
def test_what_cannot_be_explained_is_said(profiled, invoke, words, told):
    done = invoke("explain", *words)
    assert 2 == done.exit_code
    assert told in done.output


def test_spans_stand_beside_the_ladder(profiled, folder, invoke):
    record = read_record(folder / "a.jsonl")
    of_numpy, of_third = {}, {}
    for line in record.lines:
        if isinstance(line, Profile):
            found = of_numpy if line.case.backend == "numpy" else of_third
            found[line.case.scenario] = line.spans
    assert {"train", "infer"} == of_numpy.keys() == of_third.keys()
    for spans in (*of_numpy.values(), *of_third.values()):
        assert not spans.reason
        assert len(spans.plain_ns) == len(spans.observed_ns) >= 6
    served = {name for each in of_numpy["train"].times for name in each.layers}
    assert {"conv1", "relu1", "pool1", "flatten1", "linear1", "dropout1"} == served
    rows = json.loads(invoke("report", "a.jsonl", "--format", "json").output)["layers"]
    trained = {
        row["part"]: row for row in rows if (row["backend"], row["scenario"]) == ("numpy", "train")
    }
    assert 0 < trained["conv1"]["spans_share"] < 1
    # what NumPy does together is one group
    assert "relu1+dropout1" == trained["relu1"]["spans_with"] == trained["dropout1"]["spans_with"]
    assert trained["dropout1"]["spans_share"] is None
    assert trained["optimizer"]["spans_share"] > 0
    assert "between spans" in " ".join(profiled.split())


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_a_trace_is_what_the_trace_event_format_says(profiled, folder, invoke):
    """The JSON object format with complete and metadata events, as viewers of Chrome and Perfetto read it."""
    text = invoke("report", "a.jsonl", "--format", "trace").output
    assert text == (folder / "a.json").read_text()
    whole = json.loads(text, parse_constant=no_constant)
    assert {"traceEvents", "displayTimeUnit"} == whole.keys()
    assert whole["displayTimeUnit"] in ("ms", "ns")
    named, tracks = {}, {}
    for event in whole["traceEvents"]:
        assert isinstance(event["name"], str)
        assert event["name"]
        assert type(event["pid"]) is type(event["tid"]) is int
        assert is_number(event["ts"])
        assert event["ts"] >= 0
        if event["ph"] == "M":
            assert {"ph", "pid", "tid", "ts", "name", "args"} == event.keys()
            assert event["name"] in ("process_name", "thread_name")
            assert event["args"].keys() == {"name"}
            key = event["name"], event["pid"], event["tid"]
            assert key not in named
            named[key] = event["args"]["name"]
            continue
        assert "X" == event["ph"]
        assert {"ph", "pid", "tid", "ts", "dur", "name", "cat", "args"} == event.keys()
        assert is_number(event["dur"])
        assert event["dur"] >= 0
        assert isinstance(event["cat"], str)
        assert isinstance(event["args"], dict)
        tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for (process, track), events in tracks.items():
        assert named["process_name", process, 0]
        assert named["thread_name", process, track]
        spans = sorted((event["ts"], event["dur"]) for event in events)
        for (begin, lasts), (then, _) in itertools.pairwise(spans):
            # those of a track lie one behind the other, within what floating-point sums are
            assert begin + lasts <= then + 1e-6
    for process in {process for process, _ in tracks}:
        ends = [
            max(event["ts"] + event["dur"] for event in tracks[process, track])
            for track in (1, 2, 3)
            if (process, track) in tracks
        ]
        # the ladder's tracks begin where the one before has ended
        assert ends == sorted(ends)


LAYERS = {"conv1", "relu1", "pool1", "dropout1", "flatten1", "linear1"}


def test_a_trace_has_every_layer(profiled, folder):
    events = json.loads((folder / "a.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["tid"] == 0}
    assert 4 == len(names)
    for process, name in names.items():
        own = [event for event in events if event["pid"] == process]
        complete = [event for event in own if event["ph"] == "X"]
        tracks = {e["tid"]: e["args"]["name"] for e in own if e["name"] == "thread_name"}
        assert {"forward", "backward", "update"} <= set(tracks.values())
        of_ladder = {event["name"] for event in complete if event["tid"] <= 3}
        assert of_ladder >= LAYERS
        if "numpy:cpu/train" in name:
            seen = {"forward, spans of one step", "backward, spans of one step"}
            assert {*seen, "update, spans of one step"} <= set(tracks.values())
            served = {layer for event in complete for layer in event["args"].get("layers", ())}
            assert served == LAYERS


@pytest.mark.soak
def test_perfetto_opens_a_trace(profiled, folder):
    """By its own trace processor, whose package downloads the program when it is first used."""
    perfetto = pytest.importorskip("perfetto.trace_processor", reason="perfetto is not installed")
    binary = os.environ.get("PERFETTO_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if binary is None:
        pytest.skip(
            "Perfetto's trace_processor_shell is not in PATH, nor named by PERFETTO_TRACE_PROCESSOR"
        )
    config = perfetto.TraceProcessorConfig(bin_path=binary)
    with perfetto.TraceProcessor(trace=str(folder / "a.json"), config=config) as processor:
        rows = processor.query("select name from slice")
        assert {row.name for row in rows} >= LAYERS
        threads = {row.name for row in processor.query("select name from thread")}
        assert {"forward", "backward", "update"} <= threads
        [errors] = processor.query(
            "select sum(value) as lost from stats where severity = 'error' and name like 'json%'"
        )
        assert not errors.lost


def test_a_trace_in_no_folder_is_refused_first(invoke):
    done = invoke("profile", "--suite", "smoke", "--backend", "numpy", "--trace", "none/a.json")
    assert 2 == done.exit_code
    assert "--trace none/a.json: there is no folder none" in done.output


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
