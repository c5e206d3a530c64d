"""Which arithmetic a backend computes in: seen in networks on which every right backend has the same bits.

What is seen is held against the policy of the precision that was asked for. A row whose arithmetic is another one,
worse or better, is not what its label says; the check that fails tells what was seen.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dlbench.contract import Adapter, Plan, Session
from dlbench.oracle.optimizers import Update
from dlbench.oracle.rounding import Array, Emulated, rounded_half_away, truncated
from dlbench.record.facts import Check
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.precision import BF16, FP16, FP32, POLICIES, TF32, Policy, policy_of
from dlbench.spec.training import AdamW, CrossEntropy, Optimizer, Sgd
from dlbench.spec.workload import Workload
from dlbench.verify.checks.exact_networks import (
    WINDOWS,
    ExactNetwork,
    Outcome,
    conv_network,
    linear_network,
    pool_network,
)
from dlbench.verify.checks.steps import GRADIENT_RATE
from dlbench.verify.checks.wide_statistics import check_batch_statistics, check_softmax
from dlbench.verify.comparison import compare, statement
from dlbench.verify.sessions.reuse import Once

ARITHMETIC = "arithmetic of "
"""What the names of all these checks begin with."""
_SAME = 2.0**-21
"""Relative error of reading a gradient off weights."""
_NOISE = 2.0**-19
"""Share of an array's size that float32 may err by, where sums go another way (Winograd's)."""
_FLIPS = 0.04
"""Share of elements that such an error may bring to the other side of a rounding."""
_KNOWN = " is computed with "
_SCALES = tuple(2.0**power for power in (0, 5, 8, 10, 12, 13, 15, 16, 24))

_NETWORKS: tuple[tuple[type[spec.Layer], Callable[[Policy], ExactNetwork]], ...] = (
    (spec.Linear, linear_network),
    (spec.Conv2d, conv_network),
    (spec.AvgPool, lambda policy: pool_network(policy, "avg_pool")),
    (spec.MaxPool, lambda policy: pool_network(policy, "max_pool")),
    (spec.GlobalAvgPool, lambda policy: pool_network(policy, "global_avg_pool")),
)


def check_arithmetic(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    trains: bool = True,
    once: Once | None = None,
) -> list[Check]:
    """The checks of the arithmetic of each kind of layer that `workload` has, of its loss and of its optimizer, but for
    those that this process has done `once`."""
    policy, once = policy_of(plan.precision), once or Once()
    nodes = list(walk(workload.nodes))
    kinds = {type(node.layer) for node in nodes}
    if spec.Linear not in kinds:
        # its network ends in one
        kinds -= {spec.GlobalAvgPool}
    networks = [make(policy) for kind, make in _NETWORKS if kind in kinds]
    # sums go another way where windows are others
    others = [conv_network(policy, *window) for window in _windows(nodes) if window != (3, 1)]
    same = dataclasses.replace(plan, batch=0)
    checks: list[Check] = []
    for network in networks + others:
        checks += once(
            ("arithmetic", network.kind, same),
            functools.partial(_check_network, adapter, plan, network, policy, trains),
        )
    for axes in {len(n.input_shape) for n in nodes if isinstance(n.layer, spec.BatchNorm)}:
        checks += once(
            ("arithmetic of batch statistics", axes, same),
            functools.partial(check_batch_statistics, adapter, plan, policy, axes, trains),
        )
    if not trains:
        return checks
    # of one gradient alone, which clipping goes beyond
    rule = dataclasses.replace(workload.optimizer, clip_norm=None)
    # of each shape of weights; a pool has a convolution's
    for network in [each for each in networks if each.has_own_weight] or networks[:1]:
        checks += once(
            ("arithmetic of", rule, network.kind, same),
            functools.partial(_check_update, adapter, plan, rule, network, policy),
        )
    if isinstance(workload.loss, CrossEntropy) and spec.Linear in kinds:
        loss, classes = workload.loss, workload.output_shape[0]
        checks += once(
            ("arithmetic of softmax", loss, classes, same),
            lambda: check_softmax(adapter, plan, policy, loss, classes),
        )
    return checks


def _windows(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """The kernels and strides there are, of those that an exact network can have."""
    layers = [node.layer for node in nodes if isinstance(node.layer, spec.Conv2d)]
    shapes = {(layer.kernel, layer.stride) for layer in layers}
    return [each for each in WINDOWS if ((each[0],) * 2, (each[1],) * 2) in shapes]


def described(policy: Policy, trains: bool) -> str:
    """What `check_arithmetic` has seen where nothing failed: ``factors bf16, sums fp32, stored bf16, …``."""
    parts = {"factors": policy.factors, "sums": policy.sums, "stored": policy.stored}
    if trains:
        parts |= {"statistics": policy.statistics, "masters": policy.weights}
    told = ", ".join(f"{what} {format_.name}" for what, format_ in parts.items())
    scaled = trains and policy.loss_scale != 1
    return f"{told}, loss scale {policy.loss_scale:g}" if scaled else told


def recognised(checks: Sequence[Check]) -> str:
    """The first of the checks that failed and knows which other arithmetic was seen, as a sentence; empty where none
    does."""
    known = (check.sentence() for check in checks if not check.passed and _KNOWN in check.name)
    return next(known, "")


def _check_network(
    adapter: Adapter, plan: Plan, network: ExactNetwork, policy: Policy, trains: bool
) -> list[Check]:
    plain = dataclasses.replace(network.workload, optimizer=Sgd(learning_rate=GRADIENT_RATE))
    session = adapter.open(_plan(plan, network), plain, network.weights)
    batch = session.upload(network.inputs, network.targets)
    got: Outcome = {"logits": _download(session, session.infer(batch))}
    again = _download(session, session.infer(batch))
    end = (
        [_overflow(session, network)] if policy.stored == FP16 and network.kind == "linear" else []
    )
    if trains:
        got["loss"] = _download(session, session.train_step(batch))
        after = session.weights()
        for name in network.shown:
            before = network.weights[name].astype(np.float64)
            got[f"gradient of {name}"] = (before - after[name]) / GRADIENT_RATE
    repeats = np.array_equal(again, got["logits"])
    name = f"arithmetic of {network.kind}"
    checks = [
        statement(
            f"{name}: the same batch gives {'the same bits' if repeats else 'other bits'} again",
            repeats,
        )
    ]
    want = network.outcome(Emulated(policy), trains=trains)
    for what, value in want.items():
        if what == "loss":
            checks.append(_loss(f"{name}: loss", got[what], value))
        else:
            checks.append(_seen(f"{name}: {what}", network, policy, what, got[what], value))
    return [*checks, *end]


def _overflow(session: Session, network: ExactNetwork) -> Check:
    """A value beyond the end of float16 becomes infinite, as IEEE 754 has it, and is not clipped."""
    inputs = network.inputs.copy()
    inputs[0] *= 2.0**15
    got = _download(session, session.infer(session.upload(inputs, network.targets)))
    clipped = bool(np.all(np.isfinite(got[0])))
    what = "is clipped" if clipped else "is not finite"
    return statement(f"arithmetic of linear: what is beyond 65504 {what}", not clipped)


def _loss(name: str, got: Array, want: Array) -> Check:
    return compare(name, got, want, 1e-5 * np.abs(want), float(want))


def _seen(
    name: str, network: ExactNetwork, policy: Policy, what: str, got: Array, want: Array
) -> Check:
    """Whether an array is what the policy gives; if not, what else gives it."""
    if got.shape == want.shape and (_is(got, want) or _is_nearly(got, want, policy)):
        allowed = 2 * (_SAME + 2.01 * policy.stored.unit_roundoff) * np.abs(want)
        return compare(name, got, want, allowed + 2 * _NOISE * _size(want), 0.0)
    trains = what != "logits"
    for group in _others(policy, what):
        with np.errstate(all="ignore"):
            # what is beyond a format's end
            outcomes = {
                words: (other.policy, network.outcome(other, trains=trains)[what])
                for words, other in group.items()
            }
        same = [words for words, (_, value) in outcomes.items() if _is(got, value)]
        nearly = [words for words, (p, value) in outcomes.items() if _is_nearly(got, value, p)]
        if same or nearly:
            words = " or ".join(same or nearly)
            return statement(f"{name}{_KNOWN}{words}, not with {_formats(policy)}", False)
    other = np.mean(~(np.abs(got - want) <= _SAME * np.abs(want))) if got.shape == want.shape else 1
    return statement(
        f"{name} differs in {other:.0%} of its elements from {_formats(policy)} with sums in float32, and from all "
        "other arithmetic that dlbench knows",
        False,
    )


def _formats(policy: Policy) -> str:
    return f"factors {policy.factors.name}, stored {policy.stored.name}"


def _others(policy: Policy, what: str) -> Iterator[dict[str, Emulated]]:
    """Other arithmetic than the policy's, in words; the likelier first."""
    yield {
        f"rounding by truncation ({_formats(policy)})": Emulated(policy, truncated),
        f"ties rounded away from zero ({_formats(policy)})": Emulated(policy, rounded_half_away),
    }
    formats = list(itertools.product((FP32, TF32, BF16, FP16), (FP32, BF16, FP16)))
    usual = [(each.factors, each.stored) for each in POLICIES.values()]
    others = {
        pair: dataclasses.replace(policy, factors=pair[0], stored=pair[1])
        for pair in [*usual, *formats]
    }
    yield {_formats(others[pair]): Emulated(others[pair]) for pair in usual}
    if what != "logits":
        scales = {scale: dataclasses.replace(policy, loss_scale=scale) for scale in _SCALES}
        yield {
            f"a loss scale of {scale:g} ({_formats(other)})": Emulated(other)
            for scale, other in scales.items()
        }
    yield {_formats(other): Emulated(other) for other in others.values()}
    yield {f"{_formats(other)}, truncated": Emulated(other, truncated) for other in others.values()}


