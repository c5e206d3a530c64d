"""A workbench for tests of PyTorch's and TensorFlow's sessions: the same questions put to either."""

import importlib

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload

MODULES = {
    "torch": "dlbench.backends.torch.adapter",
    "tensorflow": "dlbench.backends.tensorflow.adapter",
}
# backends with tests of their own, which compile too long for every question
OTHERS = {"jax": "dlbench.backends.jax.adapter"}
CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
SGD = {"type": "sgd", "learning_rate": 0.1}


class Lab:
    """One backend, and what is put to it: workloads, weights and batches drawn from a seed."""

    IMAGE = (3, 17, 23)
    # No bias before a batch norm but through a nonlinearity: its gradient would be 0.
    EVERYTHING = (
        {"type": "conv2d", "out_channels": 6, "kernel": 5, "stride": 2, "padding": 2}
        | {"bias": False},
        {"type": "batch_norm"},
        {"type": "leaky_relu", "slope": 0.1},
        {"type": "residual", "body": [{**CONVOLUTION, "out_channels": 6}, {"type": "tanh"}]},
        {
            "type": "residual",
            "body": [{**CONVOLUTION, "out_channels": 8, "stride": 2}, {"type": "sigmoid"}],
            "shortcut": "option_a",
        },
        {
            "type": "concat",
            "body": [{**CONVOLUTION, "dilation": 2, "padding": 2}, {"type": "tanh"}],
        },
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1},
        {
            "type": "residual",
            "body": [
                {**CONVOLUTION, "kernel": 1, "padding": 0, "bias": False},
                {"type": "batch_norm"},
            ],
            "shortcut": "projection",
        },
        {"type": "max_pool", "kernel": 2, "stride": 1, "padding": 1},
        {"type": "flatten"},
        {"type": "tanh"},
        {"type": "batch_norm"},
        {"type": "tanh"},
        {"type": "linear", "out_features": 7, "bias": False},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "linear", "out_features": 4, "bias": False},
    )

    def __init__(self, name):
        pytest.importorskip(name)
        self.name = name
        self.adapter = importlib.import_module((MODULES | OTHERS)[name]).Adapter()

    def workload(self, layers, input_shape=IMAGE, loss="cross_entropy", optimizer=SGD):
        return read_workload(
            {
                "input_shape": list(input_shape),
                "layers": list(layers),
                "loss": loss,
                "optimizer": optimizer,
            }
        )

    def weights(self, workload, seed=0):
        """Weights with nothing left at 0 or 1, so that no term can be forgotten unseen."""
        random = np.random.default_rng(seed)
        weights = initial_weights(workload, seed)
        for parameter in workload.parameters:
            noise = random.uniform(-0.3, 0.3, parameter.shape)
            if parameter.role != "weight":
                weights[parameter.name] = (weights[parameter.name] + noise).astype(np.float32)
        return weights

    def batch(self, workload, count=5, seed=1):
        random = np.random.default_rng(seed)
        inputs = random.standard_normal((count, *workload.input_shape)).astype(np.float32)
        if type(workload.loss).__name__ == "CrossEntropy":
            return inputs, random.integers(0, workload.output_shape[0], count)
        targets = random.standard_normal((count, *workload.output_shape))
        return inputs, targets.astype(np.float32)

    def open(self, workload, weights=None, **changes):
        weights = self.weights(workload) if weights is None else weights
        plan = {"backend": self.name, "device": "cpu", "batch": 5, "threads": 2} | changes
        return self.adapter.open(Plan(**plan), workload, weights)

    def infer(self, layers, inputs, weights=None, input_shape=IMAGE):
        """The output of a network of `layers`, and its weights."""
        workload = self.workload(layers, input_shape, loss="mean_squared_error")
        weights = self.weights(workload) if weights is None else weights
        session = self.open(workload, weights, batch=len(inputs))
        targets = np.zeros((len(inputs), *workload.output_shape), np.float32)
        return session.download(session.infer(session.upload(inputs, targets))), weights

    def gradients(self, workload, weights, inputs, targets):
        """Loss and gradients, from a step of plain SGD whose learning rate swamps the weights."""
        session = self.open(workload, weights, batch=len(inputs))
        session.learning_rate = 2.0**20
        loss = session.download(session.train_step(session.upload(inputs, targets)))
        after = session.weights()
        names = [p.name for p in workload.parameters if p.trainable]
        return loss, {n: (weights[n].astype(np.float64) - after[n]) / 2**20 for n in names}


@pytest.fixture(params=list(MODULES))
def lab(request):
    """Each framework that is installed, in turn."""
    return Lab(request.param)


@pytest.fixture
def labs():
    """Both frameworks, to be held against each other."""
    return [Lab(name) for name in MODULES]


@pytest.fixture
def lab_of():
    """Makes the workbench of a framework, by name."""
    return Lab
