"""Ranks of PyTorch with what goes wrong in data-parallel training by one forgotten or misplaced line; which of it, the
environment says."""

import os
import signal

import torch
from dlbench.backends.shared import ranks
from dlbench.backends.torch import adapter, data_parallel
from torch import distributed

FAULT = "FAULT_OF_RANKS"


class Adapter(adapter.Adapter):
    def open(self, plan, workload, weights):
        if plan.world == 1:
            return super().open(plan, workload, weights)
        device = torch.device("cpu")
        return data_parallel.ParallelSession(plan, workload, weights, device, __name__)


class Replica(data_parallel.Replica):
    def __init__(self, plan, workload, weights, device, rank):
        super().__init__(plan, workload, weights, device, rank)
        self.is_last, self.fault = rank == plan.world - 1, os.environ[FAULT]
        if self.fault == "bfloat16":
            self._parallel.register_comm_hook(None, short)
        if self.fault == "sum":
            self._parallel.register_comm_hook(None, summed)
        if self.fault == "no update" and self.is_last:
            self._optimizer.step = lambda: None

    def upload(self, inputs, targets):
        batch = super().upload(inputs, targets)
        if self.fault == "same samples":
            for each in batch:
                distributed.broadcast(each, 0)
        return batch

    def train_step(self, batch):
        if self.fault == "dies" and self.is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "own gradients":
            with self._parallel.no_sync():
                return super().train_step(batch)
        if self.fault == "batch before" and self.is_last:
            self.seen, batch = batch, getattr(self, "seen", batch)
        return super().train_step(batch)


def summed(state, bucket):
    whole = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return whole.then(lambda found: found.value()[0])


def short(state, bucket):
    """What `bf16_compress_hook` does, which wants NCCL: gloo has the sum in float32, so it is rounded afterwards."""
    buffer = bucket.buffer()
    buffer.copy_((buffer / distributed.get_world_size()).bfloat16())
    whole = distributed.all_reduce(buffer, async_op=True).get_future()
    return whole.then(lambda found: found.value()[0].bfloat16().float())


class Rank(data_parallel.Rank):
    replica = Replica


def serve(leader):
    rank = Rank()
    ranks.obey(leader, rank, rank.drop)
