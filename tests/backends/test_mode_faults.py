"""Faults that compilers, recorded steps and caches of casts bring, planted in PyTorch's own session: each is found, and
by the check that is meant for it."""

import copy
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from dlbench.backends.torch import adapter as real  # noqa: E402

from dlbench.contract import Plan  # noqa: E402
from dlbench.verify.check import verify  # noqa: E402

CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3}
END = ({"type": "flatten"}, {"type": "linear", "out_features": 3})
NETWORKS = {
    "plain": (CONVOLUTION, {"type": "tanh"}, *END),
    "norm": ({**CONVOLUTION, "bias": False}, {"type": "batch_norm"}, {"type": "tanh"}, *END),
    "dropout": (CONVOLUTION, {"type": "tanh"}, {"type": "dropout", "rate": 0.4}, *END),
}
SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}


class Faulty(real.Session):
    """Right in everything but `fault`."""

    fault = ""

    def __init__(self, plan, *rest):
        self.past = SimpleNamespace(batch=None, network=None, loss=None, steps=0)
        self.seed = plan.seed
        super().__init__(plan, *rest)

    def read(self, batch):
        """The batch that a step reads in truth."""
        past, self.past.batch = self.past.batch, self.past.batch or batch
        if self.fault == "specialised on the values of the first batch":
            return past or batch
        if self.fault == "a recording reads the batch before":
            self.past.batch = batch
            return past or batch
        return batch

    def infer(self, batch):
        if self.fault == "weights are constants of the inference graph":
            if self.past.network is None:
                self._network.eval()
                self.past.network = copy.deepcopy(self._network)
            with torch.inference_mode():
                return self.past.network(batch[0])
        if self.fault == "inference keeps the flag of training":
            with torch.inference_mode():
                return self._network.train()(batch[0])
        if self.fault == "rounded weights outlive a step":
            if not self.past.steps:
                self._network.eval()
            for module in self._network.modules():
                module.training = False
        return super().infer(self.read(batch))

    def train_step(self, batch):
        batch = self.read(batch)
        if self.fault == "dropout frozen into the graph":
            torch.manual_seed(self.seed)
        if self.fault == "training keeps the flag of inference":
            self._network.train()
            for module in self._network:
                module.eval()
        if self.fault == "steps that warm up the recording count" and not self.past.steps:
            super().train_step(batch)
        if self.fault == "a forward pass that warms up moves running statistics":
            self._network.train()(batch[0])
        before = {name: array.clone() for name, array in self._network.arrays.items()}
        loss = super().train_step(batch)
        self.past.steps += 1
        if self.fault == "running statistics are not part of the graph":
            for name, array in self._network.arrays.items():
                if "running" in name:
                    array.copy_(before[name])
        if self.fault == "the loss is that of the replay before":
            loss, self.past.loss = self.past.loss or loss, loss
        if self.fault == "a replay adds to the gradients of the one before":
            self._optimizer.zero_grad = lambda set_to_none: None
        return loss

    @property
    def learning_rate(self):
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        if self.fault == "the learning rate is a constant of the graph" and self.past.steps:
            return
        real.Session.learning_rate.fset(self, value)

    def load(self, weights, *, keep_optimizer=False):
        if self.fault == "the recorded optimizer's state outlives load":
            keep_optimizer = True
        if self.fault == "load replaces the arrays that a recording reads" and self.past.steps:
            return
        super().load(weights, keep_optimizer=keep_optimizer)


class FaultyAdapter(real.Adapter):
    """Opens such sessions."""

    def __init__(self, fault):
        self.session = type("Session", (Faulty,), {"fault": fault})

    def open(self, plan, workload, weights):
        return self.session(plan, workload, weights, real._device(plan))


# network, precision: fault: what the first failing check's name contains
FAULTS = {
    ("plain", "fp32"): {
        "specialised on the values of the first batch": "logits",
        "a recording reads the batch before": "logits",
        "weights are constants of the inference graph": "logits",
        "steps that warm up the recording count": "loss",
        "the loss is that of the replay before": "loss",
        "a replay adds to the gradients of the one before": "gradient",
        "the learning rate is a constant of the graph": "after the step",
        "the recorded optimizer's state outlives load": "step",
        "load replaces the arrays that a recording reads": "logits",
    },
    ("norm", "fp32"): {
        "inference keeps the flag of training": "logits",
        "training keeps the flag of inference": "loss",
        "running statistics are not part of the graph": "running",
        "a forward pass that warms up moves running statistics": "running",
    },
    ("dropout", "fp32"): {"dropout frozen into the graph": "mask"},
    ("plain", "bf16"): {"rounded weights outlive a step": "logits"},
}
EACH = [(*key, fault, check) for key, faults in FAULTS.items() for fault, check in faults.items()]


def checked(lab_of, cache_dir, network, precision, fault):
    workload = lab_of("torch").workload(NETWORKS[network], (2, 6, 7), optimizer=SGD)
    plan = Plan("torch", "cpu", 6, 1, precision=precision)
    return verify(FaultyAdapter(fault), plan, workload, cache_dir)


@pytest.mark.parametrize(("network", "precision", "fault", "check"), EACH)
def test_a_fault_of_a_mode_is_found(lab_of, cache_dir, network, precision, fault, check):
    found = checked(lab_of, cache_dir, network, precision, fault)
    failed = [each.name for each in found.checks if not each.passed]
    assert failed
    assert check in failed[0]


@pytest.mark.parametrize(("network", "precision"), list(FAULTS))
def test_the_session_is_right_without_a_fault(lab_of, cache_dir, network, precision):
    assert checked(lab_of, cache_dir, network, precision, "").reason == ""
