"""Profiles whose networks take what their parts add up to, on a machine that scatters as it is told to."""

import dataclasses
import math

import numpy as np
from record_makers import make_case

from dlbench.profile.rungs import Rung, inference_rungs, training_rungs, trains
from dlbench.profile.timed_blocks import CEILING_EVERY
from dlbench.record.facts import RungTimes
from dlbench.record.schema import Profile
from dlbench.spec.network import walk

FRONT = "front_of_profile"


@dataclasses.dataclass(frozen=True)
class Machine:
    """What happens to steps: each block scatters by a share, one of `hit` is half as long again, all that runs in a
    round is longer by a share of a walk through the rounds, and each network of a process differs `between` processes
    for good. The rounds are those of all `processes`, one after the other."""

    rounds: int = 20
    processes: int = 1
    scatter: float = 0.0
    hit: float = 0.0
    drift: float = 0.0
    between: float = 0.0
    seed: int = 0

    def walk(self):
        """How much longer everything takes in each round, the same for all that ran in it; 1 in the mean."""
        steps = np.random.default_rng([self.seed, 0]).standard_normal(self.rounds)
        factors = 1 + self.drift * np.cumsum(steps)
        return factors / factors.mean()

    def blocks(self, takes_ms, random):
        """What a network's blocks take (ns)."""
        factors = self.walk() * (1 + self.scatter * random.standard_normal(self.rounds))
        factors *= np.where(random.random(self.rounds) < self.hit, 1.5, 1.0)
        own = 1 + self.between * random.standard_normal(self.processes)
        factors *= np.repeat(own, self.rounds // self.processes)
        return tuple(int(block) for block in 1e6 * takes_ms * factors)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a step consists of (ms): by layer forward and backward, and the rest; and what layers save forward in the
    network."""

    forward: dict[str, float]
    backward: dict[str, float]
    call: float = 0.1
    training_call: float = 0.3
    loss: float = 0.2
    optimizer: float = 0.5
    error_a_value: float = 0.0
    saved: dict[str, float] = dataclasses.field(default_factory=dict)

    def later(self, layer, forward_ms=0.0, backward_ms=0.0):
        """The same with a delay in a layer."""
        forward = self.forward | {layer: self.forward[layer] + forward_ms}
        backward = self.backward | {layer: self.backward[layer] + backward_ms}
        return dataclasses.replace(self, forward=forward, backward=backward)

    def takes_ms(self, rung: Rung, step: str) -> float:
        """What a step of a network takes."""
        elements = math.prod(rung.workload.output_shape)
        if rung.kind == "ceiling":
            # a call, and what a session does with its output, are 10 ms of each
            return {"product": 50.0, "products": 130.0}.get(rung.name, 1.0)
        if rung.kind == "empty":
            return self.training_call if step == "train" else self.call
        nodes = [node.name for node in walk(rung.workload.nodes)]
        front = 1e-4 if FRONT in nodes else 0.0
        front *= elements if rung.kind in ("closing", "front") else 1
        layers = [name for name in nodes if name in self.forward]
        total = front + sum(self.forward[name] for name in layers)
        if rung.kind != "alone":
            total -= sum(self.saved.get(name, 0.0) for name in layers)
        if step == "infer":
            return self.call + total
        total += self.training_call + sum(self.backward[name] for name in layers)
        if rung.kind in ("plain", "whole"):
            return total + self.loss + (self.optimizer if rung.kind == "whole" else 0.0)
        return total + self.error_a_value * (elements - 1)


def made_up(
    workload, costs, scenario="train", machine=None, *, process=0, inside=False, **identity
):
    """The profile of a step that consists of that; `process` draws other noise, and has other turns."""
    machine = machine or Machine()
    random = np.random.default_rng([machine.seed, 2, process])
    timed = []
    for rung in (training_rungs if scenario == "train" else inference_rungs)(workload, inside):
        steps = ["infer"]
        if scenario == "train" and trains(rung) and rung.kind != "ceiling":
            both = rung.kind in ("empty", "beginning", "closing")
            steps = ["train", "infer"] if both else ["train"]
        for step in steps:
            blocks = machine.blocks(costs.takes_ms(rung, step), random)
            if rung.kind == "ceiling":
                blocks = blocks[::CEILING_EVERY]
            timed.append(RungTimes(rung.kind, rung.name, step, rung.front, blocks))
    ends = tuple(2 * number + process for number in range(machine.rounds))
    case = make_case(scenario=scenario, **identity)
    return Profile(case, "ok", "", tuple(timed), ends, processes=machine.processes)
