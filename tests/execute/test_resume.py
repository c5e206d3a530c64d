"""A run that was cut off and gone on with has what an uninterrupted one has, each line once, but for a round that was
cut off: it is measured anew as a whole, one attempt further."""

import collections
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlbench.contract import Device
from dlbench.errors import DlbenchError, UsageError
from dlbench.execute import resume, runner, tasks
from dlbench.execute.resume import request_for
from dlbench.execute.tasks import missing
from dlbench.plan.backend_status import Found
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import (
    End,
    Header,
    Peak,
    Process,
    Record,
    Resumed,
    Skip,
    Training,
    Verification,
)

BACKENDS = ("numpy", "broken_adapters:FailsWhenTimed", "broken_adapters:NeedsAnotherMachine")


def facts(record):
    """How often each thing that a run finds out stands in a record; what a process found, once for all attempts."""
    found = collections.Counter()
    for line in record.lines:
        match line:
            case Skip():
                found[("skip", line.case)] += 1
            case Verification():
                found[("verification", line.case.configuration, line.status)] += 1
            case Process():
                found[("process", line.case, line.round, line.status)] = 1
            case Training():
                found[("training", line.case)] += 1
            case Peak():
                found[("peak", line.threads)] += 1
    return found


def check_attempts(before, after):
    """Holds the rounds of a record that was gone on with against what there was of them: nothing is measured again
    but what was cut off, and that together."""
    rounds = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in after.lines:
        if isinstance(line, Process):
            rounds[line.round][line.attempt].append(line)
    there = collections.Counter(line.round for line in before.lines if isinstance(line, Process))
    for number, attempts in rounds.items():
        measured = [line for attempt in sorted(attempts) for line in attempts[attempt]]
        assert list(range(len(attempts))) == sorted(attempts)
        assert len(attempts) <= (2 if there[number] else 1)
        assert len({(line.case, line.attempt) for line in measured}) == len(measured)
        last = attempts[max(attempts)]
        told = [line for line in after.lines if isinstance(line, Process | Verification)]
        failed = {line.case for line in told if line.status != "ok"}
        # all that were still well, side by side
        well = {line.case for line in measured} - failed
        assert well <= {line.case for line in last}


@pytest.fixture(scope="module")
def request_all(request_for):
    """A request with cases that go well, that fail when they are timed, and that cannot run."""
    return request_for(backends=BACKENDS, rounds=2, epochs=1, batches=(4,), budget_s=0.1)


@pytest.fixture(scope="module")
def whole(request_all, tmp_path_factory):
    """The record of an uninterrupted run, and its bytes."""
    path = tmp_path_factory.mktemp("whole") / "whole.jsonl"
    writer = Writer(path)
    runner.run(request_all, writer)
    writer.close()
    return path.read_bytes()


def go_on(path, asked):
    """Resumes the record in a file and reads it back."""
    writer = Writer(path, append=True)
    try:
        record = read_record(path)
        request = request_for(record, asked.suite, asked.machine, asked.cache_dir)
        runner.resume(request, record, writer)
    finally:
        writer.close()
    return read_record(path)


def test_a_whole_run_has_every_kind_of_line(whole, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    record = read_record(path)
    assert tasks.is_complete(record)
    assert () == missing(record)
    found = facts(record)
    assert {"skip", "verification", "process", "training", "peak"} == {key[0] for key in found}
    assert {1} == set(found.values())


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 1))
def test_a_record_cut_off_at_any_byte_is_completed_and_loses_nothing(
    whole, request_all, tmp_path_factory, share
):
    path = tmp_path_factory.mktemp("cut") / "record.jsonl"
    header = whole.index(b"\n") + 1
    cut = whole[: header + round(share * (len(whole) - header))]
    path.write_bytes(cut)
    before = read_record(path)
    after = go_on(path, request_all)
    path_of_whole = path.with_name("whole.jsonl")
    path_of_whole.write_bytes(whole)
    assert facts(read_record(path_of_whole)) == facts(after)
    assert before.lines == after.lines[: len(before.lines)]
    assert tasks.is_complete(after)
    check_attempts(before, after)


@given(data=st.data())
def test_cutting_a_record_at_any_byte_leaves_what_was_whole_and_appending_mends_it(
    whole, tmp_path_factory, data
):
    header = whole.index(b"\n")
    at = data.draw(st.integers(header, len(whole)))
    path = tmp_path_factory.mktemp("cut") / "record.jsonl"
    path.write_bytes(whole[:at])
    before = read_record(path)
    # a line counts when all of it is there, whether or not its line break is
    assert len(before.lines) == sum(at >= end for end in ends_of_lines(whole) if end > header)
    writer = Writer(path, append=True)
    assert whole[:at] == path.read_bytes()
    writer.write(Resumed("2026-11-20T14:05:00Z", "0"))
    writer.close()
    assert (*before.lines, Resumed("2026-11-20T14:05:00Z", "0")) == read_record(path).lines
    assert path.read_bytes().endswith(b"}\n")


