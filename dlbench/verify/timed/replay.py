"""The batches of the steps that a session is asked for after timing, and masks for the oracle's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import walk
from dlbench.spec.workload import Workload
from dlbench.verify.expected.evaluation_points import (
    arrangement,
    sample_inputs,
    sample_targets,
)
from dlbench.verify.extent import FULL


def distinct_batch(
    workload: Workload,
    batch: int,
    step: int,
    replicas: int = 1,
    most: int = FULL.after_samples,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], Array]:
    """The distinct samples of the batch of a step after timing, `most` at the most, and how often each stands in it."""
    order = arrangement(batch, most, replicas)
    key = ("after", batch, step)
    distinct = int(order.max()) + 1
    counts = np.bincount(order, minlength=distinct).astype(np.float64)
    return sample_inputs(workload, distinct, *key), sample_targets(workload, distinct, *key), counts


def whole_batch(
    workload: Workload,
    batch: int,
    step: int,
    replicas: int = 1,
    most: int = FULL.after_samples,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """The batch of a step after timing."""
    inputs, targets, _ = distinct_batch(workload, batch, step, replicas, most)
    order = arrangement(batch, most, replicas)
    return inputs[order], targets[order]


def draw_masks(
    workload: Workload, samples: int, random: np.random.Generator
) -> dict[str, npt.NDArray[np.bool_]]:
    """Some masks for every dropout layer."""
    masks = {}
    for node in walk(workload.nodes):
        if isinstance(node.layer, spec.Dropout):
            masks[node.name] = random.random((samples, *node.output_shape)) >= node.layer.rate
    return masks
