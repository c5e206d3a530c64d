"""Ranks of PyTorch: processes that compute what one would, and none of which is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from orphans import ends

from dlbench.analyse.table import build
from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.record.schema import Process, Skip, Verification
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify
from dlbench.verify.checks.rank_agreement import check_ranks
from dlbench.verify.sessions.guard import Guarded

torch = pytest.importorskip("torch")

import faulty_ranks  # noqa: E402
from dlbench.backends.shared import ranks  # noqa: E402
from dlbench.backends.torch import data_parallel  # noqa: E402
from dlbench.backends.torch.adapter import Adapter  # noqa: E402

HERE = Path(__file__).parent
SMALL = {
    "input_shape": [6],
    "layers": [{"type": "linear", "out_features": 3}],
    "optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9},
}


@pytest.fixture(autouse=True)
def _nobody_is_left():
    yield
    for team in data_parallel._teams:
        team.end()
    data_parallel._teams.clear()


def plan(world, batch=16, **changes):
    return Plan("torch", "cpu", batch, 2, world=world, **changes)


def opened(world=2, batch=16, **changes):
    workload = read_workload(SMALL)
    session = Adapter().open(plan(world, batch, **changes), workload, initial_weights(workload, 0))
    random = np.random.default_rng(0)
    inputs = random.standard_normal((batch, 6)).astype(np.float32)
    return session, session.upload(inputs, np.arange(batch) % 3)


def take_steps(session, batch, steps=1):
    for _ in range(steps):
        session.train_step(batch)
        session.synchronize()


def test_ranks_on_gpus_have_one_each_and_nccl_between_them(monkeypatch):
    cpu, first = torch.device("cpu"), torch.device("cuda:1")
    assert ("gloo", "nccl") == tuple(map(data_parallel.group_backend, (cpu, first)))
    assert cpu == data_parallel.own_device(cpu, 1)
    assert [1, 2, 3] == [data_parallel.own_device(first, rank).index for rank in range(3)]
    workload = read_workload(SMALL)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(PlanRefused, match="2 ranks need a GPU each; from cuda:1 on there are 1"):
        data_parallel.refuse(plan(2), workload, first)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(PlanRefused, match="ranks on GPUs need NCCL"):
        data_parallel.refuse(plan(2), workload, torch.device("cuda:0"))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_agree_with_the_oracle(world, cache_dir):
    workload = load_suite("smoke").workload
    found = verify(Adapter(), plan(world), workload, cache_dir)
    assert "" == found.reason
    assert (2 if world == 2 else 4, world) == (found.facts["threads"], found.facts["ranks"])
    assert ("gloo", 1) == (found.facts["all_reduce"], found.facts["rank_threads"])


def test_ranks_normalise_their_own_parts_and_have_rank_0s_running_statistics(cache_dir):
    layers = [
        {"type": "conv2d", "out_channels": 4, "kernel": 3, "bias": False},
        *({"type": "batch_norm"}, {"type": "relu"}, {"type": "flatten"}),
        *({"type": "linear", "out_features": 6}, {"type": "batch_norm"}, {"type": "tanh"}),
        {"type": "linear", "out_features": 3},
    ]
    workload = read_workload({**SMALL, "input_shape": [2, 6, 6], "layers": layers})
    found = verify(Adapter(), plan(2, 32), workload, cache_dir)
    assert "" == found.reason


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sum", "gradients are summed over ranks, not averaged"),
        ("same samples", "every rank has the samples of rank 0"),
        ("own gradients", "rank 1 has other parameters than rank 0 after step 1"),
        ("bfloat16", "gradients are averaged in bfloat16, not in float32"),
        ("batch before", "rank 1 is one step behind: it has its part of the batch before"),
        ("no update", "rank 1 does not take the steps"),
    ],
)
def test_a_fault_of_ranks_is_told_by_its_name(fault, said, monkeypatch):
    monkeypatch.setenv(faulty_ranks.FAULT, fault)
    checks = check_ranks(Guarded(faulty_ranks.Adapter()), plan(2))
    failed = [check.sentence() for check in checks if not check.passed]
    assert any(said in sentence for sentence in failed), failed


def test_every_rank_tells_its_weights_and_how_long_it_computes():
    session, batch = opened()
    take_steps(session, batch, 3)
    first, second = session.rank_weights()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    alone = session.alone_ns(batch, 5)
    assert [5, 5] == [len(each) for each in alone]
    assert all(each > 0 for own in alone for each in own)
    # each went its own way
    first, second = session.rank_weights()
    assert not any(np.array_equal(first[name], second[name]) for name in first)


def test_what_nobody_has_any_more_the_ranks_forget():
    session, batch = opened()
    for _ in range(50):
        session.infer(batch)
        session.train_step(batch)
    things = session._team.own._things
    # rank 0 keeps its parts where the others keep theirs
    assert len(things) < 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 15}, "a batch of 15 cannot be cut evenly for 2 ranks"),
        ({"mode": "compile"}, "torch on several ranks has one mode, eager"),
        ({"precision": "bf16"}, "torch on several ranks computes in fp32"),
        ({"world": 3}, "torch trains on 1 or 2 or 4 or 8 ranks, not on 3"),
    ],
)
def test_what_several_ranks_do_not_do_is_refused(changes, said):
    workload = read_workload(SMALL)
    with pytest.raises(PlanRefused, match=said):
        Adapter().open(plan(**({"world": 2} | changes)), workload, initial_weights(workload, 0))
    assert not data_parallel._teams


def test_a_rank_that_is_killed_is_the_reason():
    session, batch = opened()
    take_steps(session, batch)
    (pid,) = session._team.others.processes
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ranks.RankError, match="rank 1 of 2 has died: SIGKILL"):
        take_steps(session, batch, 100)
    assert ends(pid)
    # another session is none the worse
    take_steps(*opened())


def test_a_rank_that_hangs_is_the_reason_and_is_ended(monkeypatch):
    monkeypatch.setattr(ranks, "ANSWER_S", 8.0)
    session, batch = opened()
    (pid,) = session._team.others.processes
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ranks.RankError, match="rank 1 of 2 has not answered for 8 s"):
        take_steps(session, batch)
    assert ends(pid)


def test_what_a_rank_raises_is_the_reason_and_the_others_end():
    session, batch = opened(4)
    others, right = session._team.others, (session._session.number,)
    pids = others.processes
    others.tell_each("synchronize", [(), right, (10**6,), right])
    with pytest.raises(ranks.RankError, match="rank 2 of 4: KeyError"):
        take_steps(session, batch, 100)
    assert all(map(ends, pids))


def test_what_a_rank_raised_is_the_reason_when_it_is_told_something_after_its_end():
    session, batch = opened()
    others = session._team.others
    others.tell("synchronize", 10**6)
    assert all(map(ends, others.processes))
    with pytest.raises(ranks.RankError, match="rank 1 of 2: KeyError"):
        take_steps(session, batch)


SCRIPT = """
    import sys
    sys.path[:0] = {tests!r}
    from test_torch_ranks import opened
    session, batch = opened(2)
    print(*session._team.others.processes, flush=True)
