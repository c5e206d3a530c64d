"""Ranks of TensorFlow with what goes wrong in data-parallel training by one forgotten or misplaced line; which, a
file says."""

import os
from pathlib import Path

import tensorflow as tf
from dlbench.backends.shared import ranks
from dlbench.backends.tensorflow import adapter, data_parallel

FAULT_FILE = "FILE_WITH_THE_FAULT_OF_RANKS"


class Adapter(adapter.Adapter):
    def open(self, plan, workload, weights):
        if plan.world == 1:
            return super().open(plan, workload, weights)
        return data_parallel.ParallelSession(plan, workload, weights, __name__)


class Replica(data_parallel.Replica):
    def __init__(self, plan, workload, weights, facts, strategy, rank):
        self.fault = Path(os.environ[FAULT_FILE]).read_text()
        self.is_last = rank == strategy.num_replicas_in_sync - 1
        super().__init__(plan, workload, weights, facts, strategy, rank)
        if self.fault == "no update" and self.is_last:
            self._rule.apply = lambda gradients: None

    def _averaged(self, gradients):
        here = tf.distribute.get_replica_context()
        if self.fault == "sum":
            return here.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.fault == "bfloat16":
            short = [tf.cast(each, tf.bfloat16) for each in gradients]
            whole = here.all_reduce(tf.distribute.ReduceOp.MEAN, short)
            return [tf.cast(each, tf.float32) for each in whole]
        return gradients if self.fault == "own gradients" else super()._averaged(gradients)

    def train_step(self, batch):
        if self.fault == "batch before" and self.is_last:
            self.seen, batch = batch, getattr(self, "seen", batch)
        return super().train_step(batch)


class Rank(data_parallel.Rank):
    replica = Replica


def serve(leader):
    rank = Rank()
    ranks.obey(leader, rank, rank.drop)