def _is(got: Array, want: Array) -> bool:
    """Whether an array is another but for what reading it costs."""
    with np.errstate(invalid="ignore"):
        return bool(np.all((got == want) | (np.abs(got - want) <= _SAME * np.abs(want))))


def _is_nearly(got: Array, want: Array, policy: Policy) -> bool:
    """Whether all is as in `want` but for errors of float32, which may turn a rounding now and then."""
    if not np.all(np.isfinite(want)):
        return False
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.abs(got - want), nan=np.inf)
        size = _size(want)
        turned = error > _NOISE * size
        one_step = error <= 2.01 * policy.stored.unit_roundoff * np.abs(want) + _NOISE * size
    return bool(np.all(~turned | one_step) and np.mean(turned) <= _FLIPS * policy.is_mixed)


def _size(values: Array) -> Array:
    """What each value is large beside: the values of its row and column."""
    flat = np.square(values.reshape(len(values), -1))
    size = np.sqrt(np.minimum(flat.mean(0, keepdims=True), flat.mean(1, keepdims=True)))
    return np.asarray(size.reshape(values.shape))


def _check_update(
    adapter: Adapter, plan: Plan, rule: Optimizer, network: ExactNetwork, policy: Policy
) -> list[Check]:
    """Two steps of the workload's optimizer from known gradients: master weights, state and update in float32, and the
    loss scale off before any of them."""
    name = network.shown[-1]
    weight = {name: network.weights[name].astype(np.float64)}
    # the second gradient goes back, by a share that no usual momentum undoes
    batches = [network, network.with_errors(-0.3125, Emulated(policy))]
    gradients = [each.outcome(Emulated(policy))[f"gradient of {name}"] for each in batches]
    rates, update = [], Update(rule)
    after: list[Array] = []
    for gradient in gradients:
        moved = update.step(weight, {name: gradient}, 1.0)[name] - weight[name]
        # so large a step that what it is made of is seen beside the weight
        rate = 2.0 ** np.round(np.log2(0.25 / np.sqrt(np.mean(np.square(moved)))))
        rates.append(float(rate))
        after.append(weight[name] + rate * moved)
    real = dataclasses.replace(network.workload, optimizer=rule)
    session = adapter.open(_plan(plan, network), real, network.weights)
    checks = []
    telling = np.abs(gradients[0]) > 0.1 * np.abs(gradients[0]).mean()
    if not isinstance(rule, AdamW):
        # a gradient that the decay nearly undoes is what rounding has left of it, and RMSprop divides by its size
        for gradient in gradients:
            decay = rule.decay_of(name) * weight[name]
            telling &= np.abs(gradient + decay) > 2.0**-5 * (np.abs(gradient) + np.abs(decay))
    for step, (each, rate, want) in enumerate(zip(batches, rates, after, strict=True), 1):
        if step > 1:
            session.load(network.weights, keep_optimizer=True)
        session.learning_rate = rate
        session.train_step(session.upload(each.inputs, each.targets))
        got = session.weights()[name].astype(np.float64)
        change = np.abs(want - weight[name])
        allowed = 2.0**-15 * change + 2.0**-22 * np.abs(weight[name]) + 2.0**-60
        label = f"arithmetic of the optimizer: {name} after step {step}, master weights and state in float32"
        excess = np.where(telling, np.abs(got - want) / allowed, 0)
        if policy.is_mixed:
            # a rounding of a gradient that went the other way
            excess[excess > np.quantile(excess, 1 - _FLIPS)] = 0
        worst = np.unravel_index(int(excess.argmax()), want.shape)
        checks.append(compare(label, got[worst], want[worst], allowed[worst], 0.0))
    return checks


def _plan(plan: Plan, network: ExactNetwork) -> Plan:
    return dataclasses.replace(plan, batch=len(network.inputs))


def _download(session: Session, result: object) -> Array:
    return session.download(result).astype(np.float64)
