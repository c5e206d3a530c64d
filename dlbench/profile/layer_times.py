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
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from dlbench.analyse.disturbance import causes
from dlbench.host.cause import told
from dlbench.profile.estimates import Rounds, Time, drawn_in, over
from dlbench.record.schema import Profile
from dlbench.spec.network import Node, Shape
from dlbench.spec.workload import Workload

Kind = Literal["call", "layer", "loss", "optimizer"]
Network = tuple[str, str, str]
"""Its kind and name, and which step of it."""
Terms = Mapping[Network, int]
"""How often each network's step counts in a sum."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A part of a step.

    Attributes
    ----------
    kind, name : ``call`` is what the step of a network costs that computes next to nothing; a layer has its own name.
    rounds_ns : in each round, what it adds to the step.
    forward_ns : of a layer that is trained, what it adds in inference; else None.
    alone_ns : of a layer, what it takes by itself; None where it was not timed.
    terms, alone_terms : the networks that it is a difference of, and that `alone_ns` is.
    joins : of a block that is opened, what it takes beyond the layers that it holds, which are parts of their own.
    """

    kind: Kind
    name: str
    rounds_ns: Rounds
    terms: Terms
    forward_ns: Rounds | None = None
    alone_ns: Rounds | None = None
    alone_terms: Terms | None = None
    joins: bool = False

    @property
    def label(self) -> str:
        """The layer's name, or what else it is."""
        return self.name or self.kind

    @functools.cached_property
    def time(self) -> Time:
        """What it adds to the step."""
        return over(self.rounds_ns).time

    @functools.cached_property
    def forward(self) -> Time | None:
        """Of a layer that is trained, what it adds in inference."""
        return None if self.forward_ns is None else over(self.forward_ns).time

    @functools.cached_property
    def backward(self) -> Time | None:
        """Of a layer that is trained, the rest: gradients, the update by plain gradient descent, and what training's
        own forward pass does besides."""
        return None if self.forward_ns is None else over(self.rounds_ns - self.forward_ns).time

    @property
    def beyond_ns(self) -> Rounds | None:
        """Of a layer, in each round what it takes in the network beyond what it takes alone."""
        return None if self.alone_ns is None else self.rounds_ns - self.alone_ns

    @functools.cached_property
    def alone(self) -> Time | None:
        """Of a layer, what it takes by itself."""
        return None if self.alone_ns is None else over(self.alone_ns).time


@dataclasses.dataclass(frozen=True)
class LayerTimes:
    """A step in its parts.

    Attributes
    ----------
    whole : the step itself.
    whole_ns : that in each round.
    parts : in the order of computation; they add up to the whole.
    networks : the blocks of each network in each round (ns), of which all of this consists.
    processes : in how many processes, one after the other, these rounds were.
    interaction : what the layers take in the network beyond what they take alone: negative where fusion, warm caches or
        overlap saved time; None where none was timed alone.
    disturbed : what disturbed the process that timed it, in words; empty where nothing did.
    """

    whole: Time
    whole_ns: Rounds
    parts: tuple[Part, ...]
    networks: Mapping[Network, Rounds]
    processes: int
    interaction: Time | None
    disturbed: str


def rung_rounds(profile: Profile, kind: str, name: str, step: str) -> Rounds | None:
    """The blocks of a step of one network of a ladder (ns); None where it was not timed."""
    for rung in profile.rungs:
        if (rung.kind, rung.name, rung.step) == (kind, name, step):
            return drawn_in(np.array(rung.blocks_ns, np.float64))
    return None


def layer_times(profile: Profile, workload: Workload) -> LayerTimes:
    """What a profile says of the layers of its workload.

    Raises
    ------
    ValueError : it is not the ladder of that workload.
    """
    ladder = _Ladder(profile)
    layers, last = _parts(ladder, workload.nodes, ladder.empty)
    found = [ladder.part("call", "", ladder.empty.step), *layers]
    whole = last.step
    if ladder.trains:
        whole = ladder.network("whole", "", "train")
        plain = ladder.find("plain", "", "train") or whole
        found.append(ladder.part("loss", "", plain - last.step))
        if plain is not whole:
            found.append(ladder.part("optimizer", "", whole - plain))
    beyond = [part.beyond_ns for part in layers if part.beyond_ns is not None]
    whole_ns = ladder.rounds(whole)
    return LayerTimes(
        whole=over(whole_ns).time,
        whole_ns=whole_ns,
        parts=tuple(found),
        networks={name: each for name, each in ladder.timed.items() if name[0] != "ceiling"},
        processes=max(profile.processes, 1),
        interaction=over(np.sum(beyond, 0)).time if beyond else None,
        disturbed=told(causes(profile.during, profile.case.threads)),
    )


