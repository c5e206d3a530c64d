"""Two workers of a run that live side by side and take turns, under the stub: who is sampled beside whom, and when."""

import json

import pytest

# two processes that do nothing stand for workers; the first times a second case when both have timed one
TAKING_TURNS = """
import json, os, subprocess, sys, time
from pathlib import Path
import msgspec
from dlbench.record.schema import Case
from dlbench.telemetry.watch import Watcher

def case(backend, scenario="train"):
    return Case("tiny", scenario, backend, "cuda", 50, 1, "fp32", "")

def turn(watch):
    watch.on_turn()
    started_ns = time.perf_counter_ns()
    time.sleep(0.2)
    ended_ns = time.perf_counter_ns()
    watch.off_turn()
    return started_ns, ended_ns

workers = [
    subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1, start_new_session=True)
    for _ in range(2)
]
pids = [worker.pid for worker in workers]
state = Path(os.environ["STAND_IN_STATE"])
(state / "pids").write_text(" ".join(map(str, [*pids, 4194301])))
facts = {"device_uuid": "11111111-aaaa"}
watcher = Watcher(0.02, lambda case: "nvml")
with watcher.beside(case("a"), 1) as a, watcher.beside(case("b"), 1) as b:
    a.opened(pids[0], facts)
    time.sleep(0.1)
    b.opened(pids[1], facts)
    time.sleep(0.1)
    turns = [(name, *turn(watch)) for name, watch in [*zip("abba", (a, b, b, a))]]
with watcher.beside(case("a", "infer"), 1) as again:
    again.opened(pids[0], facts)
    last = turn(again)
lines = [*a.lines(), *b.lines(), *again.lines()]
watcher.close()
for worker in workers:
    worker.communicate()
told = {"turns": turns, "last": last, "lines": msgspec.to_builtins(lines)}
(state / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture
def told(stubbed, tmp_path):
    done = stubbed().run("-c", TAKING_TURNS)
    assert 0 == done.returncode, done.stderr
    return json.loads((tmp_path / "told.json").read_text())


def times_of(line):
    return line["traces"]["energy_j"]["t_ns"]


def test_only_the_one_on_turn_is_sampled_beside(told):
    a, b, again = told["lines"]
    beside = {"a": times_of(a), "b": times_of(b)}
    own, others = 0, 0
    for on_turn, started_ns, ended_ns in told["turns"]:
        for name, times in beside.items():
            within = sum(started_ns <= t <= ended_ns for t in times)
            if name == on_turn:
                own += within
            else:
                # a pass may be under way when its turn ends, and its last reading may be late
                assert within <= 2
                others += within
    assert own > others
    # who has no more turns is not read any more
    assert sum(t >= told["last"][0] for t in times_of(a)) <= 1
    assert told["last"][1] <= times_of(again)[-1]
    # everything is read as a turn ends
    assert told["turns"][-1][2] <= a["traces"]["temperature_c"]["t_ns"][-1]


def test_each_scenario_of_a_process_has_a_line_of_its_own(told):
    cases = [(line["case"]["backend"], line["case"]["scenario"]) for line in told["lines"]]
    assert [("a", "train"), ("b", "train"), ("a", "infer")] == cases
    assert all(times_of(line) for line in told["lines"])


def test_a_neighbour_of_the_run_is_no_other_process(told):
    for line in told["lines"]:
        traces = line["traces"]
        assert {1} == {*traces["other_processes"]["values"]}
        assert {1} == {*traces["neighbour_processes"]["values"]}
