"""Dropout as it is timed: masks recovered from what the backend did, and the step they imply.

At batch 1 the gradient of a linear layer's weight is an outer product, so the columns that are zero
are the inputs that dropout took away. With the masks known the oracle repeats the very step, which
proves the scaling; over many draws the kept fraction, the change from step to step and the
independence of neighbours and samples prove the masks. Where a dropout is not followed by a linear
layer, the same is asked of a small network of the same adapter with that dropout's rate and shape,
followed by one.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan, Session
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.rounding import UNIT_ROUNDOFF, Perturbed
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Workload, read_workload
from dlbench.verify.expectation import expect_output
from dlbench.verify.points import (
    SAFETY,
    Point,
    ambiguous_branches,
    draw_point,
    oracle_inputs,
    oracle_weights,
)
from dlbench.verify.result import Check, compare

_RATE = 2.0**20
_MIN_STEPS = 8
_MAX_STEPS = 32
_MAX_ATTEMPTS = 40 * _MAX_STEPS
_MIN_ELEMENTS = 8_000
_ALONE = "in a network of its own"
_SIGMAS = 6.0
"""A right generator leaves a bound of six standard deviations once in 500 million looks."""

Masks = dict[str, npt.NDArray[np.bool_]]


def check_dropout(adapter: Adapter, plan: Plan, workload: Workload) -> list[Check]:
    """The checks of every dropout layer of `workload`; none where a training step draws no masks."""
    if not workload.has_dropout:
        return []
    readers = _readers(workload)
    dropouts = [n for n in walk(workload.nodes) if _is_dropout(n)]
    checks = []
    readable = all(node.name in readers for node in dropouts)
    if readable:
        checks += _check_network(adapter, plan, workload, readers)
    for node in dropouts:
        if not readable:
            alone = _stand_alone(node)
            checks += _check_network(adapter, plan, alone, _readers(alone), f" ({_ALONE})")
        checks.append(_check_two_samples(adapter, plan, node))
    return checks


def _is_dropout(node: Node) -> bool:
    return isinstance(node.layer, spec.Dropout) and node.layer.rate > 0


def _readers(workload: Workload) -> dict[str, Node]:
    """For each dropout whose output a linear layer reads directly, that layer.

    Batch normalisation mixes the samples of a batch, so masks are not read in networks with it.
    """
    if any(isinstance(n.layer, spec.BatchNorm) for n in walk(workload.nodes)):
        return {}
    readers: dict[str, Node] = {}
    waiting: str | None = None
    for node in workload.nodes:
        if _is_dropout(node):
            waiting = node.name
        elif isinstance(node.layer, spec.Linear) and waiting:
            readers[waiting] = node
            waiting = None
        elif not isinstance(node.layer, spec.Flatten):
            waiting = None
    return readers


def _stand_alone(node: Node) -> Workload:
    """A dropout of the same rate and shape between two layers with parameters, the second a linear one."""
    layer = node.layer
    assert isinstance(layer, spec.Dropout)
    shape = node.output_shape
    if len(shape) == 1:
        start = [1]
        first: dict[str, Any] = {"type": "linear", "out_features": shape[0]}
    else:
        start = [1, *shape[1:]]
        first = {"type": "conv2d", "out_channels": shape[0], "kernel": 1}
    dropout = {"type": "dropout", "rate": layer.rate, "name": node.name}
    end = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    return read_workload(
        {
            "input_shape": start,
            "layers": [first, dropout, *(end if len(shape) == 3 else end[1:])],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )


@dataclasses.dataclass
class _Tally:
    """What was seen of one dropout layer's masks."""

    kept: int = 0
    seen: int = 0
    steps: int = 0
    same_as_before: int = 0
    same_as_neighbour: int = 0
    neighbours: int = 0
    compared: int = 0
    before: npt.NDArray[np.bool_] | None = None
    known_before: npt.NDArray[np.bool_] | None = None

    def add(self, mask: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> None:
        """One more step's mask, where `known` says which elements could be seen."""
        self.steps += 1
        self.kept += int(mask[known].sum())
        self.seen += int(known.sum())
        pairs = known[:-1] & known[1:]
        self.same_as_neighbour += int((mask[:-1] == mask[1:])[pairs].sum())
        self.neighbours += int(pairs.sum())
        if self.before is not None and self.known_before is not None:
            both = known & self.known_before
            self.same_as_before += int((mask == self.before)[both].sum())
            self.compared += int(both.sum())
        self.before, self.known_before = mask, known


def _check_network(
    adapter: Adapter, plan: Plan, workload: Workload, readers: dict[str, Node], note: str = ""
) -> list[Check]:
    plain = dataclasses.replace(workload, optimizer=Sgd(learning_rate=_RATE))
    point = draw_point(workload.without_dropout(), 1, "dropout", plan.precision)
    session = adapter.open(dataclasses.replace(plan, batch=1), plain, point.weights)
    tallies = {name: _Tally() for name in readers}
    checks: list[Check] = []
    idle = _check_inference(session, plain, point, plan.precision, note)
    read = 0
    for _ in range(_MAX_ATTEMPTS):
        gradients, loss = _gradients(session, point)
        masks = _recover(plain, point, readers, gradients, tallies)
        if masks is None:
            continue
        read += 1
        if not checks:
            checks = _check_step(plain, point, masks, gradients, loss, plan.precision, note)
        enough = all(tally.seen >= _MIN_ELEMENTS for tally in tallies.values())
        if read == _MAX_STEPS or (read >= _MIN_STEPS and enough):
            break
    if read == 0:
        label = f"steps in which anything passed {' and '.join(readers)}{note}"
        return [idle, compare(label, np.float64(0), np.float64(_MAX_ATTEMPTS), 0.0, 0.0)]
    for name, tally in tallies.items():
        checks += _check_masks(f"{name}{note}", tally, _rate(plain, name))
    return [idle, *checks]


def _check_inference(
    session: Session, workload: Workload, point: Point, precision: str, note: str
) -> Check:
    """In inference dropout is the identity."""
    expected = expect_output(
        workload, oracle_weights(point.weights), oracle_inputs(point.inputs), precision
    )
    got = session.download(session.infer(session.upload(*point.batch())))
    name = f"logits of a network with dropout{note}"
    return compare(name, got, expected.value, expected.tolerance, expected.scale)


def _gradients(
    session: Session, point: Point
) -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.float32]]:
    session.load(point.weights)
    loss = session.download(session.train_step(session.upload(*point.batch())))
    after = session.weights()
    return {
        name: (before.astype(np.float64) - after[name]) / _RATE
        for name, before in point.weights.items()
    }, loss


