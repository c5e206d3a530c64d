"""A check that is cut into slices, by its limit or by a kill, ends up with what an uninterrupted one has."""

import collections
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time

import msgspec
import pytest

from dlbench.errors import DlbenchError
from dlbench.execute import runner
from dlbench.execute.events import Observer
from dlbench.execute.probe import look_at
from dlbench.execute.tasks import is_complete
from dlbench.record.schema import Process, Resumed, Skip, Verification
from gpu_check.parts import Extent, Part, planned
from gpu_check.slices import (
    LEAST_S,
    RESERVE_S,
    Limit,
    carry_out,
    is_done,
    records_in,
    state,
)

from .conftest import FIXTURES, MACHINE, ROOT, STAND_IN, TINY, UUID

ABSENT = "broken_adapters:NeedsAnotherMachine"
# nobody waits for a quiet machine in tests
QUICK = Extent(rounds=1, seconds=0.02, patience_s=0.0)


@pytest.fixture(autouse=True, scope="module")
def stand_in(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FIXTURES))
        patch.setenv("STAND_IN_CUDA", UUID)
        patch.setenv("STAND_IN_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def plan(tiny_file, cache_dir):
    """Two parts, with a backend that is not there in the first."""
    found = look_at(["numpy", STAND_IN, ABSENT], open_session=False)
    parts = (Part(str(tiny_file), (8,)), Part(str(tiny_file), (4,)))
    return planned(found, MACHINE, cache_dir, parts, QUICK)


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """The records of a check without a limit."""
    path = tmp_path_factory.mktemp("whole") / "whole.jsonl"
    assert "complete" == carry_out(plan, path, Limit(None), MACHINE, Observer())
    return records_in(path)


def facts(records):
    """How often each thing that was found out stands in a file."""
    found = collections.Counter()
    for line in (line for record in records for line in record.lines):
        match line:
            case Skip():
                found[("skip", line.case)] += 1
            case Verification():
                found[("verification", line.case.configuration, line.status)] += 1
            case Process():
                found[("process", line.case, line.round, line.status)] += 1
    return found


def rounds_of(record):
    """The cases that were measured in each attempt at each round, by batch size and round."""
    rounds = collections.defaultdict(lambda: collections.defaultdict(set))
    for line in record.lines:
        if isinstance(line, Process):
            rounds[line.case.batch, line.round][line.attempt].add(line.case)
    return rounds


class Scripted(Observer):
    """A clock that goes on by some seconds with each process, and the alarm that it sets off."""

    def __init__(self, seconds_a_process):
        self.now_s, self.rings_s = 1000.0, None
        self.step_s = seconds_a_process
        self.late = []

    def limit(self, seconds):
        return Limit(seconds, lambda: self.now_s, self.set)

    def set(self, seconds):
        self.rings_s = self.now_s + seconds if seconds else None

    def phase(self, case, round, phase):
        if self.rings_s is not None and self.now_s > self.rings_s:
            self.late.append(phase)

    def line(self, line):
        if isinstance(line, Process | Verification):
            self.now_s += self.step_s
            if self.rings_s is not None and self.now_s >= self.rings_s:
                raise KeyboardInterrupt


def test_slices_that_end_by_their_limit_add_up_to_the_whole_with_nothing_twice_but_rounds_that_were_cut(
    plan, whole, tmp_path
):
    path, slices = tmp_path / "a.jsonl", 0
    before = b""
    while True:
        slices += 1
        clock = Scripted(10.0)
        ended = carry_out(plan, path, clock.limit(RESERVE_S + 45), MACHINE, clock)
        assert [] == clock.late
        assert clock.rings_s is None
        assert path.read_bytes().startswith(before)
        before = path.read_bytes()
        if ended == "complete":
            break
        assert not is_done(plan, records_in(path))
    records = records_in(path)
    assert slices >= 3
    assert 2 == len(records)
    assert all(map(is_complete, records))
    expected = facts(whole)
    found = facts(records)
    assert {1} == set(expected.values())
    assert expected.keys() == found.keys()
    # a round that the limit cut begins anew, since its processes run side by side; nothing else is there twice
    twice = {what for what in found if found[what] > 1}
    assert all(what[0] == "process" for what in twice)
    for record in records:
        for (batch, number), attempts in rounds_of(record).items():
            cases = {what[1] for what in expected if what[0] == "process"}
            cases &= {case for case in record.header.cases if case.batch == batch}
            whole_ones = [each for each in attempts.values() if each == cases]
            assert 1 == len(whole_ones), (batch, number)
            assert attempts[max(attempts)] == cases
    assert is_done(plan, records)
    assert 0 == state(plan, records).missing
    # and once more there is nothing to do
    assert "complete" == carry_out(plan, path, Limit(None), MACHINE, Observer())
    assert before == path.read_bytes()


def test_nothing_is_begun_with_too_little_time_left(plan, tmp_path):
    path, clock = tmp_path / "a.jsonl", Scripted(1.0)
    limit = clock.limit(RESERVE_S + LEAST_S - 1)
    assert "limit" == carry_out(plan, path, limit, MACHINE, clock)
    assert not path.exists()
    assert state(plan, records_in(path)).missing == sum(len(each.cases) for each in plan)


def test_the_alarm_ends_what_goes_on_in_time():
    limit = Limit(RESERVE_S + 0.3)
    with pytest.raises(KeyboardInterrupt), limit.kept():
        time.sleep(60)
    assert limit.is_over
    # and is called off by then
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)


