"""A complete small backend that goes wrong on demand, to see that verification finds out.

PyTorch gives arithmetic and derivatives; what the specification pins is written out here by hand,
so that each fault is one condition where the right thing would stand. `FaultyAdapter(None)` is right.
"""

import copy
import math
import re
from pathlib import Path

import torch
from faulty_freezing import Freezing
from faulty_layers import Layers
from faulty_rules import Rules

from dlbench.contract import BackendInfo, Device


def known_faults():
    """The name of every fault this file can have."""
    names = (
        "faulty",
        "faulty_layers",
        "faulty_activations",
        "faulty_blocks",
        "faulty_rules",
        "faulty_freezing",
    )
    files = [Path(__file__).with_name(f"{name}.py") for name in names]
    return [
        f
        for file in files
        for f in re.findall(r'self\.fault == "([^"]+)"', file.read_text("utf-8"))
    ]


class FaultyAdapter:
    """Right in everything but `fault`, one of `known_faults()`."""

    def __init__(self, fault=None):
        self.fault = fault

    def info(self):
        return BackendInfo(
            torch.__version__, (Device("cpu", "cpu"),), own_kernels=True, freezes=True
        )

    def open(self, plan, workload, weights):
        torch.set_num_threads(plan.threads)
        return FaultySession(self.fault, plan, workload, weights)


class FaultySession(Freezing, Layers, Rules):
    """One workload on the CPU; everything happens when it is asked for."""

    def __init__(self, fault, plan, workload, weights):
        self.fault = fault
        self.workload = workload
        self.rule = workload.optimizer
        self.trained = [p for p in workload.parameters if p.trainable]
        self.random = torch.Generator().manual_seed(plan.seed)
        self.mask_seed = plan.seed
        self.steps_ever = 0
        self.facts = {"device": "cpu", "threads": plan.threads}
        self.rate = self.rule.learning_rate
        self.outputs = {}
        self.gradients = {}
        self.first_weights = copy.deepcopy(weights)
        self.state, self.steps = {}, 0
        self.load(weights)

    @property
    def learning_rate(self):
        return self.rate

    @learning_rate.setter
    def learning_rate(self, value):
        if self.fault == "learning rate is not settable":
            return
        self.rate = value

    def load(self, weights, *, keep_optimizer=False):
        self.arrays = {name: torch.tensor(value) for name, value in weights.items()}
        if self.fault == "load keeps the optimizer's state":
            keep_optimizer = True
        if self.fault == "load always clears the optimizer's state":
            keep_optimizer = False
        if not keep_optimizer:
            self.state, self.steps = {}, 0
            if self.fault == "load keeps the step count":
                self.steps = self.steps_ever

    def weights(self):
        if self.fault == "weights are the initial ones":
            return copy.deepcopy(self.first_weights)
        arrays = self.arrays
        if self.fault == "running statistics are left out of weights":
            names = {p.name for p in self.trained}
            arrays = {k: v for k, v in arrays.items() if k in names}
        return {name: value.numpy().copy() for name, value in arrays.items()}

    def upload(self, inputs, targets):
        x, y = torch.tensor(inputs), torch.tensor(targets)
        half = len(x) // 2
        if self.fault == "half of the batch, twice" and half:
            x, y = (torch.cat([part[: len(part) - half], part[:half]]) for part in (x, y))
        if self.fault == "last sample is the one before it" and half:
            x[-1], y[-1] = x[-2], y[-2]
        if self.fault == "labels off by one" and not y.is_floating_point():
            y = (y + 1) % self.workload.output_shape[0]
        if self.fault == "height and width transposed" and x.ndim == 4:
            x = x.transpose(2, 3).reshape(x.shape)
        return x, y

    def synchronize(self):
        pass

    def download(self, result):
        return result.detach().float().numpy().copy()

    @torch.no_grad()
    def infer(self, batch):
        x, _ = batch
        if self.fault == "first output cached" and self.outputs:
            return self.outputs["first"]
        if self.fault == "output of a batch cached" and id(x) in self.outputs:
            return self.outputs[id(x)][1]
        if self.fault == "inference through float16":
            x = x.half().float()
        y = self.sequence(self.workload.nodes, x, training=False)
        if self.fault == "softmax in inference" and y.ndim == 2:
            y = torch.softmax(y, 1)
        if self.fault == "output rows reversed":
            y = y.flip(0)
        if self.fault == "output zeroed after 40 steps" and self.steps_ever > 40:
            y = y * 0
        self.outputs["first"] = y
        self.outputs[id(x)] = (x, y)
        return y

    def train_step(self, batch):
        x, y = batch
        self.steps += 1
        self.steps_ever += 1
        self.samples = len(x)
        trained = self.with_gradients(self.trained)
        leaves = {p.name: self.arrays[p.name].clone().requires_grad_() for p in trained}
        state = {k: v for k, v in self.arrays.items() if k not in leaves}
        self.arrays = state | leaves
        loss = self.loss(self.sequence(self.workload.nodes, x, training=True), y)
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        with torch.no_grad():
            self.arrays = {k: v.detach() for k, v in self.arrays.items()}
            gradients = self.clip(self.spoil(gradients))
            if not self.idle():
                for p in self.moving(self.trained):
                    self.arrays[p.name] = self.update(p, self.arrays[p.name], gradients[p.name])
                self.disturb_frozen()
        if self.fault == "the step modifies its batch":
            x *= 0.5
        if self.fault == "loss after the step":
            loss = self.loss(self.sequence(self.workload.nodes, x, training=True), y)
        return loss.detach()

    def idle(self):
        """Whether this step leaves the weights as they are."""
        if self.fault == "weights are never updated":
            return True
        if self.fault == "third step skipped":
            return self.steps_ever == 3
        if self.fault == "every second step skipped":
            return self.steps_ever % 2 == 0
        if self.fault == "weights stop after the fifth step":
            return self.steps_ever > 5
        if self.fault == "weights stop after the twelfth step":
            return self.steps_ever > 12
        return False

    def spoil(self, gradients):
        gradients = dict(gradients)
        biases = [name for name in gradients if name.endswith(".bias")]
        weights = [name for name in gradients if name.endswith(".weight")]
        if self.fault == "bias gradient missing":
            gradients[biases[0]] = torch.zeros_like(gradients[biases[0]])
        if self.fault == "bias gradient halved":
            gradients[biases[-1]] = gradients[biases[-1]] / 2
        if self.fault == "one gradient element off by 1 %":
            spoilt = gradients[weights[0]].clone()
            spoilt[-1].view(-1)[-1] *= 1.01
            gradients[weights[0]] = spoilt
        if self.fault == "gradient of one output channel is another's":
            spoilt = gradients[weights[0]].clone()
            spoilt[1] = spoilt[0]
            gradients[weights[0]] = spoilt
        if self.fault == "gradients accumulate":
            for name, old in self.gradients.items():
                gradients[name] = gradients[name] + old
            self.gradients = gradients
        if self.fault == "gradients clipped to norm 1":
            size = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
            gradients = {k: g / max(size, 1.0) for k, g in gradients.items()}
        if self.fault == "gradients clipped to norm 10":
            size = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
            gradients = {k: g / max(size / 10, 1.0) for k, g in gradients.items()}
        if self.fault == "bias gradient missing above batch 4" and self.samples > 4:
            gradients[biases[0]] = torch.zeros_like(gradients[biases[0]])
        if self.fault == "gradients through bfloat16":
            gradients = {k: g.bfloat16().float() for k, g in gradients.items()}
        if self.fault == "gradients of the step before":
            now, before = gradients, self.gradients or gradients
            self.gradients, gradients = now, before
        return gradients
