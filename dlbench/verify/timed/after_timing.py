"""The proof after the timing: the session that was timed did train, and still computes the right
thing.

A backend may be right in the first steps and then stop: weights that no longer change, outputs that
come from a cache. So after the timed loop the very same session is asked four things: have the
weights moved, is its output on the timed batches the oracle's at the weights it ended with, do two
more steps from there follow the gradient (`dlbench.verify.timed.continued_training`), and do eight steps from the
initial weights move every parameter as the oracle says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session
from dlbench.oracle import integers
from dlbench.oracle.cache import load_arrays, place, save_arrays, source_hash
from dlbench.oracle.rounding import Array
from dlbench.record.facts import Check
from dlbench.spec.precision import policy_of
from dlbench.spec.quantization import program
from dlbench.spec.workload import Weights, Workload, digest_of
from dlbench.verify.checks.integers import STEP_ERROR
from dlbench.verify.checks.rank_agreement import check_alike
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import oracle_inputs, oracle_weights
from dlbench.verify.expected.tolerance import Expectation, expect_output
from dlbench.verify.extent import FULL, Extent
from dlbench.verify.timed.chance import ask_again
from dlbench.verify.timed.continued_training import check_going_on
from dlbench.verify.timed.movement import Movement, load_movement
from dlbench.verify.timed.observed_roundings import check_is_short, check_output_is_short
from dlbench.verify.timed.replay import whole_batch

_DRAWS = 2
_STILL, _RARE = 0.01, 1e-5
"""Share of the expected movement below which a parameter counts as not trained by the timed loop, and how often one
that wanders may come as close as that to where it began. In d dimensions it comes within a share s about s^d times, so
that parameters of one or two elements have a smaller share."""

_SHARE = 5.0
_UNNOTICED_S = 1e-4


@dataclasses.dataclass(frozen=True)
class Witness:
    """Samples that were seen in a batch: the resident batch, the row, and the sample's input (float32)."""

    batch: Any
    row: int
    inputs: npt.NDArray[np.float32]


def check_after(
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    trained: bool,
    witnesses: Sequence[Witness],
    cache_dir: Path,
    beat: Callable[[], None] = lambda: None,
    step: Callable[[Any], object] | None = None,
    extent: Extent = FULL,
) -> tuple[Check, ...]:
    """Holds a session that has just been timed against the oracle.

    Parameters
    ----------
    initial : the weights the timed loop started from, and was set back to now and then.
    trained : whether the loop trained, at least eight steps since it was last set back.
    witnesses : samples of the timed resident batches, and of one that the loop has not seen.
    beat : called between the parts, and between the steps of the last.
    step : takes the training steps of the last, once; the session itself by default.
    extent : how much is compared.
    """
    # inference changes nothing
    final = session.weights() if trained else initial
    witnesses = witnesses[-(extent.witnesses or len(witnesses)) :]
    inputs = np.stack([witness.inputs for witness in witnesses])
    wanted = (
        _expect(plan, workload, final, inputs)
        if trained
        else _load_output(plan, workload, initial, inputs, cache_dir)
    )
    outputs = _outputs(session, plan, workload, witnesses)
    checks = [_output(outputs, wanted)]
    if policy_of(plan.precision).is_mixed:
        checks += check_output_is_short(workload, final, inputs, outputs, wanted)
    beat()
    if trained:
        checks += check_alike(session, plan, workload, "after timing")
        replicas = workload.replicas(plan.world)
        about = (workload, plan.batch, plan.precision, initial, cache_dir)
        movement = load_movement(*about, extent, replicas=replicas)
        for name, expected in movement.items():
            if expected.telling:
                checks.append(_moved(name, final[name], initial[name], expected))
        for name in (p.name for p in workload.parameters if p.frozen):
            label = f"{name}, which is frozen, after the timed loop"
            checks.append(compare(label, final[name], initial[name], 0.0, 0.0))
        checks += check_going_on(session, plan, workload, beat, extent)

        def replay(attempt: int) -> list[Check]:
            wanted = movement
            if attempt:
                wanted = load_movement(*about, extent, attempt, replicas)
            steps = session.train_step if attempt or step is None else step
            return _replay(session, plan, workload, initial, wanted, beat, steps, extent)

        checks += ask_again(replay) if workload.has_dropout else replay(0)
        checks += check_alike(
            session, plan, workload, f"after {extent.after_steps} steps after timing"
        )
    return tuple(checks)


def check_settled(step_ns: float, read_ns: float, copy_ns: float) -> Check:
    """A synchronised step is a finished one, on a batch seen before as on a new one.

    See `dlbench.measure.settling`. A session that puts its work off until the outcome is read, or keeps the
    outcome of a batch, would be timed at nothing.
    """
    allowed_s = 3 * step_ns * 1e-9 + _UNNOTICED_S
    spent_s = max(read_ns - copy_ns, 0.0) * 1e-9
    name = "seconds of a step on a new batch until its outcome is read, less the reading,"
    return Check(
        name=name,
        where="",
        got=spent_s,
        expected=step_ns * 1e-9,
        error=abs(spent_s - step_ns * 1e-9),
        tolerance=allowed_s - step_ns * 1e-9,
        scale=0.0,
        passed=spent_s <= allowed_s,
    )


