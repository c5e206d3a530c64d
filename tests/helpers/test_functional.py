"""The base for functional frameworks, under the JAX backend and under another framework."""

import numpy as np
import pytest

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.errors import ContractError, PlanRefused
from dlbench.helpers.functional import Framework, FunctionalAdapter
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify

pytest.importorskip("jax")
from dlbench.backends.jax.adapter import Adapter

PLAN = Plan("jax", "cpu", 4, 1, seed=7)


@pytest.fixture(scope="module")
def adapter():
    """One for all tests here that need not see it compile."""
    return Adapter()


def workload(**more):
    table = {
        "input_shape": [2, 5, 4],
        "layers": [
            {"type": "conv2d", "out_channels": 3, "kernel": 3},
            {"type": "batch_norm"},
            {"type": "dropout", "rate": 0.5},
            {"type": "flatten"},
            {"type": "linear", "out_features": 3},
        ],
        "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    }
    return read_workload(table | more)


def opened(adapter, **more):
    chosen = workload(**more)
    session = adapter.open(PLAN, chosen, initial_weights(chosen, 0))
    inputs = np.random.default_rng(0).standard_normal((4, 2, 5, 4), np.float32)
    return session, session.upload(inputs, np.arange(4) % 3)


def test_functions_are_compiled_once_for_all_sessions_that_differ_in_weights_and_rate():
    adapter = Adapter()
    traced = []
    real = adapter.layer
    adapter.layer = lambda node, x, run: traced.append(node.name) or real(node, x, run)
    small = {"layers": [{"type": "flatten"}, {"type": "linear", "out_features": 3}]}
    first, batch = opened(adapter, **small)
    first.train_step(batch)
    assert traced
    traced.clear()
    second, batch = opened(
        adapter, **small, optimizer={"type": "sgd", "learning_rate": 0.5, "momentum": 0.9}
    )
    second.train_step(batch)
    assert [] == traced
    third, batch = opened(adapter, **small, optimizer={"type": "adam", "learning_rate": 0.5})
    third.train_step(batch)
    assert traced


def test_an_array_that_numpy_cannot_take_asks_for_a_get_of_ones_own():
    class Foreign:
        def __array__(self, *arguments, **options):
            raise ValueError("setting an array element with a sequence")

    with pytest.raises(ContractError, match=r"sequence\); override get\(\) of FunctionalAdapter"):
        FunctionalAdapter().get(Foreign(), "outputs")


def test_sessions_that_share_functions_share_no_state(adapter):
    one, batch = opened(adapter)
    other, _ = opened(adapter)
    before = other.weights()
    for _ in range(3):
        one.train_step(batch)
    one.learning_rate = 0.0
    for name, value in other.weights().items():
        np.testing.assert_array_equal(before[name], value)
    assert 0.1 == other.learning_rate


def test_a_step_gives_its_old_state_away(adapter):
    """Its memory is used again: the arrays of the state before are gone."""
    session, batch = opened(adapter)
    before = session._state["trained"]["conv1.weight"]
    session.train_step(batch)
    session.synchronize()
    assert before.is_deleted()


def test_results_and_weights_outlive_the_steps_behind_them(adapter):
    session, batch = opened(adapter)
    logits, loss, weights = session.infer(batch), session.train_step(batch), session.weights()
    kept = {name: value.copy() for name, value in weights.items()}
    first = session.download(logits).copy(), session.download(loss).copy()
    for _ in range(3):
        session.train_step(batch)
    session.synchronize()
    np.testing.assert_array_equal(first[0], session.download(logits))
    np.testing.assert_array_equal(first[1], session.download(loss))
    for name, value in kept.items():
        np.testing.assert_array_equal(value, weights[name])
    assert all((session.weights()[name] != kept[name]).any() for name in kept)


def test_masks_differ_from_step_to_step_also_behind_a_load(adapter):
    session, batch = opened(adapter)
    start = session.weights()
    losses = []
    for _ in range(4):
        session.load(start)
        losses.append(float(session.download(session.train_step(batch))))
    assert 4 == len(set(losses))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "tf32"}, "JAX computes in fp32, not in 'tf32'"),
        ({"mode": "eager"}, "JAX has one way of executing; it has no 'eager'"),
    ],
)
def test_what_info_does_not_name_is_refused(adapter, changes, message):
    chosen = workload()
    with pytest.raises(PlanRefused) as refused:
        adapter.open(Plan(**{**vars(PLAN), **changes}), chosen, initial_weights(chosen, 0))
    assert message == str(refused.value)


def test_what_the_author_lacks_is_refused():
    kind = type("Smaller", (Adapter,), {"has": [], "title": "smaller"})
    chosen = workload()
    with pytest.raises(PlanRefused, match=r"^smaller has no conv2d$"):
        kind().open(PLAN, chosen, initial_weights(chosen, 0))


def functional_torch(moves=True):
    """An adapter of a second framework: arrays of another kind, made otherwise, gradients in another order, nothing
    compiled; running statistics move only where `moves`."""
    torch = pytest.importorskip("torch")

    class Torch(FunctionalAdapter):
        title = "torch.func"
        has = (spec.Conv2d, spec.BatchNorm, spec.Flatten, spec.Linear, *training.LOSSES.values())
        has = (*has, spec.Tanh, training.Adam, training.Sgd)

        def info(self):
            return BackendInfo(torch.__version__, (Device("cpu", "CPU"),))

        def framework(self):
            def differentiate(function):
                gradients_first = torch.func.grad_and_value(function, has_aux=True)
                return lambda *arguments: gradients_first(*arguments)[::-1]

            return Framework(torch, lambda function, _: function, differentiate, lambda _: None)

        def put(self, array, role):
            return torch.tensor(array)

        def layer(self, node, x, run):
            own = run.own(node)
            match node.layer:
                case spec.Conv2d() as conv:
                    return torch.conv2d(
                        x, own["weight"], own.get("bias"), conv.stride, conv.padding
                    )
                case spec.Linear():
                    return torch.nn.functional.linear(x, own["weight"], own.get("bias"))
                case spec.Tanh():
                    return torch.tanh(x)
                case spec.Flatten():
                    return x.reshape(len(x), -1)
                case spec.BatchNorm() as norm:
                    mean, variance = own["running_mean"], own["running_variance"]
                    if run.training:
                        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
                        if moves:
                            values = x.numel() // x.shape[1]
                            run.move(node, mean, variance, values, norm.momentum)
                    x = (x - mean[:, None, None]) / torch.sqrt(variance + norm.eps)[:, None, None]
                    return x * own["scale"][:, None, None] + own["shift"][:, None, None]

        def loss(self, loss, outputs, targets):
            if isinstance(loss, training.CrossEntropy):
                return torch.nn.functional.cross_entropy(outputs, targets)
            return torch.square(outputs - targets).mean()

    return Torch()


NORMED = {
    "layers": [
        {"type": "conv2d", "out_channels": 2, "kernel": 3},
        {"type": "batch_norm"},
        {"type": "flatten"},
        {"type": "linear", "out_features": 3},
    ],
    "optimizer": {"type": "adam", "learning_rate": 0.01},
}


def test_the_base_serves_another_framework(cache_dir):
    assert "" == verify(functional_torch(), PLAN, workload(**NORMED), cache_dir).reason


def test_running_statistics_that_an_author_forgets_are_named(cache_dir):
    reason = verify(functional_torch(moves=False), PLAN, workload(**NORMED), cache_dir).reason
    assert "norm1.running_mean after the step" in reason
