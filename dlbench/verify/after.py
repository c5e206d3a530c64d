"""The proof after the timing: the session that was timed did train, and still computes the right
thing.

A backend may be right in the first steps and then stop: weights that no longer change, outputs that
come from a cache. So after the timed loop the very same session is asked three things: have the
weights moved, is its output at the weights it ended with the oracle's, and do eight more steps from
the initial weights move every parameter as the oracle says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.oracle.rounding import UNIT_ROUNDOFF, Array, Perturbed, Rounding, exact
from dlbench.spec import layers as spec
from dlbench.spec.network import walk
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.expectation import expect_output
from dlbench.verify.points import (
    SMALL_BATCH,
    oracle_inputs,
    oracle_weights,
    repetitions,
    sample_inputs,
    sample_targets,
)
from dlbench.verify.reference import load_arrays, save_arrays, source_hash
from dlbench.verify.result import Check, compare

STEPS = 8
_RUNS = 3
_ROWS = 4
_STILL = 0.01
"""Share of the expected movement below which a parameter counts as not trained by the timed loop: real and random data
differ in how far they move it, by less than this."""

_TELLING = 0.7
_SHARE = 5.0


def check_after(
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    trained: bool,
    held_out_inputs: npt.NDArray[np.float32],
    held_out_targets: npt.NDArray[Any],
    cache_dir: Path,
) -> tuple[Check, ...]:
    """Holds a session that has just been timed against the oracle.

    Parameters
    ----------
    initial : the weights the timed loop started from, and was set back to now and then.
    trained : whether the loop trained, at least `STEPS` steps since it was last set back.
    held_out_inputs, held_out_targets : a batch of the plan's size that the loop has not seen.
    """
    final = session.weights()
    batch = session.upload(held_out_inputs, held_out_targets)
    checks = [_output(session, plan, workload, final, batch, held_out_inputs)]
    if trained:
        movement = _load_movement(workload, plan.batch, plan.precision, initial, cache_dir)
        for name, expected in movement.items():
            if expected.telling:
                checks.append(_moved(name, final[name], initial[name], expected))
        checks += _replay(session, plan, workload, initial, movement)
    return tuple(checks)


def prepare_after(
    workload: Workload, batch: int, initial: Weights, cache_dir: Path, precision: str = "fp32"
) -> None:
    """Makes sure that what `check_after` holds a trained session against is in the cache."""
    _load_movement(workload, batch, precision, initial, cache_dir)


def _output(
    session: Session,
    plan: Plan,
    workload: Workload,
    final: Weights,
    batch: Any,
    inputs: npt.NDArray[np.float32],
) -> Check:
    rows = np.unique(np.linspace(0, len(inputs) - 1, _ROWS).astype(int))
    got = np.asarray(session.download(session.infer(batch)))
    name = "logits of the held-out batch after timing"
    if got.shape[:1] != (len(inputs),):
        return compare(name, got, np.zeros((len(inputs), *workload.output_shape)), 0.0, 0.0)
    weights = oracle_weights(final)
    wanted = expect_output(workload, weights, oracle_inputs(inputs[rows]), plan.precision)
    return compare(name, got[rows], wanted.value, wanted.tolerance, wanted.scale)


@dataclasses.dataclass(frozen=True)
class _Movement:
    """How far a parameter should have moved, and how much of that rounding and dropout masks change.

    `spread` is the largest relative change of the movement from run to run, `size_spread` that of the
    logarithm of its size. Where even the size is a matter of chance (a bias before batch normalisation
    has no gradient but rounding), the movement says nothing.
    """

    value: npt.NDArray[np.float32]
    spread: float
    size_spread: float

    @property
    def telling(self) -> bool:
        """Whether the size of the movement can be held against the oracle's."""
        return self.size_spread < _TELLING

    @property
    def size(self) -> float:
        """Root mean square of the movement."""
        return float(np.sqrt(np.mean(np.square(self.value, dtype=np.float64))))


def _moved(name: str, final: Array | Any, initial: Array | Any, expected: _Movement) -> Check:
    size = float(np.sqrt(np.mean(np.square(final.astype(np.float64) - initial))))
    return Check(
        name=f"movement of {name} in the timed loop",
        where="",
        got=size if np.isfinite(size) else None,
        expected=expected.size,
        error=abs(size - expected.size) if np.isfinite(size) else None,
        tolerance=expected.size * (1 - _STILL),
        scale=0.0,
        passed=bool(np.isfinite(size) and size >= _STILL * expected.size),
    )


