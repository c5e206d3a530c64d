"""What a ladder says of the step that it is of: the time of each layer, of the loss, of the optimizer and of the call.

All of these are sums and differences of what was timed in one round, so that they add up to the whole step by
construction, in each round and in the mean. The interval of each is Student's over rounds, whose blocks lie close
together, so that what a machine does to one it does to the next.

A step of inference is that of an `empty` network, and what each layer adds to it. A step of training is the same under
plain gradient descent and the squared error, less what that error costs (what a step of a `closing` network, whose
output is as large, takes longer in training than in inference), and what the workload's own loss and optimizer add.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from dlbench.analyse.disturbance import causes
from dlbench.host.cause import told
from dlbench.record.schema import Profile
from dlbench.spec.network import Node
from dlbench.spec.workload import Workload

Rounds = npt.NDArray[np.float64]
"""A time in each round (ns)."""
Kind = Literal["call", "layer", "loss", "optimizer"]

_FAR = 4 * 1.4826
"""A block that lies further from the median of its network than so many median absolute deviations (the factor makes
them standard deviations of a normal law) was hit by something else, and is taken to lie there (Huber 1981, section
1.7)."""


@dataclasses.dataclass(frozen=True)
class Time:
    """A time and its 95 % interval over rounds (s)."""

    mean_s: float
    low_s: float
    high_s: float

    @property
    def half_s(self) -> float:
        """Half of the interval."""
        return (self.high_s - self.low_s) / 2


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes
    ----------
    kind, name : ``call`` is what the step of a network costs that computes next to nothing; a layer has its own name.
    time : what it adds to the step.
    forward, backward : of a layer that is trained, that of inference, and the rest: gradients, the update by plain
        gradient descent, and what training's own forward pass does besides; else None.
    alone : of a layer, what it takes by itself; None where it was not timed.
    rounds_ns : `time` in each round.
    """

    kind: Kind
    name: str
    time: Time
    rounds_ns: Rounds
    forward: Time | None = None
    backward: Time | None = None
    alone: Time | None = None

    @property
    def label(self) -> str:
        """The layer's name, or what else it is."""
        return self.name or self.kind


@dataclasses.dataclass(frozen=True)
class LayerTimes:
    """A step in its parts.

    Attributes
    ----------
    whole : the step itself.
    parts : in the order of computation; they add up to the whole.
    interaction : what the layers take in the network beyond what they take alone: negative where fusion, warm caches or
        overlap saved time; None where a layer was not timed alone.
    disturbed : what disturbed the process that timed it, in words; empty where nothing did.
    """

    whole: Time
    parts: tuple[Part, ...]
    interaction: Time | None
    disturbed: str


def rung_time(profile: Profile, kind: str, name: str, step: str) -> Time | None:
    """The time of a step of one network of a ladder; None where it was not timed."""
    found = _Ladder(profile).get(kind, name, step)
    return None if found is None else _time(found)


def layer_times(profile: Profile, workload: Workload) -> LayerTimes:
    """What a profile says of the layers of its workload.

    Raises
    ------
    ValueError : it is not the ladder of that workload.
    """
    trains = profile.case.scenario == "train"
    ladder = _Ladder(profile)
    calls = ladder.times("empty", "", "train" if trains else "infer")
    found = [_part("call", "", calls)]
    layers = (_training if trains else _inference)(ladder, workload)
    found += layers
    whole = ladder.times("beginning", workload.nodes[-1].name, "infer")
    if trains:
        whole = ladder.times("whole", "", "train")
        plain = ladder.get("plain", "", "train")
        plain = whole if plain is None else plain
        before_loss = calls + np.sum([part.rounds_ns for part in layers], 0)
        found.append(_part("loss", "", plain - before_loss))
        if plain is not whole:
            found.append(_part("optimizer", "", whole - plain))
    alone = [_alone(ladder, node, trains) for node in workload.nodes]
    interaction = None
    if all(each is not None for each in alone):
        inside = np.sum([part.rounds_ns for part in layers], 0)
        interaction = _time(inside - np.sum([each for each in alone if each is not None], 0))
    by_name = {n.name: each for n, each in zip(workload.nodes, alone, strict=True)}
    parts = tuple(_with_alone(part, by_name.get(part.name)) for part in found)
    disturbed = told(causes(profile.during, profile.case.threads))
    return LayerTimes(_time(whole), parts, interaction, disturbed)


