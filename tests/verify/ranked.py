"""Ranks of a data-parallel training in one process, computed by the oracle: right but for a fault that is planted."""

from typing import ClassVar

import numpy as np

from dlbench.contract import BackendInfo, Device, SessionBase
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.oracle.rounding import rounded
from dlbench.spec.precision import BF16
from dlbench.verify.timed.replay import draw_masks


class RankedAdapter:
    """Right in everything but `fault`, which is of the last rank where it is of one."""

    def __init__(self, fault=None):
        self.fault = fault

    def info(self):
        return BackendInfo("1", (Device("cpu", "cpu"),), own_kernels=True, worlds=(1, 2, 4))

    def open(self, plan, workload, weights):
        return RankedSession(self.fault, plan, workload, weights)


class RankedSession(SessionBase):
    facts: ClassVar = {}

    def __init__(self, fault, plan, workload, weights):
        self.fault, self.world, self.workload = fault, plan.world, workload
        self.learning_rate = workload.optimizer.learning_rate
        seeds = [(plan.seed, 0 if fault == "same masks" else rank) for rank in range(self.world)]
        self.randoms = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]
        self.load(weights)

    def load(self, weights, *, keep_optimizer=False):
        self.every = [dict(weights) for _ in range(self.world)]
        if not keep_optimizer:
            self.updates = [Update(self.workload.optimizer) for _ in range(self.world)]
            self.late = None
            self.seen = None

    def upload(self, inputs, targets):
        parts = [np.split(array.copy(), self.world) for array in (inputs, targets)]
        return list(zip(*parts, strict=True))

    def infer(self, batch):
        outputs = []
        for (inputs, _), weights in zip(batch, self.every, strict=True):
            # running statistics are rank 0's
            own = {n: self.every[0][n] if ".running_" in n else v for n, v in weights.items()}
            run = Pass(False, np.ones(len(inputs)))
            outputs.append(forward(self.workload.nodes, wide(own), wide(inputs), run))
        return np.concatenate(outputs)

    def gradients(self, rank, inputs, targets):
        random = self.randoms[rank]
        run = Pass(True, np.ones(len(inputs)), masks=draw_masks(self.workload, len(inputs), random))
        _, loss = forward_backward(
            *(self.workload.nodes, self.workload.loss, wide(self.every[rank])),
            *(wide(inputs), targets, run),
        )
        return loss, run.gradients, run.state

    def train_step(self, batch):
        last = self.world - 1
        parts = [batch[0]] * self.world if self.fault == "same samples" else list(batch)
        if self.fault == "batch before" and self.seen is not None:
            parts[last] = self.seen
        self.seen = batch[last]
        if self.fault == "synchronised":
            whole = [np.concatenate(arrays) for arrays in zip(*batch, strict=True)]
            found = [self.gradients(0, *whole)] * self.world
        else:
            found = [self.gradients(rank, *part) for rank, part in enumerate(parts)]
        own = [gradients for _, gradients, _ in found]
        mean = self.averaged(own)
        for rank, update in enumerate(self.updates):
            gradients = own[rank] if self.fault == "own gradients" else mean
            if rank == last and self.fault == "update behind":
                gradients, self.late = self.late, mean
            if rank == last and self.fault == "no update":
                gradients = None
            weights = wide(self.every[rank])
            if gradients is not None:
                weights = update.step(weights, gradients, self.learning_rate)
            self.every[rank] = narrow(weights | found[rank][2])
        return np.float32(np.mean([loss for loss, _, _ in found]))

    def averaged(self, own):
        if self.fault == "bfloat16":
            own = [{name: rounded(each, BF16) for name, each in some.items()} for some in own]
        share = 1 if self.fault == "sum" else self.world
        return {name: sum(some[name] for some in own) / share for name in own[0]}

    def weights(self):
        return {name: array.copy() for name, array in self.every[0].items()}

    def rank_weights(self):
        return [{name: array.copy() for name, array in each.items()} for each in self.every]

    def alone_ns(self, batch, steps):
        return [[10**6 * (1 + rank)] * steps for rank in range(self.world)]


def wide(arrays):
    if isinstance(arrays, np.ndarray):
        return arrays.astype(np.float64)
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def narrow(arrays):
    return {name: array.astype(np.float32) for name, array in arrays.items()}