def _recover(
    workload: Workload,
    point: Point,
    readers: dict[str, Node],
    gradients: dict[str, npt.NDArray[np.float64]],
    tallies: dict[str, _Tally],
) -> Masks | None:
    """The masks of one step, from the zero columns; an element that is 0 anyway counts as kept.

    None where a step does not show them.
    """
    masks: Masks = {}
    seen = []
    for name, reader in readers.items():
        columns = gradients[f"{reader.name}.weight"]
        visible = np.abs(columns).max(0) > 0
        if not visible.any():
            # Nothing came back to the reader (a later mask dropped all of it), so nothing can be read.
            return None
        values = _inputs_of(workload, point, name, masks)
        known = values.ravel() != 0
        seen.append((tallies[name], visible, known))
        masks[name] = visible | ~known
    for tally, visible, known in seen:
        tally.add(visible, known)
    return masks


def _inputs_of(
    workload: Workload, point: Point, name: str, masks: Masks
) -> npt.NDArray[np.float64]:
    """What goes into the dropout `name`, given the masks of those before it."""
    index = next(i for i, node in enumerate(workload.nodes) if node.name == name)
    run = Pass(True, np.ones(1), masks=masks)
    nodes = workload.nodes[:index]
    return forward(nodes, oracle_weights(point.weights), oracle_inputs(point.inputs), run)