def _with_alone(part: Part, alone: Rounds | None) -> Part:
    if part.kind != "layer" or alone is None:
        return part
    return dataclasses.replace(part, alone=_time(alone))


def _inference(ladder: _Ladder, workload: Workload) -> list[Part]:
    before = ladder.times("empty", "", "infer")
    found = []
    for node in workload.nodes:
        now = ladder.times("beginning", node.name, "infer")
        found.append(_part("layer", node.name, now - before))
        before = now
    return found


def _training(ladder: _Ladder, workload: Workload) -> list[Part]:
    empty = ladder.times("empty", "", "train"), ladder.times("empty", "", "infer")
    before, before_forward = empty
    found = []
    for node in workload.nodes:
        forward = ladder.times("beginning", node.name, "infer")
        now = ladder.get("beginning", node.name, "train")
        if now is None:
            # nothing to train so far, so that nothing but the forward pass is done in training either
            now = before + forward - before_forward
        else:
            now = now - ladder.squared_error(node, empty)
        part = _part("layer", node.name, now - before)
        rest = now - before - (forward - before_forward)
        forward_time = _time(forward - before_forward)
        found.append(dataclasses.replace(part, forward=forward_time, backward=_time(rest)))
        before, before_forward = now, forward
    return found


def _alone(ladder: _Ladder, node: Node, trains: bool) -> Rounds | None:
    """What a layer takes by itself, beyond the call, its front and the squared error."""
    if not trains:
        alone = ladder.get("alone", node.name, "infer")
        return None if alone is None else alone - ladder.times("empty", "", "infer")
    empty = ladder.times("empty", "", "train"), ladder.times("empty", "", "infer")
    alone = ladder.get("alone", node.name, "train")
    if alone is None:
        alone = ladder.get("alone", node.name, "infer")
        return None if alone is None else alone - empty[1]
    front = ladder.get("front", ladder.fronts[node.name], "train")
    if front is None:
        return alone - empty[0] - ladder.squared_error(node, empty)
    front_error = ladder.squared_error_of(math.prod(node.input_shape), empty)
    return alone - ladder.squared_error(node, empty) - (front - front_error)


class _Ladder:
    """The times of a profile's networks in each round, those of blocks that were hit by something else drawn in."""

    def __init__(self, profile: Profile) -> None:
        self._blocks = {
            (rung.kind, rung.name, rung.step): _drawn_in(np.array(rung.blocks_ns, np.float64))
            for rung in profile.rungs
        }
        self.fronts = {rung.name: rung.front for rung in profile.rungs if rung.kind == "alone"}

    def get(self, kind: str, name: str, step: str) -> Rounds | None:
        return self._blocks.get((kind, name, step))

    def times(self, kind: str, name: str, step: str) -> Rounds:
        found = self.get(kind, name, step)
        if found is None:
            raise ValueError(f"the profile has no step {step} of {' '.join((kind, name)).strip()}")
        return found

    def squared_error(self, node: Node, empty: tuple[Rounds, Rounds]) -> Rounds | float:
        """What the squared error of a layer's output and its gradient cost."""
        return self.squared_error_of(math.prod(node.output_shape), empty)

    def squared_error_of(self, elements: int, empty: tuple[Rounds, Rounds]) -> Rounds | float:
        """The same of an output of so many elements a sample."""
        train = self.get("closing", str(elements), "train")
        infer = self.get("closing", str(elements), "infer")
        if train is None or infer is None:
            return 0.0
        return (train - infer) - (empty[0] - empty[1])


def _drawn_in(blocks_ns: Rounds) -> Rounds:
    middle = np.median(blocks_ns)
    reach = _FAR * np.median(np.abs(blocks_ns - middle))
    return np.clip(blocks_ns, middle - reach, middle + reach)


def _part(kind: Kind, name: str, rounds_ns: Rounds) -> Part:
    return Part(kind, name, _time(rounds_ns), rounds_ns)


def _time(rounds_ns: Rounds) -> Time:
    """The mean of a time over rounds, and Student's interval of it."""
    mean = float(np.mean(rounds_ns))
    count = len(rounds_ns)
    if count < 2:
        return Time(mean * 1e-9, -math.inf, math.inf)
    half = float(stdtrit(count - 1, 0.975) * np.std(rounds_ns, ddof=1) / math.sqrt(count))
    return Time(mean * 1e-9, (mean - half) * 1e-9, (mean + half) * 1e-9)
