"""Ranks of TensorFlow: processes that compute what one would, and none of which is left behind."""

import os
import signal

import numpy as np
import pytest
from orphans import ends

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.record.schema import Process
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify
from dlbench.verify.checks.rank_agreement import check_ranks
from dlbench.verify.sessions.guard import Guarded

pytest.importorskip("tensorflow")

import faulty_tensorflow_ranks
from dlbench.backends.shared import ranks
from dlbench.backends.tensorflow import data_parallel
from dlbench.backends.tensorflow.adapter import Adapter

RULE = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
SMALL = {
    "input_shape": [6],
    "layers": [{"type": "linear", "out_features": 3}],
    "optimizer": RULE,
}


@pytest.fixture(autouse=True, scope="module")
def _nobody_is_left():
    yield
    for team in data_parallel._teams.values():
        team.others.end()
    data_parallel._teams.clear()


@pytest.fixture(scope="module")
def fault_file(tmp_path_factory):
    """What it names is wrong with sessions opened from then on; ranks live through several."""
    path = tmp_path_factory.mktemp("fault") / "fault"
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv(faulty_tensorflow_ranks.FAULT_FILE, str(path))
        yield path


def plan(world=2, batch=16, **changes):
    return Plan("tensorflow", "cpu", batch, 2, world=world, **changes)


def opened():
    workload = read_workload(SMALL)
    session = Adapter().open(plan(), workload, initial_weights(workload, 0))
    inputs = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    return session, session.upload(inputs, np.arange(16) % 3)


def take_steps(session, batch, steps=1):
    for _ in range(steps):
        session.train_step(batch)
        session.synchronize()


def test_ranks_agree_with_the_oracle_normalise_their_own_parts_and_draw_their_own_masks(cache_dir):
    layers = [
        {"type": "conv2d", "out_channels": 4, "kernel": 3, "bias": False},
        *({"type": "batch_norm"}, {"type": "relu"}, {"type": "flatten"}),
        *({"type": "linear", "out_features": 6}, {"type": "batch_norm"}, {"type": "tanh"}),
        *({"type": "dropout", "rate": 0.25}, {"type": "linear", "out_features": 3}),
    ]
    workload = read_workload({**SMALL, "input_shape": [2, 6, 6], "layers": layers})
    found = verify(Adapter(), plan(batch=32), workload, cache_dir)
    assert "" == found.reason
    assert (2, 1, 2) == tuple(found.facts[name] for name in ("threads", "rank_threads", "ranks"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sum", "gradients are summed over ranks, not averaged"),
        ("own gradients", "rank 1 has other parameters than rank 0 after step 1"),
        ("bfloat16", "gradients are averaged in bfloat16, not in float32"),
        ("batch before", "rank 1 is one step behind: it has its part of the batch before"),
        ("no update", "rank 1 does not take the steps"),
    ],
)
def test_a_fault_of_ranks_is_told_by_its_name(fault, said, fault_file):
    fault_file.write_text(fault)
    checks = check_ranks(Guarded(faulty_tensorflow_ranks.Adapter()), plan())
    failed = [check.sentence() for check in checks if not check.passed]
    assert any(said in sentence for sentence in failed), failed


def test_a_rank_that_is_killed_is_the_reason_and_another_session_is_none_the_worse():
    session, batch = opened()
    take_steps(session, batch)
    pids = session._team.others.processes
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(ranks.RankError, match="rank 1 of 2 has died: SIGKILL"):
        take_steps(session, batch, 100)
    assert all(map(ends, pids))
    again, batch = opened()
    take_steps(again, batch)
    assert [3, 3] == [len(each) for each in again.alone_ns(batch, 3)]


def test_a_rank_that_hangs_is_the_reason_and_is_ended(monkeypatch):
    monkeypatch.setattr(ranks, "ANSWER_S", 4.0)
    session, batch = opened()
    pids = session._team.others.processes
    os.kill(pids[0], signal.SIGSTOP)
    with pytest.raises(ranks.RankError, match="rank 0 of 2 has not answered for"):
        take_steps(session, batch)
    assert all(map(ends, pids))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 15}, "a batch of 15 cannot be cut evenly for 2 ranks"),
        ({"mode": "xla"}, "tensorflow on several ranks has one mode, graph"),
        ({"precision": "bf16"}, "tensorflow on several ranks computes in fp32"),
        ({"world": 3}, "trains on 1 or 2 or 4 or 8 ranks, not on 3"),
    ],
)
def test_what_several_ranks_do_not_do_is_refused(changes, said):
    workload = read_workload(SMALL)
    with pytest.raises(PlanRefused, match=said):
        Adapter().open(plan(**changes), workload, initial_weights(workload, 0))


def test_a_run_times_ranks(request_for, carry_out):
    ran = carry_out(
        request_for(backends=("tensorflow",), scenarios=("train",), worlds=(2,), rounds=1)
    )
    assert "complete" == ran.end.status
    (line,) = ran.of(Process)
    assert "ok" == line.status, line.reason
    assert 2 == len(line.rank_steps.alone_ns)
