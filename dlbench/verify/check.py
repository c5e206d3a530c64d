"""The proof before the timing: one backend, held against the oracle in everything that training
computes.

1. Five steps at a small batch, each at weights of its own: the logits of inference, the loss, every
   gradient (one step of SGD with learning rate 2²⁰, the workload's own where that is its rule, gives it as a
   difference of weights, with nothing lost to rounding), and with the real optimizer, whose state lives on from step to
   step, the weights after the step and the logits then.
2. The same at the timed batch, one step.
3. Dropout, as it is timed (`dlbench.verify.checks.dropout`).
4. Of several ranks, what they owe each other (`dlbench.verify.checks.rank_agreement`). What any process owes is asked
   of them with the same samples for each (`dlbench.verify.sessions.repeated`), but for the timed batch and dropout.
5. A probe for each convention that an ordinary network would hide (`dlbench.verify.checks.probes`).
6. The arithmetic, on networks where every right backend has the same bits (`dlbench.verify.checks.arithmetic`).

By a plan that only infers, the outputs are held against the oracle in each of these places, and nothing else.

The first stage that fails ends the verification, with the first layer and the first parameter that
are wrong (`dlbench.verify.checks.first_divergence`), or with what the optimizer's rule was taken for
(`dlbench.verify.misreadings`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from dlbench.contract import Adapter, Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import no_freeze
from dlbench.record.facts import Check
from dlbench.spec.layers import MaxPool, Relu
from dlbench.spec.network import walk
from dlbench.spec.precision import policy_of
from dlbench.spec.quantization import NO_TRAINING
from dlbench.spec.workload import Workload
from dlbench.verify.checks.arithmetic import check_arithmetic, described, recognised
from dlbench.verify.checks.dropout import check_dropout
from dlbench.verify.checks.first_divergence import first_activation, first_gradient
from dlbench.verify.checks.integers import check_integers
from dlbench.verify.checks.probes import check_probes
from dlbench.verify.checks.rank_agreement import check_alike, check_ranks, check_statistics
from dlbench.verify.checks.steps import check_gradients, check_outputs, check_resident, check_steps
from dlbench.verify.checks.tie_breaking import check_relu_of_zero, observe_ties
from dlbench.verify.expected.evaluation_points import Point
from dlbench.verify.expected.reference import load_reference
from dlbench.verify.extent import FULL, Extent
from dlbench.verify.misreadings import explained
from dlbench.verify.sessions.guard import Guarded
from dlbench.verify.sessions.repeated import Repeating
from dlbench.verify.sessions.reuse import Once, Reusing


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a verification found; `reason` is empty when every check passed."""

    checks: tuple[Check, ...]
    ambiguous_branches: int
    facts: dict[str, str | int]
    reason: str