def _parts(ladder: _Ladder, nodes: Sequence[Node], before: _Pass) -> tuple[list[Part], _Pass]:
    """What each of these layers adds, and what the beginning takes that ends with the last of them."""
    found: list[Part] = []
    for node in nodes:
        now = ladder.beginning(node, before)
        own = now - before
        held: list[Part] = []
        for body in node.bodies if ladder.is_opened(node) else ():
            parts, end = _parts(ladder, body, before)
            held += parts
            own = own - (end - before)
        alone = None if held else ladder.alone(node)
        forward = own.forward if ladder.trains else None
        found += [*held, ladder.part("layer", node.name, own.step, forward, alone, bool(held))]
        before = now
    return found, before


class _Sum:
    """Networks' steps, added up and subtracted: how often each counts."""

    def __init__(self, terms: Terms) -> None:
        self.terms = {network: times for network, times in terms.items() if times}

    def __add__(self, other: _Sum) -> _Sum:
        networks = self.terms.keys() | other.terms.keys()
        return _Sum({n: self.terms.get(n, 0) + other.terms.get(n, 0) for n in networks})

    def __sub__(self, other: _Sum) -> _Sum:
        return self + _Sum({network: -times for network, times in other.terms.items()})


class _Pass(NamedTuple):
    """A step, less what the squared error costs, and the forward pass of it."""

    step: _Sum
    forward: _Sum

    def __sub__(self, other: _Pass) -> _Pass:
        return _Pass(self.step - other.step, self.forward - other.forward)


class _Ladder:
    """The times of a profile's networks in each round, those of blocks that were hit by something else drawn in."""

    def __init__(self, profile: Profile) -> None:
        self.trains = profile.case.trains
        self.timed = {
            (rung.kind, rung.name, rung.step): drawn_in(np.array(rung.blocks_ns, np.float64))
            for rung in profile.rungs
        }
        self._fronts = {rung.name: rung.front for rung in profile.rungs if rung.kind == "alone"}
        step = "train" if self.trains else "infer"
        self.empty = _Pass(self.network("empty", "", step), self.network("empty", "", "infer"))

    def blocks(self, *network: str) -> Rounds | None:
        """A network's blocks."""
        return self.timed.get(cast(Network, network))

    def find(self, *network: str) -> _Sum | None:
        """A network; None where there is none of that name."""
        return None if self.blocks(*network) is None else _Sum({cast(Network, network): 1})

    def network(self, kind: str, name: str, step: str) -> _Sum:
        """A network.

        Raises
        ------
        ValueError : there is none of that name.
        """
        found = self.find(kind, name, step)
        if found is None:
            raise ValueError(f"the profile has no step {step} of {' '.join((kind, name)).strip()}")
        return found

    def rounds(self, sum_: _Sum) -> Rounds:
        """What it comes to in each round (ns)."""
        some = next(iter(self.timed[network] for network in self.empty.step.terms))
        total: Rounds = np.zeros_like(some)
        for network, times in sum_.terms.items():
            total = total + times * self.timed[network]
        return total

    def part(
        self,
        kind: Kind,
        name: str,
        step: _Sum,
        forward: _Sum | None = None,
        alone: _Sum | None = None,
        joins: bool = False,
    ) -> Part:
        """A part of the step."""
        return Part(
            kind,
            name,
            self.rounds(step),
            step.terms,
            forward_ns=None if forward is None else self.rounds(forward),
            alone_ns=None if alone is None else self.rounds(alone),
            alone_terms=None if alone is None else alone.terms,
            joins=joins,
        )

    def is_opened(self, node: Node) -> bool:
        """Whether there are beginnings that end within a block."""
        inner = [body[0] for body in node.bodies if body]
        return any(self.find("beginning", each.name, "infer") is not None for each in inner)

    def beginning(self, node: Node, before: _Pass) -> _Pass:
        """The beginning that ends with a layer, behind the one before."""
        forward = self.network("beginning", node.name, "infer")
        if not self.trains:
            return _Pass(forward, forward)
        step = self.find("beginning", node.name, "train")
        if step is None:
            # nothing to train so far, so that nothing but the forward pass is done in training either
            return _Pass(before.step + forward - before.forward, forward)
        return _Pass(step - self._squared_error(node.output_shape), forward)

    def alone(self, node: Node) -> _Sum | None:
        """What a layer takes by itself, beyond the call, its front and the squared error."""
        step = self.find("alone", node.name, "train")
        if step is None:
            infer = self.find("alone", node.name, "infer")
            return None if infer is None else infer - self.empty.forward
        step = step - self._squared_error(node.output_shape)
        front = self.find("front", self._fronts[node.name], "train")
        if front is None:
            return step - self.empty.step
        return step - (front - self._squared_error(node.input_shape))

    def _squared_error(self, shape: Shape) -> _Sum:
        """What the squared error of an output of that shape and its gradient cost."""
        size = str(math.prod(shape))
        train, infer = (self.find("closing", size, step) for step in ("train", "infer"))
        if train is None or infer is None:
            return _Sum({})
        return (train - infer) - (self.empty.step - self.empty.forward)