def _check_step(
    workload: Workload,
    point: Point,
    masks: Masks,
    gradients: dict[str, npt.NDArray[np.float64]],
    loss: npt.NDArray[np.float32],
    precision: str,
    note: str,
) -> list[Check]:
    """The whole step, with the recovered masks given to the oracle; nothing where those masks bring a
    branch within rounding of the other way, since the next step's will not."""
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    unit = UNIT_ROUNDOFF[precision]

    def run(draw: int | None, forced: Any) -> tuple[dict[str, Any], Any]:
        noisy = Pass(True, np.ones(1), masks=masks, forced=forced)
        if draw is not None:
            noisy.rounding = Perturbed(draw, unit)
        _, value = forward_backward(
            workload.nodes, workload.loss, weights, inputs, point.targets, noisy
        )
        return noisy.gradients | {"loss": np.asarray(value)}, noisy.branches

    want, branches = run(None, {})
    noisy_runs = [run(draw, branches) for draw in range(4)]
    margins = [taken for _, taken in noisy_runs]
    if any(mask.any() for mask in ambiguous_branches(branches, margins, workload.nodes).values()):
        return []
    draws = [outcome for outcome, _ in noisy_runs]
    checks = []
    for name, value in want.items():
        got = loss if name == "loss" else gradients[name]
        deviations = np.mean([np.square(draw[name] - value) for draw in draws], axis=0)
        pooled = math.sqrt(float(np.mean(deviations)))
        tolerance = SAFETY * np.maximum(np.sqrt(deviations), pooled) + 2.0**-42
        scale = max(float(np.sqrt(np.mean(np.square(value)))), pooled / unit)
        label = "loss" if name == "loss" else f"gradient of {name}"
        checks.append(compare(f"{label}, with dropout{note}", got, value, tolerance, scale))
    return checks


def _check_masks(name: str, tally: _Tally, rate: float) -> list[Check]:
    keep = 1 - rate
    agree = keep**2 + rate**2
    figures = (
        (f"kept fraction of {name}", tally.kept, tally.seen, keep),
        (
            f"agreement of {name}'s masks in successive steps",
            tally.same_as_before,
            tally.compared,
            agree,
        ),
        (
            f"agreement of {name}'s masks in neighbours",
            tally.same_as_neighbour,
            tally.neighbours,
            agree,
        ),
    )
    return [_fraction(*figure) for figure in figures if figure[2]]


def _fraction(name: str, hits: int, of: int, expected: float) -> Check:
    # Neighbouring pairs share an element, which at most doubles the variance.
    sigma = math.sqrt(2 * expected * (1 - expected) / of)
    return compare(name, np.float64(hits / of), np.float64(expected), _SIGMAS * sigma + 1e-12, 0.0)


def _check_two_samples(adapter: Adapter, plan: Plan, node: Node) -> Check:
    """Two copies of a sample get masks of their own: a column is gone only where both lost it.

    Asked of the dropout alone, where no later mask can hide what passed this one.
    """
    workload = dataclasses.replace(_stand_alone(node), optimizer=Sgd(learning_rate=_RATE))
    point = draw_point(workload.without_dropout(), 1, "dropout", plan.precision)
    session = adapter.open(dataclasses.replace(plan, batch=2), workload, point.weights)
    twice = dataclasses.replace(point, counts=np.array([2]))
    reader = f"{_readers(workload)[node.name].name}.weight"
    gone = seen = 0
    for step in range(_MAX_STEPS):
        gradients, _ = _gradients(session, twice)
        lost = np.abs(gradients[reader]).max(0) == 0
        gone += int(lost.sum())
        seen += lost.size
        if step + 1 >= _MIN_STEPS and seen >= _MIN_ELEMENTS:
            break
    label = f"fraction lost by both samples of {node.name} ({_ALONE})"
    return _fraction(label, gone, seen, _rate(workload, node.name) ** 2)


def _rate(workload: Workload, name: str) -> float:
    layer = next(node.layer for node in walk(workload.nodes) if node.name == name)
    assert isinstance(layer, spec.Dropout)
    return layer.rate