def _replay(
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    movement: dict[str, _Movement],
) -> list[Check]:
    """Eight steps from the initial weights: every parameter's movement against the oracle's."""
    session.load(initial)
    counts = repetitions(plan.batch, SMALL_BATCH)
    for step in range(STEPS):
        inputs, targets = _batch(workload, plan.batch, step)
        session.train_step(
            session.upload(np.repeat(inputs, counts, axis=0), np.repeat(targets, counts, axis=0))
        )
    after = session.weights()
    checks = []
    for name, expected in movement.items():
        got = after[name].astype(np.float64) - initial[name]
        if not expected.telling:
            continue
        deviation = float(np.linalg.norm(got - expected.value) / np.linalg.norm(expected.value))
        allowed = 0.05 + 4 * expected.spread
        label = f"movement of {name} in {STEPS} steps after timing, relative deviation"
        if allowed < 0.8:
            checks.append(compare(label, np.float64(deviation), np.float64(0.0), allowed, 0.0))
        else:
            ratio = float(np.linalg.norm(got) / np.linalg.norm(expected.value))
            label = f"movement of {name} in {STEPS} steps after timing, logarithm of its share"
            with np.errstate(divide="ignore"):
                checks.append(compare(label, np.log(ratio), np.float64(0.0), np.log(_SHARE), 0.0))
    return checks


def _batch(
    workload: Workload, batch: int, step: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    distinct = len(repetitions(batch, SMALL_BATCH))
    key = ("after", batch, step)
    return sample_inputs(workload, distinct, *key), sample_targets(workload, distinct, *key)


def _load_movement(
    workload: Workload, batch: int, precision: str, initial: Weights, cache_dir: Path
) -> dict[str, _Movement]:
    digest = hashlib.sha256(f"{workload.digest}{batch}{precision}".encode())
    digest.update(source_hash().encode())
    for name in sorted(initial):
        digest.update(initial[name].tobytes())
    path = cache_dir / "oracle" / f"{digest.hexdigest()[:32]}.npz"
    names = [p.name for p in workload.parameters if p.trainable]
    kept = load_arrays(path)
    if kept is not None:
        with contextlib.suppress(KeyError):
            return {n: _unpack(kept, n) for n in names}
    movement = _compute_movement(workload, batch, precision, initial, names)
    arrays = {}
    for name, found in movement.items():
        arrays[name] = found.value
        arrays[f"{name}|spread"] = np.asarray(found.spread)
        arrays[f"{name}|size_spread"] = np.asarray(found.size_spread)
    save_arrays(path, arrays)
    return movement


def _unpack(kept: Mapping[str, npt.NDArray[Any]], name: str) -> _Movement:
    spreads = (float(kept[f"{name}|{field}"]) for field in ("spread", "size_spread"))
    return _Movement(kept[name], *spreads)


def _compute_movement(
    workload: Workload, batch: int, precision: str, initial: Weights, names: list[str]
) -> dict[str, _Movement]:
    """The oracle's movement, and its largest relative change over runs with noise and other masks."""
    start = oracle_weights(initial)
    reference = _train(workload, batch, start, exact, 0)
    others = [
        _train(workload, batch, start, Perturbed(run, UNIT_ROUNDOFF[precision]), run)
        for run in range(1, _RUNS + 1)
    ]
    movement = {}
    for name in names:
        value = reference[name] - start[name]
        moves = [other[name] - start[name] for other in others]
        size = float(np.linalg.norm(value))
        spread = size_spread = np.inf
        if size > 0:
            spread = max(float(np.linalg.norm(move - value)) / size for move in moves)
            with np.errstate(divide="ignore"):
                size_spread = max(abs(float(np.log(np.linalg.norm(m) / size))) for m in moves)
        movement[name] = _Movement(value.astype(np.float32), spread, size_spread)
    return movement


def _train(
    workload: Workload, batch: int, weights: dict[str, Array], rounding: Rounding, seed: int
) -> dict[str, Array]:
    random = np.random.Generator(np.random.SFC64(seed))
    update = Update(workload.optimizer, rounding)
    counts = repetitions(batch, SMALL_BATCH).astype(np.float64)
    dropouts = [n for n in walk(workload.nodes) if isinstance(n.layer, spec.Dropout)]
    for step in range(STEPS):
        inputs, targets = _batch(workload, batch, step)
        masks = {}
        for node in dropouts:
            assert isinstance(node.layer, spec.Dropout)
            shape = (len(inputs), *node.output_shape)
            masks[node.name] = random.random(shape) >= node.layer.rate
        run = Pass(True, counts, rounding, masks=masks)
        forward_backward(
            workload.nodes, workload.loss, weights, oracle_inputs(inputs), targets, run
        )
        rate = workload.optimizer.learning_rate
        weights = update.step(weights, run.gradients, rate) | run.state
    return weights
