"""How long a run will take, roughly, before anything of it has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbench.analyse.modes.trials import group_of
from dlbench.plan.backend_status import Found
from dlbench.plan.request import Request
from dlbench.record.schema import Case

_ASSUMED_FLOPS_PER_S_AND_THREAD = 20e9
_STEP_OVERHEAD_S = 1e-3
_WORKER_S = 0.4
_VERIFY_S = 3.0
_CHECK_S = 1.0
_TRY_S = 1.5
_OPENING_SHARE = 0.3
"""Opening and warming up the networks of a ladder, for each second of timing them."""
_BESIDE = 1.3
"""Warm-up and changes of turns, for each second of sampling."""


def estimate(
    request: Request,
    cases: Sequence[Case],
    problems: Mapping[Case, Found],
    found: Mapping[str, Found],
    training_samples: int,
) -> float:
    """About how long cases will take (s), but for those with problems; a rough guess."""
    runnable = [case for case in cases if case not in problems]
    start_s = {name: seen.seconds + _WORKER_S for name, seen in found.items()}
    total_s = sum(seen.seconds for seen in found.values()) + 2 * _WORKER_S
    if request.best:
        # a moment of each mode, and all that follows for about one a backend
        total_s += _TRY_S * len(runnable)
        runnable = list({group_of(case): case for case in runnable}.values())
    configurations = {case.configuration: case for case in runnable}.values()
    total_s += sum(start_s[each.backend] + _VERIFY_S for each in configurations)
    steps = [case for case in runnable if case.has_steps]
    configurations = {case.configuration: case for case in steps}.values()
    if request.rounds:
        # a process of a configuration times all of its scenarios
        total_s += request.all_rounds * sum(start_s[each.backend] for each in configurations)
        total_s += len(steps) * (_BESIDE * request.budget_s + request.all_rounds * _CHECK_S)
    if request.profile_s:
        opening_s = _OPENING_SHARE * request.profile_s
        total_s += sum(start_s[e.backend] + request.profile_s + opening_s for e in steps)
    flops = request.epochs * training_samples * request.suite.workload.training_flops
    train_s = flops / (_ASSUMED_FLOPS_PER_S_AND_THREAD * request.chosen_threads)
    for case in runnable:
        if case.learns and request.epochs:
            step_count = request.epochs * training_samples / case.batch
            own_s = start_s[case.backend] + train_s + step_count * _STEP_OVERHEAD_S
            total_s += own_s * (1 if case.has_steps else request.seeds)
    return total_s
