"""Dropout as it is timed: masks recovered from what the backend did, and the step they imply.

The gradient of a linear layer's weight is, for one sample, an outer product, so the columns that are
zero are the inputs that dropout took away. The sample stands alone in a batch of zeros of the timed
size, at weights without biases, where zeros stay zeros and have no part in those gradients. With the
masks known the oracle repeats the very step, which proves the scaling; over many draws the kept
fraction, the change from step to step and the independence of neighbours and samples prove the
masks. Where a dropout is not followed by a linear layer, the same is asked of a small network of the
same adapter with that dropout's rate and shape, followed by one.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan, Session
from dlbench.oracle.layers import Branch, Pass, root_mean_square
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.rounding import Array, Exact, Perturbed
from dlbench.record.facts import Check
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.precision import policy_of
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Workload, read_workload
from dlbench.verify.checks.dropout_masks import (
    Tally,
    check_layers,
    check_masks,
    fraction,
    most_by_chance,
)
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import (
    SAFETY,
    Point,
    ambiguous_branches,
    draw_unbiased_point,
    oracle_inputs,
    oracle_weights,
)
from dlbench.verify.expected.tolerance import expect_output, expectation, turned_branches

_RATE = 2.0**20
_QUANTUM = 2.0**-42
"""What a gradient that is read off a step at that rate may differ by in any case."""
_RUNS = 4
_MIN_STEPS = 8
_MAX_STEPS = 16
_ALONE_STEPS = 160
_MAX_ATTEMPTS = 100 * _MAX_STEPS
_MIN_ELEMENTS = 20_000
_ALONE = "in a network of its own"

Masks = dict[str, npt.NDArray[np.bool_]]


def check_dropout(
    adapter: Adapter, plan: Plan, workload: Workload, whole: Workload | None = None
) -> list[Check]:
    """The checks of every dropout layer of `workload`; none where a training step draws no masks. Masks are read in the
    `whole` network: the workload, or the same layers on smaller inputs, and of each layer's own shape then, alone."""
    if not workload.has_dropout:
        return []
    whole = whole or workload
    readers = _readers(whole)
    if plan.world > 1 and not _keeps_zeros(workload):
        # such a network is read in a batch of one sample, which is none for several ranks
        readers = {}
    dropouts = [n for n in walk(workload.nodes) if _is_dropout(n)]
    checks = []
    readable = all(node.name in readers for node in dropouts)
    if readable:
        checks += _check_network(adapter, plan, whole, readers)
    for node in dropouts:
        if not readable or whole.input_shape != workload.input_shape:
            alone = _stand_alone(node)
            checks += _check_network(adapter, plan, alone, _readers(alone), f" ({_ALONE})")
        batch = max(plan.batch, 2)
        if plan.world == 1:
            checks += _check_two_samples(adapter, plan, node, _apart(batch))
            continue
        # one that has the place in its rank's part that the other has in its own
        checks += _check_two_samples(adapter, plan, node, [batch // plan.world], " on two ranks")
        if plan.world <= batch // 2:
            checks += _check_two_samples(adapter, plan, node, [1], " on one rank")
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


def _check_network(
    adapter: Adapter, plan: Plan, workload: Workload, readers: dict[str, Node], note: str = ""
) -> list[Check]:
    plain = dataclasses.replace(workload, optimizer=Sgd(learning_rate=_RATE))
    point = draw_unbiased_point(workload.without_dropout(), "dropout", plan.precision)
    batch = plan.batch if _keeps_zeros(workload) else 1
    session = adapter.open(dataclasses.replace(plan, batch=batch), plain, point.weights)
    recovery = _Recovery(plain, point, readers, plan.precision)
    tallies = recovery.tallies
    checks: list[Check] = []
    idle = _check_inference(session, plain, point, batch, plan.precision, note)
    read = 0
    for attempt in range(_MAX_ATTEMPTS):
        row = (0, batch - 1, batch // 2)[attempt % 3]
        gradients, loss = _gradients(session, point, batch, (row,))
        masks = recovery.masks(row, gradients)
        if masks is None:
            continue
        read += 1
        if read <= 2:
            where = f"row {row} of {batch}{note}"
            one = loss if batch == 1 else None
            checks += _check_step(plain, point, masks, gradients, one, plan.precision, where)
        enough = all(tally.seen >= _MIN_ELEMENTS for tally in tallies.values())
        if read == _MAX_STEPS or (read >= _MIN_STEPS and enough):
            break
    if read == 0:
        label = f"steps in which anything passed {' and '.join(readers)}{note}"
        return [idle, compare(label, np.float64(0), np.float64(_MAX_ATTEMPTS), 0.0, 0.0)]
    rates = {name: _rate(plain, name) for name in tallies}
    for name, tally in tallies.items():
        checks += check_masks(f"{name}{note}", tally, rates[name])
    return [idle, *checks, *check_layers(tallies, rates)]


def _keeps_zeros(workload: Workload) -> bool:
    """Whether an input of zeros stays zero through every layer, once there are no biases."""
    return not any(isinstance(n.layer, spec.Sigmoid | spec.BatchNorm) for n in walk(workload.nodes))


def _check_inference(
    session: Session, workload: Workload, point: Point, batch: int, precision: str, note: str
) -> Check:
    """In inference dropout is the identity."""
    expected = expect_output(
        workload, oracle_weights(point.weights), oracle_inputs(point.inputs), precision
    )
    everywhere = np.zeros(batch, int)
    got = session.download(session.infer(session.upload(*_placed(point, batch, everywhere))))
    name = f"logits of a network with dropout{note}"
    value, tolerance = expected.value[everywhere], expected.tolerance[everywhere]
    return compare(name, got, value, tolerance, expected.scale)


def _placed(
    point: Point, batch: int, rows: Sequence[int] | npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """A batch of zeros with the point's sample in some rows (in all, where `rows` is as long as it)."""
    inputs = np.zeros((batch, *point.inputs.shape[1:]), np.float32)
    places = np.arange(batch) if len(rows) == batch else np.asarray(rows)
    inputs[places] = point.inputs[0]
    return inputs, np.repeat(point.targets, batch, axis=0)


def _gradients(
    session: Session, point: Point, batch: int, rows: Sequence[int]
) -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.float32]]:
    """The gradients of one sample's loss, from a batch that holds it in `rows` among zeros, and the batch's
    own loss."""
    session.load(point.weights)
    loss = session.download(session.train_step(session.upload(*_placed(point, batch, rows))))
    after = session.weights()
    return {
        name: batch * (before.astype(np.float64) - after[name]) / _RATE
        for name, before in point.weights.items()
    }, loss


class _Recovery:
    """Reads the masks of steps at one point; `tallies` has what was seen of each dropout's."""

    def __init__(
        self, workload: Workload, point: Point, readers: dict[str, Node], precision: str
    ) -> None:
        self.readers = readers
        self._reach = SAFETY * policy_of(precision).unit_roundoff
        self.tallies = {name: Tally() for name in readers}
        self._nodes = workload.nodes
        self._weights = oracle_weights(point.weights)
        names = [node.name for node in workload.nodes]
        self._places = {name: names.index(name) for name in readers}
        # what goes into the first dropout no mask changes
        self._begin = min(self._places.values())
        self._entering = self._on(0, self._begin, oracle_inputs(point.inputs), {})

    def masks(self, row: int, gradients: dict[str, npt.NDArray[np.float64]]) -> Masks | None:
        """The masks of one step, from the zero columns; an element that is 0 anyway, or may be, counts as kept.

        None where a step does not show them.
        """
        masks: Masks = {}
        seen = []
        place, values = self._begin, self._entering
        for name, reader in self.readers.items():
            columns = gradients[f"{reader.name}.weight"]
            visible = np.abs(columns).max(0) > 0
            if not visible.any():
                # Nothing came back to the reader (a later mask dropped all of it), so nothing can be read.
                return None
            values = self._on(place, self._places[name], values, masks)
            place = self._places[name]
            # what is within rounding of a relu's zero may be zero there
            known = np.abs(values.ravel()) > self._reach * root_mean_square(values)
            seen.append((self.tallies[name], visible, known))
            masks[name] = visible | ~known
        for tally, visible, known in seen:
            tally.add(row, visible, known)
        return masks

    def _on(self, begin: int, end: int, values: Array, masks: Masks) -> Array:
        """What comes out of the layers from one place up to another."""
        run = Pass(True, np.ones(1), masks=masks)
        return forward(self._nodes[begin:end], self._weights, values, run)


def _check_step(
    workload: Workload,
    point: Point,
    masks: Masks,
    gradients: dict[str, npt.NDArray[np.float64]],
    loss: npt.NDArray[np.float32] | None,
    precision: str,
    where: str,
) -> list[Check]:
    """The whole step, with the recovered masks given to the oracle.

    Without a `loss` the sample is one of a batch of zeros, which have a part in it and in the biases' gradients.
    """
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    policy = policy_of(precision)

    def perturbed(draw: int, forced: Mapping[str, Branch]) -> Pass:
        return Pass(True, np.ones(1), Perturbed(draw, policy), masks, forced)

    def outcome(run: Pass) -> dict[str, Array]:
        _, value = forward_backward(
            workload.nodes, workload.loss, weights, inputs, point.targets, run
        )
        return run.gradients | {"loss": np.asarray(value)}

    exact = Pass(True, np.ones(1), Exact(policy), masks)
    want, branches = outcome(exact), exact.branches
    noisy = [perturbed(draw, branches) for draw in range(2)]
    for run in noisy:
        forward(workload.nodes, weights, inputs, run)
    ambiguous = ambiguous_branches(branches, [run.branches for run in noisy], workload.nodes)
    taken = turned_branches(branches, ambiguous, 0, _RUNS)
    draws = [outcome(perturbed(draw, forced)) for draw, forced in enumerate(taken)]
    checks = []
    for name, value in want.items():
        if loss is None and not name.endswith(".weight"):
            continue
        got = loss if name == "loss" and loss is not None else gradients[name]
        mean_square = np.mean([np.square(draw[name] - value) for draw in draws], axis=0)
        expected = expectation(value, mean_square, _RUNS, policy.unit_roundoff, _QUANTUM)
        label = "loss" if name == "loss" else f"gradient of {name}"
        checks.append(
            compare(
                f"{label}, with dropout, {where}",
                got,
                expected.value,
                expected.tolerance,
                expected.scale,
            )
        )
    return checks


def _apart(batch: int) -> list[int]:
    """How far two rows of a batch may lie apart, first where masks that repeat themselves most likely would."""
    halves = [batch // 2**power for power in range(1, batch.bit_length())]
    return list(dict.fromkeys([batch - 1, *halves, *range(1, batch)]))


def _check_two_samples(
    adapter: Adapter, plan: Plan, node: Node, apart: Sequence[int], where: str = ""
) -> list[Check]:
    """Two copies of a sample get masks of their own, however far `apart` they are: a column is gone only where both
    lost it.

    Asked of the dropout alone, where no later mask can hide what passed this one.
    """
    workload = dataclasses.replace(_stand_alone(node), optimizer=Sgd(learning_rate=_RATE))
    point = draw_unbiased_point(workload.without_dropout(), "dropout", plan.precision)
    batch = max(plan.batch, 2)
    session = adapter.open(dataclasses.replace(plan, batch=batch), workload, point.weights)
    reader = f"{_readers(workload)[node.name].name}.weight"
    rate, size = _rate(workload, node.name), math.prod(node.output_shape)
    # so often that two equal masks are told from two of their own
    visits = next(
        n for n in itertools.count(1) if most_by_chance(n * size, rate**2) < rate - rate**2
    )
    gone: collections.Counter[int] = collections.Counter()
    seen: collections.Counter[int] = collections.Counter()
    least = min(_ALONE_STEPS, visits * len(apart))
    for step in range(_ALONE_STEPS):
        distance = apart[step // visits % len(apart)]
        # not always the same ones
        first = 5 * step % (batch - distance)
        gradients, _ = _gradients(session, point, batch, (first, first + distance))
        lost = np.abs(gradients[reader]).max(0) == 0
        gone[distance] += int(lost.sum())
        seen[distance] += lost.size
        if step + 1 >= max(least, _MIN_STEPS) and seen.total() >= _MIN_ELEMENTS:
            break
    label = f"fraction lost by both samples of {node.name} ({_ALONE}){where}"
    checks = [fraction(label, gone.total(), seen.total(), rate**2)]
    worst = max(seen, key=lambda each: gone[each] / seen[each])
    if len(seen) > 1 and most_by_chance(seen[worst], rate**2) < rate - rate**2:
        checks.append(fraction(f"{label}, {worst} apart", gone[worst], seen[worst], rate**2))
    return checks


def _rate(workload: Workload, name: str) -> float:
    layer = next(node.layer for node in walk(workload.nodes) if node.name == name)
    assert isinstance(layer, spec.Dropout)
    return layer.rate
