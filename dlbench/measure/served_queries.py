"""A session that is asked queries at a rate, or at several until the largest is found that it can stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from dlbench.measure.queueing import Served, arrivals_ns, gaps, serve, wait_until
from dlbench.measure.rate_search import TRIALS, allowed_late, judged, largest_rate
from dlbench.measure.timed_steps import LEAST_STEPS, Block, TimedSteps
from dlbench.record.facts import RateTrial
from dlbench.spec.scenarios import Load, least_queries

_PATIENCE = 3
"""How many times as long as its queries come may be waited until they are answered; a rate beyond what a session can do
has no end."""
_SHARE_WITHOUT_SEARCH = 0.5
"""Of what a session answers back to back, the rate that is recorded where there is no time for a search."""


class Draw(NamedTuple):
    """What the times between arrivals are drawn from: the run's seed and the round, so that all rows of a round have
    the same ones."""

    seed: int
    round: int


@dataclasses.dataclass(frozen=True)
class AtRate:
    """What was found out: the queries that count, at which rate they came, and all rates that were tried."""

    served: Served
    rate_per_s: float
    trials: tuple[RateTrial, ...] = ()


class ServedQueries(TimedSteps):
    """Inference that is warmed up as ever, then asked by a schedule.

    Attributes
    ----------
    found : what was found out; None before.
    """

    found: AtRate | None = None

    def wait(self, moment_ns: int) -> None:
        """Returns when a moment of the clock has come."""
        wait_until(moment_ns, self._clock)

    def serve(self, load: Load, seconds: float, draw: Draw, lead_s: float = 0.0) -> AtRate:
        """Asks for so many seconds, behind `lead_s` seconds of steps that are not sampled: at the load's rate, or at
        those of a search for the largest within its bound."""
        self._begin(lead_s)
        if load.rate_per_s is not None:
            found = AtRate(self._at(load.rate_per_s, seconds, draw), load.rate_per_s)
        else:
            found = self._search(load, seconds, draw)
        served = found.served
        self._blocks.append(Block(served.latencies_ns, served.started_ns, served.ended_ns))
        self.found = found
        return found

    def _at(
        self,
        rate_per_s: float,
        seconds: float,
        draw: Draw,
        go_on: Callable[[int, int], bool] | None = None,
    ) -> Served:
        count = max(LEAST_STEPS, int(rate_per_s * seconds))
        due_ns = arrivals_ns(gaps(count, draw.seed, draw.round), rate_per_s)
        limit_ns = _PATIENCE * max(due_ns[-1], int(seconds * 1e9))
        return serve(
            due_ns,
            self._steps.without_pause,
            go_on or (lambda passed_ns, latency_ns: passed_ns < limit_ns),
            clock=self._clock,
            wait=self.wait,
        )

    def _search(self, load: Load, seconds: float, draw: Draw) -> AtRate:
        most_per_s = 1 / self.typical_s
        each_s = seconds / TRIALS
        # a half more, lest the product be a little below
        least_per_s = (least_queries(load.percent) + 0.5) / each_s
        if least_per_s > most_per_s / 2:
            # a percentile of so few says nothing, so nothing is judged
            rate_per_s = _SHARE_WITHOUT_SEARCH * most_per_s
            tried = RateTrial(rate_per_s, int(rate_per_s * each_s), None, within=False)
            return AtRate(self._at(rate_per_s, seconds, draw), rate_per_s, (tried,))
        bound_ns = int((load.bound_s or 0.0) * 1e9)
        served: dict[float, Served] = {}

        def trial(rate_per_s: float) -> RateTrial:
            left = allowed_late(int(rate_per_s * each_s), load.percent)

            def go_on(passed_ns: int, latency_ns: int) -> bool:
                nonlocal left
                left -= latency_ns > bound_ns
                return left >= 0

            served[rate_per_s] = self._at(rate_per_s, each_s, draw, go_on)
            return judged(rate_per_s, served[rate_per_s], load.percent, bound_ns)

        trials = largest_rate(trial, least_per_s, most_per_s)
        within = [each.rate_per_s for each in trials if each.within]
        rate_per_s = max(within) if within else min(served)
        return AtRate(served[rate_per_s], rate_per_s, trials)