def prepare_after(
    workload: Workload,
    batch: int,
    initial: Weights,
    cache_dir: Path,
    precision: str = "fp32",
    replicas: int = 1,
    extent: Extent = FULL,
) -> None:
    """Makes sure that what `check_after` holds a trained session against is in the cache."""
    load_movement(workload, batch, precision, initial, cache_dir, extent, replicas=replicas)


def _outputs(
    session: Session, plan: Plan, workload: Workload, witnesses: Sequence[Witness]
) -> npt.NDArray[np.float32]:
    """Each witness' logits at the session's weights; a whole output where that has another shape than it should."""
    shape = (plan.batch, *workload.output_shape)
    rows = []
    for witness in witnesses:
        got = np.asarray(session.download(session.infer(witness.batch)))
        if got.shape != shape:
            return got
        rows.append(got[witness.row])
    return np.stack(rows)


def _output(outputs: npt.NDArray[np.float32], wanted: Expectation) -> Check:
    """The timed batches are still what was uploaded, and what is computed of them is the oracle's."""
    name = "logits after timing, a sample of each resident batch"
    return compare(name, outputs, wanted.value, wanted.tolerance, wanted.scale)


def _expect(
    plan: Plan, workload: Workload, weights: Weights, inputs: npt.NDArray[np.float32]
) -> Expectation:
    if plan.precision == "int8":
        return _expect_integers(workload, weights, inputs)
    values = oracle_weights(weights)
    return expect_output(workload, values, oracle_inputs(inputs), plan.precision, _DRAWS)


def _expect_integers(
    workload: Workload, weights: Weights, inputs: npt.NDArray[np.float32]
) -> Expectation:
    """What to expect of integers; where they are certain, what float32 makes of their product with the scale."""
    bounds = integers.expected_output(workload, weights, inputs)
    scale = program(workload)[-1].output_scale
    room = (bounds.high - bounds.low) / 2 + STEP_ERROR
    middle = (bounds.low + bounds.high) / 2
    return Expectation((scale * middle).astype(np.float32), (scale * room).astype(np.float32), 0.0)


def _load_output(
    plan: Plan,
    workload: Workload,
    initial: Weights,
    inputs: npt.NDArray[np.float32],
    cache_dir: Path,
) -> Expectation:
    """What `_expect` gives at the initial weights, from the cache: the same for every process of a run."""
    seen = hashlib.sha256(inputs.tobytes()).hexdigest()
    settings = ("output", workload.digest, plan.precision, digest_of(initial), seen)
    path = place(cache_dir, source_hash(), repr(settings).encode())
    kept = load_arrays(path)
    if kept is not None:
        with contextlib.suppress(KeyError):
            return Expectation(kept["value"], kept["tolerance"], float(kept["scale"]))
    wanted = _expect(plan, workload, initial, inputs)
    arrays = {"value": wanted.value, "tolerance": wanted.tolerance}
    save_arrays(path, arrays | {"scale": np.asarray(wanted.scale)})
    return wanted


def _moved(name: str, final: Array | Any, initial: Array | Any, expected: Movement) -> Check:
    size = float(np.sqrt(np.mean(np.square(final.astype(np.float64) - initial))))
    still = min(_STILL, _RARE ** (1 / expected.value.size)) * expected.size
    return Check(
        name=f"movement of {name} in the timed loop",
        where="",
        got=size if np.isfinite(size) else None,
        expected=expected.size,
        error=abs(size - expected.size) if np.isfinite(size) else None,
        tolerance=expected.size - still,
        scale=0.0,
        passed=bool(np.isfinite(size) and size >= still),
    )


def _replay(
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    movement: dict[str, Movement],
    beat: Callable[[], None],
    step: Callable[[Any], object],
    extent: Extent,
) -> list[Check]:
    """Some steps from the initial weights: every parameter's movement against the oracle's."""
    session.load(initial)
    session.load(initial)
    replicas, count = workload.replicas(plan.world), extent.after_steps
    for number in range(count):
        whole = whole_batch(workload, plan.batch, number, replicas, extent.after_samples)
        step(session.upload(*whole))
        beat()
    after = session.weights()
    checks = []
    if policy_of(plan.precision).is_mixed and not workload.has_dropout:
        told = {name: found for name, found in movement.items() if found.telling}
        errors = [
            after[name].astype(np.float64) - initial[name] - m.strict for name, m in told.items()
        ]
        off = float(np.sqrt(sum(np.square(error).sum() for error in errors)))
        predicted = float(np.sqrt(sum(m.off_strict**2 for m in told.values())))
        checks += check_is_short(f"movement in {count} steps after timing", off, predicted)
    for name, expected in movement.items():
        got = after[name].astype(np.float64) - initial[name]
        if not expected.telling:
            continue
        deviation = float(np.linalg.norm(got - expected.value) / np.linalg.norm(expected.value))
        allowed = 0.05 + 4 * expected.spread
        label = f"movement of {name} in {count} steps after timing, relative deviation"
        if allowed < 0.8:
            checks.append(compare(label, np.float64(deviation), np.float64(0.0), allowed, 0.0))
        else:
            ratio = float(np.linalg.norm(got) / np.linalg.norm(expected.value))
            label = f"movement of {name} in {count} steps after timing, logarithm of its share"
            with np.errstate(divide="ignore"):
                room = np.log(_SHARE) + 2 * expected.size_spread
                checks.append(compare(label, np.log(ratio), np.float64(0.0), room, 0.0))
    return checks