def ends_of_lines(raw):
    """Where each line ends, before its line break."""
    return [place for place, byte in enumerate(raw) if byte == ord("\n")]


def test_a_record_that_is_complete_lacks_nothing_and_one_without_its_last_line_only_that(
    whole, request_all, tmp_path
):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    record = read_record(path)
    assert () == missing(record)
    assert not tasks.is_complete(record)
    after = go_on(path, request_all)
    assert tasks.is_complete(after)
    assert [Resumed, End] == [type(line) for line in after.lines[len(record.lines) :]]


def test_the_parts_of_a_resumed_record_are_added_up(whole, request_all, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    record = read_record(path)
    first = msgspec.structs.replace(record.lines[-1], status="interrupted")
    kept = [line for line in record.lines[:-1] if not isinstance(line, Training)]
    path.unlink()
    writer = Writer(path)
    for line in (record.header, *kept, first):
        writer.write(line)
    writer.close()
    after = go_on(path, request_all)
    last = after.lines[-1]
    assert 2 == after.parts
    assert "complete" == after.end.status
    assert after.end.wall_s == pytest.approx(first.wall_s + last.wall_s)
    assert after.end.seconds["verify"] == pytest.approx(
        first.seconds["verify"] + last.seconds["verify"]
    )
    assert after.end.null_timing_ns == first.null_timing_ns


GIVEN = [
    ({"seed": 7}, "--seed is 0 in the record and 7 now"),
    ({"rounds": 5}, "--rounds is 2 in the record and 5 now"),
    ({"telemetry_period_s": 0.0}, "--telemetry-period (s) is 0.05 in the record and 0.0 now"),
    ({"batches": (1,)}, "the batch size is 4 in the record and 1 now"),
    ({"backends": ("torch",)}, "and torch now"),
    ({"threads": 2, "epochs": 3}, "--threads is 1 in the record and 2 now; --epochs is 1 in "),
]
MACHINES = [
    ({"cpu": "another"}, "the CPU is test in the record and another now"),
    ({"packages": {"torch": "2.13"}}, "torch is not installed in the record and 2.13 now"),
    ({"gpus": ("H200, 139 GiB",)}, "the GPU is none in the record and H200, 139 GiB now"),
    ({"system": "Linux 9"}, "the system is test in the record and Linux 9 now"),
    ({"cpu": "a", "python": "4"}, "and a now; Python is 3 in the record and 4 now"),
]


@pytest.mark.parametrize(("given", "told"), GIVEN, ids=[told for _, told in GIVEN])
def test_options_that_say_something_else_are_refused_with_both_values(whole, tmp_path, given, told):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    with pytest.raises(UsageError) as error:
        resume.check_given(read_record(path), given)
    assert told in str(error.value)


def test_options_may_repeat_what_the_record_says(whole, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    own = {"backends": BACKENDS[::-1], "rounds": 2, "batches": (4,), "budget_s": 0.1}
    resume.check_given(read_record(path), own)


def test_a_record_is_gone_on_with_watched_as_it_was_begun(whole, request_all, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    asked = request_all

    def watch(**header):
        record = read_record(path)
        record = Record(msgspec.structs.replace(record.header, **header), record.lines)
        found = request_for(record, asked.suite, asked.machine, asked.cache_dir)
        return found.patience_s, found.telemetry_period_s

    assert (asked.patience_s, asked.telemetry_period_s) == watch()
    assert (7.0, 0.0) == watch(patience_s=7.0, telemetry_period_s=0.0)
    # as of dlbench run
    assert (12.0, 0.05) == watch(patience_s=None, telemetry_period_s=None)


@pytest.mark.parametrize(("changes", "told"), MACHINES, ids=[told for _, told in MACHINES])
def test_another_machine_is_refused_with_both_values(whole, request_all, tmp_path, changes, told):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    here, asked = msgspec.structs.replace(request_all.machine, **changes), request_all
    with pytest.raises(UsageError) as error:
        request_for(read_record(path), asked.suite, here, asked.cache_dir)
    assert told in str(error.value)


def test_another_workload_another_version_and_other_data_are_refused_and_nothing_is_written(
    whole, request_all, tmp_path
):
    path = tmp_path / "a.jsonl"
    lines = whole.splitlines(keepends=True)
    verified = next(n for n, line in enumerate(lines) if b'"kind":"verification"' in line)

    def refused(old, new):
        path.write_bytes(b"".join(lines[: verified + 1]).replace(old, new))
        before = path.read_bytes()
        assert new in before
        with pytest.raises(UsageError) as error:
            go_on(path, request_all)
        assert before == path.read_bytes()
        return str(error.value)

    record = msgspec.json.decode(lines[0], type=Header)
    digest, data = record.workload_digest.encode(), record.data.fingerprint.encode()
    assert "the workload of tiny is 0000" in refused(digest, b"0" * len(digest))
    assert "(000000000000) in the record" in refused(data, b"0" * len(data))
    version = f'"dlbench":"{record.dlbench}"'.encode()
    assert "dlbench is 0.0.9 in the record" in refused(version, b'"dlbench":"0.0.9"')
    assert "backend numpy is 1.0 in the record" in refused(
        b'"version":"' + numpy_version(whole), b'"version":"1.0'
    )


def test_another_library_beneath_and_another_gpu_behind_a_name_are_differences(whole, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    record = read_record(path)
    gpu = msgspec.structs.replace(record.header.cases[0], device="cuda", backend="torch")
    facts = {"device_uuid": "GPU-1"}
    line = Process(gpu, 1, "ok", "", version="2.13", libraries={"cudnn": "9.1"}, facts=facts)
    record = Record(record.header, (*record.lines, line))

    def differing(**changes):
        seen = Found(
            "ok",
            version="2.13",
            libraries={"cudnn": "9.1"},
            devices=(Device("cuda:0", "", "GPU-1"),),
        )
        seen = dataclasses.replace(seen, **changes)
        return [str(each) for each in resume.backend_differences(record, [gpu], {"torch": seen})]

    assert [] == differing()
    assert [] == differing(devices=(Device("cuda:0", ""),))
    assert ["the GPU behind cuda is GPU-1 in the record and GPU-2 now"] == differing(
        devices=(Device("cuda:0", "", "GPU-2"), Device("cuda:1", "", "GPU-1"))
    )
    assert ["cudnn of torch is 9.1 in the record and 9.2 now"] == differing(
        libraries={"cudnn": "9.2"}
    )
    assert ["backend torch is 2.13 in the record and not usable (gone) now"] == differing(
        status="skipped", reason="gone"
    )


def numpy_version(whole):
    """The version of NumPy that the record tells."""
    return whole.partition(b'"version":"')[2].partition(b'"')[0]


def test_what_has_no_header_is_no_record_to_go_on_with(whole, request_all, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole[:100])
    with pytest.raises(DlbenchError, match="its first line is no header"):
        go_on(path, request_all)
    assert whole[:100] == path.read_bytes()


def test_two_runs_never_write_the_same_record(whole, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    writer = Writer(path, append=True)
    with pytest.raises(DlbenchError, match="another run is writing"):
        Writer(path, append=True)
    writer.close()
    Writer(path, append=True).close()


@pytest.mark.parametrize(("after_lines", "again"), [(1, False), (5, True)])
def test_a_run_killed_at_any_point_is_completed_and_so_is_a_resumed_one(
    whole, request_all, tmp_path, cache_dir, tiny_file, after_lines, again
):
    path = tmp_path / "record.jsonl"
    fixtures = Path(__file__).resolve().parents[1] / "fixtures"
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(fixtures)!r})
        from dlbench.execute.events import Observer
        from dlbench.plan.request import Request
        from dlbench.record.schema import Machine
        from dlbench.record.file import Writer
        from dlbench.execute.runner import run
        from dlbench.spec.suite import load_suite

        class Tell(Observer):
            def line(self, line):
                print("line", flush=True)

        machine = Machine("test", None, None, 1, None, (), "test", "3", {{}})
        request = Request(
            suite=load_suite({str(tiny_file)!r}), machine=machine,
            cache_dir=Path({str(cache_dir)!r}), backends={BACKENDS!r}, rounds=2, epochs=1,
            batches=(4,), budget_s=0.1, limit_s=60.0, patience_s=0.0,
        )
        run(request, Writer(Path({str(path)!r})), Tell())
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        for _ in range(after_lines):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert -signal.SIGKILL == process.returncode
    before = read_record(path)
    assert before.end is None
    after = go_on(path, request_all)
    if again:
        # in the middle of the last line about a case
        path.write_bytes(path.read_bytes()[: -len(whole.splitlines()[-1]) - 40])
        after = go_on(path, request_all)
        assert 3 == after.parts
    (tmp_path / "whole.jsonl").write_bytes(whole)
    assert facts(read_record(tmp_path / "whole.jsonl")) == facts(after)
    assert before.lines == after.lines[: len(before.lines)]
    if not again:
        check_attempts(before, after)
