"""Whether the session that was timed rounds as coarsely as its label says: one that computes in float32 under the label
of a short format is too good for it.

Its distance from what float32 gives is held against the distance that the precision's roundings take the oracle. That a
session is not worse than its label, the tolerances hold.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.record.facts import Check
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.comparison import statement
from dlbench.verify.expected.evaluation_points import SAFETY, oracle_inputs, oracle_weights
from dlbench.verify.expected.tolerance import Expectation

_LEAST = 0.01
"""Share of the predicted distance below which it is float32's. Right sessions were seen at 0.4 and more, float32
at 0.0014 at the most; a branch that a rounding turns in one of two runs takes that run farther."""


def check_is_short(what: str, off: float, predicted: float) -> list[Check]:
    """Whether something is as far from float32's as it should be; nothing where no distance is to be expected.

    Parameters
    ----------
    off, predicted : its distance, and that of the oracle's runs with noise.
    """
    if predicted == 0 or not np.isfinite(off):
        return []
    share = off / predicted
    return [
        statement(
            f"{what}: {share:.2g} times as far from float32's as the precision's roundings take the oracle, "
            f"{'as it should be' if share >= _LEAST else 'so they were not made'}",
            share >= _LEAST,
        )
    ]


def check_output_is_short(
    workload: Workload,
    weights: Weights,
    inputs: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.float32],
    wanted: Expectation,
) -> list[Check]:
    """The same of the logits of some samples at the session's weights."""
    run = Pass(False, np.ones(len(inputs)))
    strict = forward(workload.nodes, oracle_weights(weights), oracle_inputs(inputs), run)
    if outputs.shape != strict.shape:
        return []
    off = float(np.sqrt(np.mean(np.square(outputs - strict))))
    spread = np.broadcast_to(wanted.tolerance / SAFETY, strict.shape)
    predicted = float(np.sqrt(np.mean(np.square(wanted.value - strict) + np.square(spread))))
    return check_is_short("logits after timing", off, predicted)
