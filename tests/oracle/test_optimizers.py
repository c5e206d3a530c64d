import dataclasses

import numpy as np
import pytest

from dlbench.oracle import optimizers
from dlbench.oracle.optimizers import Update
from dlbench.spec.training import Adadelta, Adagrad, Adam, AdamW, RMSprop, Sgd

torch = pytest.importorskip("torch")

STEPS = 5
SHAPES = {"a": (3, 4), "b": (5,)}
OPTIMIZERS = {
    "sgd": Sgd(learning_rate=0.3),
    "sgd, decay": Sgd(learning_rate=0.3, weight_decay=0.1),
    "momentum": Sgd(learning_rate=0.3, momentum=0.9),
    "momentum, decay": Sgd(learning_rate=0.3, momentum=0.9, weight_decay=0.1),
    "nesterov, decay": Sgd(learning_rate=0.3, momentum=0.8, nesterov=True, weight_decay=0.1),
    "adam": Adam(learning_rate=0.05, eps=1e-3),
    "adam, decay": Adam(learning_rate=0.05, beta1=0.8, beta2=0.95, weight_decay=0.1),
    "adamw": AdamW(learning_rate=0.05),
    "adamw, decay": AdamW(learning_rate=0.05, beta1=0.8, beta2=0.95, eps=0.1, weight_decay=0.3),
    "adagrad": Adagrad(learning_rate=0.1),
    "adagrad, decay": Adagrad(learning_rate=0.1, eps=0.2, weight_decay=0.1),
    "rmsprop": RMSprop(learning_rate=0.01),
    "rmsprop, decay": RMSprop(learning_rate=0.01, rho=0.8, eps=0.1, weight_decay=0.1),
    "rmsprop, momentum": RMSprop(learning_rate=0.01, momentum=0.9, weight_decay=0.1),
    "adadelta": Adadelta(learning_rate=1.0),
    "adadelta, decay": Adadelta(learning_rate=0.5, rho=0.8, eps=0.1, weight_decay=0.1),
}


def rival(rule, leaves):
    """PyTorch's optimizer for the same rule."""
    shared = {"lr": rule.learning_rate, "weight_decay": rule.weight_decay}
    match rule:
        case Sgd():
            return torch.optim.SGD(leaves, momentum=rule.momentum, nesterov=rule.nesterov, **shared)
        case Adam() | AdamW():
            kind = torch.optim.Adam if isinstance(rule, Adam) else torch.optim.AdamW
            return kind(leaves, betas=(rule.beta1, rule.beta2), eps=rule.eps, **shared)
        case Adagrad():
            return torch.optim.Adagrad(leaves, eps=rule.eps, **shared)
        case RMSprop():
            more = {"alpha": rule.rho, "momentum": rule.momentum}
            return torch.optim.RMSprop(leaves, eps=rule.eps, **more, **shared)
        case Adadelta():
            return torch.optim.Adadelta(leaves, rho=rule.rho, eps=rule.eps, **shared)


@pytest.mark.parametrize("piece", [3, 2**15])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_at_changing_learning_rates_agree_with_pytorch_in_float64(
    name, piece, monkeypatch
):
    monkeypatch.setattr(optimizers, "_PIECE", piece)
    rule, random = OPTIMIZERS[name], np.random.default_rng(0)
    weights = {key: random.normal(size=shape) for key, shape in SHAPES.items()}
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in weights.items()}
    theirs, ours = rival(rule, list(leaves.values())), Update(rule)
    for step in range(STEPS):
        rate = rule.learning_rate * (1, 3, 0.5, 1, 0.1)[step]
        gradients = {key: random.normal(size=shape) for key, shape in SHAPES.items()}
        weights = ours.step(weights, gradients, rate)
        theirs.param_groups[0]["lr"] = rate
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(gradients[key])
        theirs.step()
        for key, leaf in leaves.items():
            np.testing.assert_allclose(
                weights[key], leaf.detach().numpy(), rtol=1e-12, atol=1e-13, err_msg=f"step {step}"
            )


@pytest.mark.parametrize("name", ["momentum, decay", "adamw, decay", "rmsprop, decay"])
def test_a_decay_of_weights_alone_leaves_biases_and_norms_to_their_gradients(name):
    names = ("conv1.weight", "conv1.bias", "norm1.scale", "norm1.shift")
    weights = {key: np.full(3, 2.0) for key in names}
    gradients = {key: np.full(3, 0.5) for key in names}

    def after(**changes):
        rule = dataclasses.replace(OPTIMIZERS[name], **changes)
        return Update(rule).step(weights, gradients, rule.learning_rate)

    left_alone, with_decay = after(decay_biases_and_norms=False), after()
    without = after(weight_decay=0.0)
    np.testing.assert_array_equal(left_alone["conv1.weight"], with_decay["conv1.weight"])
    for key in names[1:]:
        np.testing.assert_array_equal(left_alone[key], without[key])
        assert np.all(left_alone[key] != with_decay[key])


def test_arrays_without_a_gradient_stay_as_they_are():
    weights = {"w": np.ones(3), "w.running_mean": np.ones(3)}
    after = Update(Sgd(learning_rate=1.0, weight_decay=0.5)).step(weights, {"w": np.ones(3)}, 1.0)
    np.testing.assert_array_equal(after["w.running_mean"], np.ones(3))
    np.testing.assert_array_equal(after["w"], np.full(3, -0.5))
    np.testing.assert_array_equal(weights["w"], np.ones(3))
