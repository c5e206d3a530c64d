"""Whether a backend computes what the oracle does at weights that are given, and not drawn for the comparison: those of
a file, or those that another backend's training ended with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan
from dlbench.oracle.rounding import Array
from dlbench.record.facts import Check
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import oracle_inputs, oracle_weights
from dlbench.verify.expected.tolerance import Expectation, expect_output

SAMPLES = 4
"""Compared by default."""
_DRAWS = 2


def expected_logits(
    plan: Plan, workload: Workload, weights: Weights, inputs: npt.NDArray[np.float32]
) -> Expectation:
    """The oracle's logits in inference, and what rounding may change in them."""
    values: dict[str, Array] = oracle_weights(weights)
    return expect_output(workload, values, oracle_inputs(inputs), plan.precision, _DRAWS)


def check_given(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    weights: Weights,
    batch: tuple[npt.NDArray[np.float32], npt.NDArray[Any]],
    samples: int = SAMPLES,
) -> Check:
    """Holds the logits of the first samples of a batch of the plan's size, at the weights that a run begins with."""
    samples = min(samples, plan.batch)
    wanted = expected_logits(plan, workload, weights, batch[0][:samples])
    session = adapter.open(dataclasses.replace(plan, scenario="infer"), workload, weights)
    got = session.download(session.infer(session.upload(*batch)))[:samples]
    name = "logits at the weights that were given"
    return compare(name, got, wanted.value, wanted.tolerance, wanted.scale)
