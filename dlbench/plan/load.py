"""What may be asked of the scenario ``server``."""

from __future__ import annotations

from dlbench.errors import UsageError
from dlbench.paths import MOST_S
from dlbench.plan.request import Request
from dlbench.spec.scenarios import NO_LOAD, PERCENTS

_MOST_PER_S = 1_000_000
_LEAST_QUERIES = 10
"""Of a process: fewer are no queue."""


def check_load(request: Request) -> None:
    """Refuses a load that cannot be carried out, or that no scenario of the request has.

    Raises
    ------
    UsageError : naming the option, and what would be valid.
    """
    load = request.load
    if "server" not in request.chosen_scenarios:
        if load != NO_LOAD:
            raise UsageError("--rate and --latency-bound are of --scenario server: name that too")
        return
    for option, given in (
        ("--best", request.best),
        ("--target-interval", request.target_interval),
    ):
        if given:
            raise UsageError(
                f"{option} goes by steps, and --scenario server has none: leave one out"
            )
    if not request.rounds:
        return
    if load.rate_per_s is None and load.bound_s is None:
        raise UsageError(
            "--scenario server takes --rate, queries a second, or --latency-bound, within which the largest rate is"
            " found"
        )
    if load.bound_s is not None and not 0 < load.bound_s <= MOST_S:
        raise UsageError(f"latency-bound {load.bound_s * 1e3:g} ms must be greater than 0")
    if load.percent not in PERCENTS:
        known = ", ".join(map(str, PERCENTS))
        raise UsageError(f"latency-percentile {load.percent} must be one of {known}")
    if load.rate_per_s is not None:
        _check_rate(request, load.rate_per_s)


def _check_rate(request: Request, rate_per_s: float) -> None:
    if not 0 < rate_per_s <= _MOST_PER_S:
        raise UsageError(
            f"rate {rate_per_s:g} must be queries a second, more than 0 and at most {_MOST_PER_S:,}"
        )
    queries = rate_per_s * request.budget_s / max(request.all_rounds, 1)
    if request.rounds and queries < _LEAST_QUERIES:
        raise UsageError(
            f"rate {rate_per_s:g} gives each process {queries:.1f} queries in its share of the budget, and"
            f" {_LEAST_QUERIES} are the least: raise --budget, or lower --rounds"
        )