"""


@contextlib.contextmanager
def script(rest):
    code = textwrap.dedent(SCRIPT.format(tests=[str(HERE), str(HERE.parent / "support")])) + rest
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("doing", ["sys.stdin.read()", "while True: session.train_step(batch)"])
def test_no_rank_outlives_rank_0_when_that_is_killed(doing):
    with script(doing) as process:
        (pid,) = map(int, process.stdout.readline().split())
        time.sleep(0.2)
        process.kill()
    assert ends(pid)


def test_no_rank_outlives_a_process_that_ends_by_itself():
    with script("session.train_step(batch)") as process:
        (pid,) = map(int, process.stdout.readline().split())
        assert 0 == process.wait(60)
    assert ends(pid)


def test_a_run_times_ranks_beside_one_and_says_what_they_cost_each_other(request_for, carry_out):
    ran = carry_out(
        request_for(backends=("torch",), scenarios=("train",), worlds=(1, 2, 3), rounds=2)
    )
    assert "complete" == ran.end.status
    lines = {(line.case.world, line.round): line for line in ran.of(Process)}
    assert {(world, number) for world in (1, 2) for number in (1, 2)} == lines.keys()
    assert {"ok"} == {line.status for line in lines.values()}, [
        line.reason for line in lines.values()
    ]
    assert lines[1, 1].rank_steps is None
    steps = lines[2, 1].rank_steps
    assert 2 == len(steps.alone_ns)
    assert all(map(len, (steps.together_ns, *steps.alone_ns)))
    (skipped,) = ran.of(Skip)
    assert (3, "this backend trains on 1 and 2 and 4 and 8 ranks, not on 3") == (
        skipped.case.world,
        skipped.reason,
    )
    found = {row["world"]: row for row in build([("a.jsonl", ran.record)]).frame.to_dict("records")}
    assert found[2]["scaling_low"] <= found[2]["scaling"] <= found[2]["scaling_high"]
    assert found[2]["communication_share"] < 1
    assert found[2]["rank_spread"] >= 0


def test_a_rank_that_dies_in_a_run_ends_its_case_with_the_reason(
    request_for, carry_out, monkeypatch
):
    monkeypatch.setenv(faulty_ranks.FAULT, "dies")
    chosen = {"worlds": (1, 2), "rounds": 1, "scenarios": ("train",)}
    ran = carry_out(request_for(backends=("faulty_ranks:Adapter",), **chosen))
    (one,) = [line for line in ran.of(Process) if line.case.world == 1]
    assert "ok" == one.status, one.reason
    (two,) = [line for line in ran.of(Verification) if line.case.world == 2]
    assert "failed" == two.status
    assert "rank 1 of 2 has died: SIGKILL" in two.reason