def verify(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    cache_dir: Path,
    progress: Callable[[str], None] = lambda phase: None,
    once: Once | None = None,
    small_batch: int | None = None,
    extent: Extent = FULL,
) -> Outcome:
    """Holds a backend's realisation of `workload`, executed as `plan` says, against the oracle.

    Parameters
    ----------
    plan : its scenario says what is verified, where the backend has it: training and inference, or inference alone.
    progress : told each phase.
    once : what this process has found out about the backend; nothing yet by default.
    small_batch : samples of the five steps; few by default.
    extent : how much is compared; where that is less than all, the facts say what was, as ``verified_at``.

    Raises
    ------
    ContractError : the backend is not what the contract says.
    BackendUnavailable, PlanRefused : from the adapter; whatever else a backend raises passes through too.
    """
    progress("oracle")
    adapter, once = Guarded(adapter), once or Once()
    info = adapter.info()
    trains = plan.scenario == "train" and "train" in info.scenarios
    if trains and not info.freezes and workload.first_frozen is not None:
        raise PlanRefused(no_freeze(workload.first_frozen))
    if plan.precision == "int8":
        return _verify_integers(adapter, plan, extent.small(workload), progress)
    reference = load_reference(
        *(workload, plan.batch, cache_dir, plan.precision, small_batch),
        replicas=workload.replicas(plan.world),
        extent=extent,
    )
    checks: list[Check] = []
    facts: dict[str, str | int] = {}
    calm, stepped = workload.without_dropout(), extent.small(workload.without_dropout())
    if not trains:
        plan = dataclasses.replace(plan, scenario="infer")
    small = dataclasses.replace(plan, batch=len(reference.small[0].point.order))
    if told := extent.told(workload, small.batch, plan.batch):
        facts["verified_at"] = told
    # of several ranks, one that hands each of them the whole batch
    alone: Adapter = adapter if plan.world == 1 else Repeating(adapter)
    stepping = Reusing(alone, keep=1)
    # what the steps themselves tell in plainer words, where they do
    late: list[Check] = []

    def gradients() -> list[Check]:
        if not trains:
            return check_outputs(alone, small, stepped, reference.small)
        found, late[:] = check_gradients(stepping, small, stepped, reference.small)
        return found

    def steps() -> list[Check]:
        found = check_steps(stepping, small, stepped, reference.small) if trains else []
        stepping.forget()
        return found + late

    def ranks() -> list[Check]:
        if plan.world == 1 or not trains:
            return []
        alike = dataclasses.replace(plan, batch=0)
        found = once(("ranks", alike), lambda: check_ranks(adapter, plan))
        if workload.replicas(2) > 1:
            found += once(("statistics", alike), lambda: check_statistics(adapter, plan))
        return found

    def probes() -> list[Check]:
        found = check_probes(alone, plan, workload, cache_dir, trains, once)
        if not trains:
            return found
        kinds = {type(node.layer) for node in walk(workload.nodes)}
        alike = dataclasses.replace(plan, batch=2)
        if Relu in kinds:
            found += once(("relu", alike), lambda: [check_relu_of_zero(alone, alike)])
        if MaxPool in kinds:
            rule, first = once(("ties", alike), lambda: observe_ties(alone, alike))
            facts["max_pool_tie"] = rule
            if info.own_kernels:
                found.append(first)
        return found

    def timed_batch() -> list[Check]:
        timed = Reusing(adapter, keep=1)
        session = timed.open(plan, calm, reference.timed.point.weights)
        facts.update(session.facts)
        if not trains:
            del session
            return check_outputs(adapter, plan, calm, [reference.timed], "timed batch")
        found = check_resident(session, reference.timed)
        found += check_alike(session, plan, calm, "after a step")
        del session
        # the session above has inferred this batch, twice
        stops, label = [reference.timed], "timed batch"
        plain, of_the_rule = check_gradients(timed, plan, calm, stops, label, infers=False)
        return found + plain + of_the_rule

    def dropout() -> list[Check]:
        if trains:
            return check_dropout(adapter, plan, workload, extent.small(workload))
        if calm == workload:
            return []
        # in inference dropout is the identity
        return check_outputs(adapter, plan, workload, [reference.timed], "with dropout")

    def arithmetic() -> list[Check]:
        found = check_arithmetic(alone, plan, workload, trains, once)
        if found and all(check.passed for check in found):
            facts["arithmetic"] = described(policy_of(plan.precision), trains)
        return found

    for phase, stage in (
        ("ranks", ranks),
        ("gradients", gradients),
        ("five steps", steps),
        ("timed batch", timed_batch),
        ("dropout", dropout),
        ("probes", probes),
        ("arithmetic", arithmetic),
    ):
        progress(phase)
        checks += stage()
        if all(check.passed for check in checks):
            continue
        reason = _failed(checks)[0].sentence()
        if stage in (gradients, steps, timed_batch):
            reason = _located(alone, small, stepped, reference.small[0].point, checks) or reason
        if all("after the step" in c.name or "logits after" in c.name for c in _failed(checks)):
            reason += _read_as(alone, plan, workload, cache_dir)
        if stage not in (arithmetic, ranks):
            reason += _computed_with(arithmetic)
        return Outcome(tuple(checks), reference.ambiguous_branches, facts, reason)
    return Outcome(tuple(checks), reference.ambiguous_branches, facts, "")


def _verify_integers(
    adapter: Adapter, plan: Plan, workload: Workload, progress: Callable[[str], None]
) -> Outcome:
    """Inference in integers, which has an oracle of its own."""
    if plan.scenario == "train":
        raise PlanRefused(NO_TRAINING)
    found = check_integers(adapter, plan, workload, progress)
    failed = _failed(found.checks)
    reason = failed[0].sentence() if failed else ""
    return Outcome(tuple(found.checks), found.ambiguous, found.facts, reason)


def _failed(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


def _read_as(adapter: Adapter, plan: Plan, workload: Workload, cache_dir: Path) -> str:
    """What the optimizer's rule was taken for, as the end of a sentence; empty where that is not known."""
    try:
        words = explained(adapter, plan, workload, cache_dir)
    except Exception:
        # What failed is told all the same.
        words = ""
    return f"; the optimizer steps as with {words}" if words else ""


def _computed_with(arithmetic: Callable[[], list[Check]]) -> str:
    """The arithmetic that was seen, where it is another than was asked for, as the end of a sentence."""
    try:
        words = recognised(arithmetic())
    except Exception:
        # What failed is told all the same.
        words = ""
    return f"; {words}" if words else ""


def _located(
    adapter: Adapter, plan: Plan, workload: Workload, point: Point, checks: Sequence[Check]
) -> str:
    """The first layer and the first gradient that are wrong, in words; empty where neither is."""
    try:
        activation = first_activation(adapter, plan, workload, point)
    except Exception:
        # The beginning of a network may be more than the backend has; that it failed stands all the same.
        activation = None
    found = (activation, first_gradient(checks, workload))
    return "; ".join(check.sentence() for check in found if check is not None)
