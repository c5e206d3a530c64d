"""Small networks on which a wrong convention is a gross error.

A tolerance that covers rounding also covers conventions that hardly matter on an ordinary network:
a running variance that is biased over 50,176 values differs by 2e-5, an eps outside the root by
5e-6. A probe makes such a difference large: four elements per channel, a variance near eps,
gradients near the optimizer's eps. A workload is held against the probes of the conventions that its own
layers and optimizer involve.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlbench.contract import Adapter, Plan
from dlbench.record.facts import Check
from dlbench.spec import layers as spec
from dlbench.spec.network import Shape, walk
from dlbench.spec.training import Adadelta, CrossEntropy, Optimizer, RMSprop, Sgd
from dlbench.spec.workload import Workload, read_workload
from dlbench.verify.checks.steps import check_gradients, check_outputs, check_steps
from dlbench.verify.expected.evaluation_points import UNIT_INPUTS, InputRange
from dlbench.verify.expected.reference import Stop, load_steps
from dlbench.verify.sessions.reuse import Once, Reusing

_HEAD: tuple[dict[str, Any], ...] = ({"type": "flatten"}, {"type": "linear", "out_features": 3})


@dataclasses.dataclass(frozen=True)
class Probe:
    """A small workload and inputs on which the conventions in `guards` are gross.

    The optimizer is the workload's own, without its weight decay unless `decays`: a decay would drown gradients
    near eps. `of_optimizer` says that it guards nothing else, and is for its settings too; the others are made with
    one optimizer.
    """

    name: str
    guards: str
    batch: int
    input_shape: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    needed: Callable[[Workload], bool]
    inputs: Callable[[Workload], InputRange] = lambda workload: UNIT_INPUTS
    loss: str = "cross_entropy"
    decays: bool = True
    of_optimizer: bool = False

    def workload(self, of: Workload) -> Workload:
        """The probe's network with the loss it needs and the optimizer of the workload it stands for."""
        table = of.to_table()
        table |= {"input_shape": list(self.input_shape), "layers": list(self.layers)}
        workload = read_workload(table | {"loss": self.loss})
        if self.decays:
            return workload
        calm = dataclasses.replace(workload.optimizer, weight_decay=0.0)
        return dataclasses.replace(workload, optimizer=calm)

    def stops(self, of: Workload, cache_dir: Path, precision: str) -> tuple[Stop, ...]:
        """The steps that a backend is held against, from the cache or computed now."""
        return load_steps(self.workload(of), self.batch, self.inputs(of), cache_dir, precision)


def _has(*kinds: type[spec.Layer]) -> Callable[[Workload], bool]:
    return lambda workload: any(isinstance(n.layer, kinds) for n in walk(workload.nodes))


def _like(inputs: InputRange) -> Callable[[Workload], InputRange]:
    return lambda workload: inputs


def _near_eps(rule: Optimizer) -> float:
    """The size of a gradient that counts as much as eps does, in the first step; within what squares well and does not
    outgrow the weights."""
    match rule:
        case Sgd():
            return 1.0
        case RMSprop():
            size = rule.eps / math.sqrt(1 - rule.rho)
        case Adadelta():
            size = math.sqrt(rule.eps / (1 - rule.rho))
        case _:
            size = rule.eps
    return min(max(size, 1e-15), 1.0)


def _pool(kind: type[spec.MaxPool | spec.AvgPool], **options: bool) -> Callable[[Workload], bool]:
    """Whether there is such a pool with just these options."""

    def needed(workload: Workload) -> bool:
        layers = (node.layer for node in walk(workload.nodes))
        pools = [layer for layer in layers if isinstance(layer, kind)]
        return any(all(getattr(pool, k) == v for k, v in options.items()) for pool in pools)

    return needed


