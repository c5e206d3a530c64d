"""How far every parameter should have moved some steps from the initial weights, and how much of that is chance."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle.cache import load_arrays, place, save_arrays, source_hash
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.oracle.parallel_runs import each
from dlbench.oracle.rounding import Array, Exact, Perturbed, Rounding, exact
from dlbench.spec.precision import policy_of
from dlbench.spec.workload import Weights, Workload, digest_of
from dlbench.verify.expected.evaluation_points import oracle_inputs, oracle_weights
from dlbench.verify.extent import Extent
from dlbench.verify.timed.replay import distinct_batch, draw_masks

_SPREADS = ("spread", "size_spread", "off_strict")
_TELLING = 0.7


@dataclasses.dataclass(frozen=True)
class Movement:
    """How far a parameter should have moved, and how much of that rounding and dropout masks change.

    `spread` is the largest relative change of the movement from run to run, `size_spread` that of the
    logarithm of its size. Where even the size is a matter of chance (a bias before batch normalisation
    has no gradient but rounding), the movement says nothing. `strict` is the movement in float32, and `off_strict` how
    far the precision's roundings take it from there at the least, in a few runs.
    """

    value: npt.NDArray[np.float32]
    spread: float
    size_spread: float
    strict: npt.NDArray[np.float32]
    off_strict: float

    @property
    def telling(self) -> bool:
        """Whether the size of the movement can be held against the oracle's."""
        return self.size_spread < _TELLING

    @property
    def size(self) -> float:
        """Root mean square of the movement."""
        return float(np.sqrt(np.mean(np.square(self.value, dtype=np.float64))))


def load_movement(
    workload: Workload,
    batch: int,
    precision: str,
    initial: Weights,
    cache_dir: Path,
    extent: Extent,
    attempt: int = 0,
    replicas: int = 1,
) -> dict[str, Movement]:
    """The oracle's movement, with other masks and other noise in each attempt."""
    about = (workload.digest, batch, precision, digest_of(initial), extent, attempt, replicas)
    settings = ("movement", *about)
    path = place(cache_dir, source_hash(), repr(settings).encode())
    names = [p.name for p in workload.parameters if p.trainable]
    kept = load_arrays(path)
    if kept is not None:
        with contextlib.suppress(KeyError):
            return {n: _unpack(kept, n) for n in names}
    movement = _compute(workload, batch, precision, initial, names, extent, attempt, replicas)
    arrays = {}
    for name, found in movement.items():
        arrays[name] = found.value
        if found.strict is not found.value:
            arrays[f"{name}|strict"] = found.strict
        arrays |= {f"{name}|{field}": np.asarray(getattr(found, field)) for field in _SPREADS}
    save_arrays(path, arrays)
    return movement


def _unpack(kept: Mapping[str, npt.NDArray[Any]], name: str) -> Movement:
    spread, size_spread, off = (float(kept[f"{name}|{field}"]) for field in _SPREADS)
    strict = kept.get(f"{name}|strict", kept[name])
    return Movement(kept[name], spread, size_spread, strict, off)


def _compute(
    workload: Workload,
    batch: int,
    precision: str,
    initial: Weights,
    names: list[str],
    extent: Extent,
    attempt: int,
    replicas: int,
) -> dict[str, Movement]:
    """The oracle's movement, and its largest relative change over runs with noise and other masks."""
    start = oracle_weights(initial)
    policy = policy_of(precision)

    def train(run: int) -> dict[str, Array]:
        rounding = Perturbed(run, policy) if run else Exact(policy)
        return _train(workload, batch, start, rounding, (attempt, run), extent, replicas)

    reference, *others = each(train, range(1 + extent.after_runs))
    strict = (
        _train(workload, batch, start, exact, (attempt, 0), extent, replicas)
        if policy.is_mixed
        else reference
    )
    movement = {}
    for name in names:
        value = reference[name] - start[name]
        off = [float(np.linalg.norm(other[name] - strict[name])) for other in others]
        moves = [other[name] - start[name] for other in others]
        size = float(np.linalg.norm(value))
        spread = size_spread = np.inf
        if size > 0:
            spread = max(float(np.linalg.norm(move - value)) / size for move in moves)
            with np.errstate(divide="ignore"):
                size_spread = max(abs(float(np.log(np.linalg.norm(m) / size))) for m in moves)
        told = value.astype(np.float32)
        alone = told if strict is reference else (strict[name] - start[name]).astype(np.float32)
        movement[name] = Movement(told, spread, size_spread, alone, min(off))
    return movement


def _train(
    workload: Workload,
    batch: int,
    weights: dict[str, Array],
    rounding: Rounding,
    seed: tuple[int, ...],
    extent: Extent,
    replicas: int,
) -> dict[str, Array]:
    random = np.random.Generator(np.random.SFC64(seed))
    update = Update(workload.optimizer, rounding)
    for step in range(extent.after_steps):
        samples = extent.after_samples
        inputs, targets, counts = distinct_batch(workload, batch, step, replicas, samples)
        masks = draw_masks(workload, len(inputs), random)
        run = Pass(True, counts, rounding, masks=masks, replicas=replicas)
        forward_backward(
            workload.nodes, workload.loss, weights, oracle_inputs(inputs), targets, run
        )
        rate = workload.optimizer.learning_rate
        weights = update.step(weights, run.gradients, rate) | run.state
    return weights
