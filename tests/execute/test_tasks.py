"""What a record lacks, and what is run again beside that."""

import msgspec
from record_makers import make_header
from windows import BURNING, CASE, OTHER, QUIET

from dlbench.execute import tasks
from dlbench.execute.tasks import Task, held_by, missing
from dlbench.record.schema import Process, Record, Verification

FAR = msgspec.structs.replace(CASE, batch=64)


def target_record(rounds, *, target=0.01, end=None):
    """A record of one case whose rounds took these times (ms), with a target for its interval."""
    header = make_header([CASE], rounds=6, target_interval=target)
    lines = [Verification(CASE, "ok", "", (), None, 0, "", {}, {})]
    for number, attempts in enumerate(rounds, 1):
        for attempt, (ms, during) in enumerate(attempts):
            times = {"timings_ns": (round(1e6 * ms),), "during": during, "attempt": attempt}
            lines.append(Process(CASE, number, "ok", "", **times))
    return Record(header, (*lines, *([end] if end else [])))


def test_of_a_round_that_was_measured_again_the_process_that_counts_is_gone_on_from():
    record = target_record([[(9.0, BURNING), (1.0, QUIET)], [(2.0, QUIET)], [(7.0, BURNING)]])
    kept = held_by(record).processes[CASE]
    assert {1: (1_000_000,), 2: (2_000_000,), 3: (7_000_000,)} == {
        number: line.timings_ns for number, line in kept.items()
    }
    lacking = set(tasks.planned(CASE, record.header)) - held_by(record).tasks
    assert {Task(Process, CASE, number) for number in (4, 5, 6)} == lacking


def test_a_record_whose_intervals_are_still_wide_lacks_processes_until_their_number_is_spent():
    wide, narrow = [(1.0, QUIET)], [(1.001, QUIET)]
    wider = [(2.0, QUIET)]
    assert (CASE,) == missing(target_record([wide, wider] * 3))
    assert () == missing(target_record([wide, narrow] * 3))
    assert () == missing(target_record([wide, wider] * 3, target=None))
    # six rounds, and as many processes more
    assert (CASE,) == missing(target_record([wide, wider] * 5))
    assert () == missing(target_record([wide, wider] * 6))


def cut_record(*there, rounds=3, **header):
    """A record of these processes, each a case, a round and how it ended, of a run of two cases side by side and of one
    of another batch size."""
    lines = [
        Process(case, number, status, "", timings_ns=(1_000_000,) * (status == "ok"))
        for case, number, status in there
    ]
    verified = [Verification(case, "ok", "", (), None, 0, "", {}, {}) for case in (CASE, FAR)]
    return Record(make_header([CASE, OTHER, FAR], rounds=rounds, **header), (*verified, *lines))


def rounds_of(case, count):
    """All is well in these rounds of a case."""
    return [(case, number + 1, "ok") for number in range(count)]


def test_what_is_measured_beside_something_that_is_missing_runs_again():
    all_of_far = rounds_of(FAR, 3)
    cut = cut_record(*rounds_of(CASE, 3), *rounds_of(OTHER, 2), *all_of_far)
    assert (OTHER,) == missing(cut)
    assert (CASE, OTHER) == tasks.to_run(cut)
    whole = cut_record(*rounds_of(CASE, 3), *rounds_of(OTHER, 3), *all_of_far)
    assert () == tasks.to_run(whole)


def test_what_went_wrong_is_not_run_again_beside_others():
    there = [*rounds_of(CASE, 1), (CASE, 2, "failed"), *rounds_of(OTHER, 2), *rounds_of(FAR, 3)]
    assert (OTHER,) == tasks.to_run(cut_record(*there))


def test_a_training_that_is_missing_has_no_round_measured_again():
    there = [*rounds_of(CASE, 3), *rounds_of(OTHER, 3), *rounds_of(FAR, 3)]
    assert (CASE, FAR) == tasks.to_run(cut_record(*there, epochs=1))