def _ceiling(kind: type[spec.MaxPool | spec.AvgPool], guards: str, **options: bool) -> Probe:
    """Along the height the last window of ceil mode is left out, along the width it is there."""
    word = spec.WORDS[kind]
    pool = {"type": word, "kernel": [2, 3], "stride": 2, "padding": 1, **options}
    return Probe(
        name=" ".join([word, "with", *(key for key, is_on in options.items() if is_on)]),
        guards=guards,
        batch=2,
        input_shape=(2, 5, 6),
        layers=({"type": "conv2d", "out_channels": 2, "kernel": 1}, pool, *_HEAD),
        needed=_pool(kind, **options),
        inputs=_like(InputRange(offset=-4.0)),
    )


def _large(kind: type[spec.Layer], scale: float) -> Probe:
    word = spec.WORDS[kind]
    layers: tuple[dict[str, Any], ...] = ({"type": "linear", "out_features": 6}, {"type": word})
    return Probe(
        name=f"large values through {word}",
        guards="no upper bound, or the right one",
        batch=3,
        input_shape=(4,),
        layers=(*layers, {"type": "linear", "out_features": 3}),
        needed=_has(kind),
        inputs=_like(InputRange(scale=scale)),
    )


def _norm(of: str, few: Shape, more: Shape, batches: tuple[int, int]) -> tuple[Probe, Probe]:
    """The probes of batch normalisation `of` channels or features: one on `few` values of each, one on `more`."""
    axes = len(few)

    def needed(workload: Workload) -> bool:
        norms = [n for n in walk(workload.nodes) if isinstance(n.layer, spec.BatchNorm)]
        return any(len(norm.input_shape) == axes for norm in norms)

    return (
        Probe(
            name=f"batch norm, four values a {of}",
            guards="unbiased variance into the running estimate, momentum, biased variance to normalise",
            batch=batches[0],
            input_shape=few,
            layers=({"type": "batch_norm"}, *_HEAD),
            needed=needed,
        ),
        Probe(
            name=f"batch norm, variance of a {of} near eps",
            guards="eps inside the root, its value, none of it in the running variance",
            batch=batches[1],
            input_shape=more,
            layers=({"type": "batch_norm", "momentum": 1.0}, *_HEAD),
            needed=needed,
            inputs=_like(InputRange(scale=3e-3)),
        ),
    )


def _sample_norm(kind: type[spec.GroupNorm | spec.LayerNorm]) -> Probe:
    word = spec.WORDS[kind]
    norm: dict[str, Any] = {"type": word, **({"groups": 2} if kind is spec.GroupNorm else {})}
    return Probe(
        name=f"{word}, variance of a sample near eps",
        guards="eps inside the root, its value",
        batch=2,
        input_shape=(4, 2, 2),
        layers=(norm, *_HEAD),
        needed=_has(kind),
        inputs=_like(InputRange(scale=3e-3)),
    )


