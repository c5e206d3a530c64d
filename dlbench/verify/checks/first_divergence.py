"""Where a backend first goes wrong: the first layer whose output, and the first parameter whose gradient,
leaves the tolerance.

The contract hands out no activations, and needs none: a network that ends early gives them as its output. Since
what is wrong stays wrong, the layer is found by bisection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dlbench.contract import Adapter, Plan
from dlbench.record.facts import Check
from dlbench.spec.network import Node
from dlbench.spec.training import MeanSquaredError
from dlbench.spec.workload import Workload
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import Point, oracle_inputs, oracle_weights
from dlbench.verify.expected.tolerance import expect_output


def first_gradient(checks: Sequence[Check], workload: Workload) -> Check | None:
    """The failed gradient nearest to the loss, where the backward pass meets it first."""
    names = [parameter.name for parameter in workload.parameters]
    failed = [c for c in checks if not c.passed and c.name.startswith("gradient of ")]

    def depth(check: Check) -> int:
        name = check.name.removeprefix("gradient of ").split(",")[0]
        return names.index(name) if name in names else -1

    return max(failed, key=depth, default=None)


def first_activation(
    adapter: Adapter, plan: Plan, workload: Workload, point: Point
) -> Check | None:
    """The output (in inference) of the first layer that leaves the tolerance; None where all stay inside."""
    finder = _Finder(adapter, plan, workload, point)
    return finder.search((), workload.nodes)


class _Finder:
    """Runs the beginnings of a network."""

    def __init__(self, adapter: Adapter, plan: Plan, workload: Workload, point: Point) -> None:
        self.adapter = adapter
        self.plan = dataclasses.replace(plan, scenario="infer")
        self.workload = workload
        self.point = point

    def search(self, before: tuple[Node, ...], nodes: tuple[Node, ...]) -> Check | None:
        """The check of the first node of `nodes` that is wrong, after `before`."""
        if not nodes:
            return None
        worst = self.check(before, nodes)
        if worst.passed:
            return None
        good, bad = 0, len(nodes)
        while bad - good > 1:
            middle = (good + bad) // 2
            check = self.check(before, nodes[:middle])
            if check.passed:
                good = middle
            else:
                bad, worst = middle, check
        before = (*before, *nodes[:good])
        wrong = nodes[good]
        inside = (self.search(before, body) for body in wrong.bodies)
        return next((check for check in inside if check is not None), worst)

    def check(self, before: tuple[Node, ...], nodes: tuple[Node, ...]) -> Check:
        """The output of the network that consists of `before` and `nodes`."""
        beginning = (*before, *nodes)
        part = dataclasses.replace(self.workload, nodes=beginning, loss=MeanSquaredError())
        weights = {p.name: self.point.weights[p.name] for p in part.parameters}
        session = self.adapter.open(self.plan, part, weights)
        inputs, _ = self.point.batch()
        targets = np.zeros((len(inputs), *part.output_shape), np.float32)
        got = session.download(session.infer(session.upload(inputs, targets)))
        expected = expect_output(
            part, oracle_weights(weights), oracle_inputs(self.point.inputs), self.plan.precision
        )
        order = self.point.order
        return compare(
            f"output of {beginning[-1].name}",
            got,
            expected.value[order],
            expected.tolerance[order],
            expected.scale,
        )
