"""Recorded steps of PyTorch without a GPU: a stand-in repeats the recorded call on what it read then, as a replay does.

It cannot show that CUDA records what is asked of it. It does show what the sessions owe a recording: that nothing it
reads is ever replaced, that each batch has its own, that its results last, and when it is made.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dlbench.backends.torch import graphs, layers, modes  # noqa: E402

from dlbench.errors import PlanRefused  # noqa: E402
from dlbench.spec.training import Adagrad  # noqa: E402

SGD = {"type": "sgd", "learning_rate": 0.125, "momentum": 0.9}
LAYERS = (
    {"type": "conv2d", "out_channels": 3, "kernel": 3, "bias": False},
    {"type": "batch_norm"},
    {"type": "relu"},
    {"type": "flatten"},
    {"type": "linear", "out_features": 3},
)


class Recorder(graphs.Recorder):
    """Records on the CPU: a replay is the call again, into the memory of the first result."""

    def __init__(self, device):
        self.recorded = 0

    def record(self, call):
        self.recorded += 1
        kept = []

        def replay():
            result = call()
            if not kept:
                kept.append(result.clone())
            with torch.inference_mode():
                kept[0].copy_(result)
            return kept[0]

        return replay


@pytest.fixture
def recorded(lab_of, monkeypatch):
    """Opens a session of LAYERS whose steps are recorded, beside a plain one at the same weights."""
    lab = lab_of("torch")
    recorders = []

    def recorder(device):
        recorders.append(Recorder(device))
        return recorders[-1]

    monkeypatch.setattr(graphs, "Recorder", recorder)
    monkeypatch.setattr(modes, "find", lambda name, device: modes._MODES[name])

    def opened(precision="fp32"):
        workload = lab.workload(LAYERS, (2, 6, 7), optimizer=SGD)
        sessions = [
            lab.open(workload, lab.weights(workload), mode=mode, precision=precision)
            for mode in ("cuda-graph", "eager")
        ]
        arrays = [lab.batch(workload, seed=seed) for seed in (1, 2)]
        return sessions, arrays, recorders[0], lab.weights(workload, seed=5)

    return opened


def pointers(session):
    """Where everything lies that a step reads or writes."""
    states = session._optimizer.state.values()
    moments = [t for state in states for t in state.values() if t is not None]
    rounded = [buffer for _, buffer in session._network.named_buffers()]
    rates = [group["lr"] for group in session._optimizer.param_groups]
    return [t.data_ptr() for t in (*session._network.arrays.values(), *moments, *rounded, *rates)]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_replayed_steps_are_the_plain_ones(recorded, precision):
    sessions, arrays, recorder, other = recorded(precision)
    seen = []
    for session in sessions:
        batches = [session.upload(*each) for each in arrays]
        results = []
        for turn in range(6):
            if turn == 2:
                session.learning_rate = 0.5
            if turn == 4:
                session.load(other)
            results.append(session.train_step(batches[turn % 2]))
            results.append(session.infer(batches[turn % 2]))
        # read only now: a replay must not have taken them back
        seen.append(
            [session.download(result) for result in results] + [*session.weights().values()]
        )
    for mine, plain in zip(*seen, strict=True):
        np.testing.assert_allclose(mine, plain, 1e-5, 1e-6)
    # training and inference, of each batch
    assert recorder.recorded == 4


def test_a_batch_that_is_used_once_is_not_recorded(recorded):
    (session, _), arrays, recorder, _ = recorded()
    for _ in range(3):
        session.train_step(session.upload(*arrays[0]))
    assert recorder.recorded == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_that_a_recording_reads_is_replaced(recorded, precision):
    (session, _), arrays, _, other = recorded(precision)
    batch = session.upload(*arrays[0])
    session.train_step(batch)
    session.infer(batch)
    before = pointers(session)
    session.learning_rate = 0.25
    session.load(other)
    session.load(other, keep_optimizer=True)
    session.weights()
    session.train_step(batch)
    session.infer(batch)
    assert pointers(session) == before


def test_an_optimizer_that_reads_its_learning_rate_on_the_host_is_refused():
    network = layers.Network(())
    with pytest.raises(PlanRefused, match="Adagrad reads its learning rate on the host"):
        layers.make_optimizer(Adagrad(learning_rate=0.1), network, torch.device("cpu"))