def test_ctrl_c_before_the_limit_is_no_end_of_a_slice(plan, tmp_path):
    class Impatient(Observer):
        def line(self, line):
            if isinstance(line, Verification):
                raise KeyboardInterrupt

    path = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan[1:], path, Limit(3600), MACHINE, Impatient())
    assert "interrupted" == records_in(path)[-1].end.status
    assert "complete" == carry_out(plan[1:], path, Limit(None), MACHINE, Observer())


def test_a_check_that_was_killed_is_completed(plan, whole, tmp_path, tiny_file, cache_dir):
    path = tmp_path / "a.jsonl"
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[str(FIXTURES), str(ROOT / "tools")]!r}
        from pathlib import Path
        from gpu_check.parts import Extent, Part, planned
        from gpu_check.slices import Limit, carry_out
        from dlbench.execute.probe import look_at
        from dlbench.execute.events import Observer
        from dlbench.record.schema import Machine

        class Tell(Observer):
            def line(self, line):
                print("line", flush=True)

        machine = Machine("test", None, None, 1, None, ("Test GPU, 1 GiB",), "test", "3", {{}})
        found = look_at(["numpy", {STAND_IN!r}, {ABSENT!r}], open_session=False)
        parts = (Part({str(tiny_file)!r}, (8,)), Part({str(tiny_file)!r}, (4,)))
        plan = planned(found, machine, Path({str(cache_dir)!r}), parts, Extent(1, 0.02, patience_s=0.0))
        carry_out(plan, Path({str(path)!r}), Limit(None), machine, Tell())
    """)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(6):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    before = path.read_bytes()
    kept = before[: before.rfind(b"\n") + 1]
    assert "complete" == carry_out(plan, path, Limit(None), MACHINE, Observer())
    assert path.read_bytes().startswith(kept)
    records = records_in(path)
    assert facts(whole) == facts(records)
    assert any(isinstance(line, Resumed) for record in records for line in record.lines)


def test_a_part_that_is_gone_on_with_waits_as_long_as_one_that_is_begun(
    plan, tmp_path, monkeypatch
):
    path, clock, asked = tmp_path / "a.jsonl", Scripted(10.0), []
    assert "limit" == carry_out(plan[:1], path, clock.limit(RESERVE_S + 25), MACHINE, clock)

    def resume(request, *rest):
        asked.append(request.patience_s)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "resume", resume)
    patient = dataclasses.replace(
        plan[0], request=dataclasses.replace(plan[0].request, patience_s=7.0)
    )
    with pytest.raises(KeyboardInterrupt):
        carry_out([patient], path, Limit(None), MACHINE, Observer())
    assert [7.0] == asked


def test_a_file_that_was_cut_off_in_its_first_line_is_begun_again(plan, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"kind":"header","sch')
    assert () == records_in(path)
    assert "complete" == carry_out(plan[1:], path, Limit(None), MACHINE, Observer())
    assert 1 == len(records_in(path))


def test_nothing_is_put_behind_a_record_that_lacks_something(plan, tmp_path):
    path, clock = tmp_path / "a.jsonl", Scripted(10.0)
    assert "limit" == carry_out(plan[:1], path, clock.limit(RESERVE_S + 25), MACHINE, clock)
    before = path.read_bytes()
    with pytest.raises(DlbenchError, match="cannot be resumed here; start a new file"):
        carry_out(plan[1:], path, Limit(None), MACHINE, Observer())
    assert before == path.read_bytes()


def test_another_machine_is_refused_with_the_difference(plan, tmp_path):
    path, clock = tmp_path / "a.jsonl", Scripted(10.0)
    assert "limit" == carry_out(plan, path, clock.limit(RESERVE_S + 25), MACHINE, clock)
    before = path.read_bytes()
    other = msgspec.structs.replace(MACHINE, cpu="another")
    with pytest.raises(DlbenchError, match="the CPU is test in the record and another now"):
        carry_out(plan, path, Limit(None), other, Observer())
    assert before == path.read_bytes()