PROBES = (
    _sample_norm(spec.GroupNorm),
    _sample_norm(spec.LayerNorm),
    _large(spec.Relu, 20.0),
    _large(spec.LeakyRelu, 20.0),
    _large(spec.Sigmoid, 5.0),
    _large(spec.Tanh, 5.0),
    _large(spec.Relu6, 5.0),
    _large(spec.Silu, 5.0),
    _large(spec.HardSigmoid, 5.0),
    _large(spec.HardSwish, 5.0),
    _large(spec.Gelu, 3.0),
    *_norm("channel", (3, 1, 2), (3, 3, 3), (2, 2)),
    *_norm("feature", (3,), (3,), (4, 16)),
    Probe(
        name="pooling of negative values with padding",
        guards="padding never wins a maximum",
        batch=2,
        input_shape=(2, 5, 6),
        layers=(
            {"type": "conv2d", "out_channels": 2, "kernel": 1},
            {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1},
            *_HEAD,
        ),
        needed=_has(spec.MaxPool),
        inputs=_like(InputRange(offset=-4.0)),
    ),
    Probe(
        name="average pooling at the border",
        guards="padding is not counted, floor mode",
        batch=2,
        input_shape=(2, 5, 6),
        layers=(
            {"type": "conv2d", "out_channels": 2, "kernel": 1},
            {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1},
            *_HEAD,
        ),
        needed=_pool(spec.AvgPool, ceil_mode=False, count_include_pad=False),
    ),
    _ceiling(spec.MaxPool, "a last window that begins inside, and none behind", ceil_mode=True),
    _ceiling(
        spec.AvgPool,
        "padding counts, floor mode",
        ceil_mode=False,
        count_include_pad=True,
    ),
    _ceiling(
        spec.AvgPool,
        "a last window that begins inside, a mean of what lies inside",
        ceil_mode=True,
        count_include_pad=False,
    ),
    _ceiling(
        spec.AvgPool,
        "padding counts, what lies beyond it does not",
        ceil_mode=True,
        count_include_pad=True,
    ),
    Probe(
        name="strided convolution of an even size",
        guards="symmetric padding, no flip of the kernel",
        batch=2,
        input_shape=(2, 6, 8),
        layers=(
            {"type": "conv2d", "out_channels": 3, "kernel": 3, "stride": 2, "padding": 1},
            {"type": "tanh"},
            {"type": "conv2d", "out_channels": 2, "kernel": [3, 2], "padding": [1, 0]},
            *_HEAD,
        ),
        needed=_has(spec.Conv2d),
    ),
    Probe(
        name="several outputs under the squared error",
        guards="mean over all elements, not only over the batch",
        batch=3,
        input_shape=(4,),
        layers=({"type": "linear", "out_features": 5},),
        needed=lambda workload: not isinstance(workload.loss, CrossEntropy),
        loss="mean_squared_error",
    ),
    Probe(
        name="gradients near the optimizer's eps",
        guards="eps inside or outside the root, before or after a correction, and what the state starts at",
        batch=3,
        input_shape=(4,),
        layers=({"type": "linear", "out_features": 5},),
        needed=lambda workload: not isinstance(workload.optimizer, Sgd),
        inputs=lambda workload: InputRange(scale=_near_eps(workload.optimizer)),
        loss="mean_squared_error",
        decays=False,
        of_optimizer=True,
    ),
    Probe(
        name="five steps of the optimizer on a smooth network",
        guards="momentum without dampening, Nesterov, coupled or decoupled weight decay, bias correction",
        batch=3,
        input_shape=(4,),
        layers=({"type": "linear", "out_features": 5},),
        needed=lambda workload: True,
        loss="mean_squared_error",
        of_optimizer=True,
    ),
)


def probes_for(workload: Workload) -> list[Probe]:
    """The probes of the conventions that `workload` involves."""
    return [probe for probe in PROBES if probe.needed(workload)]


def prepare_probes(workload: Workload, cache_dir: Path, precision: str = "fp32") -> None:
    """Makes sure that what `check_probes` holds a backend against is in the cache."""
    for probe in probes_for(workload):
        probe.stops(workload, cache_dir, precision)


def check_probes(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    cache_dir: Path,
    trains: bool = True,
    once: Once | None = None,
) -> list[Check]:
    """Holds a backend against every probe that `workload` calls for, but for those that it was held against before, by
    what this process has found out `once`; one that does not train by its outputs."""
    checks = []
    for probe in probes_for(workload):
        small = probe.workload(workload)
        probe_plan = dataclasses.replace(plan, batch=probe.batch)

        def find(
            probe: Probe = probe, small: Workload = small, plan: Plan = probe_plan
        ) -> list[Check]:
            stops = probe.stops(workload, cache_dir, plan.precision)
            if not trains:
                return check_outputs(adapter, plan, small, stops)
            stepping = Reusing(adapter, keep=1)
            found, of_the_rule = check_gradients(stepping, plan, small, stops)
            return found + check_steps(stepping, plan, small, stops) + of_the_rule

        rule = small.digest if probe.of_optimizer else ""
        found = (once or Once())((probe.name, probe_plan, rule), find)
        checks += [dataclasses.replace(c, name=f"probe {probe.name!r}: {c.name}") for c in found]
    return checks
