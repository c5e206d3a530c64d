"""What can be done with a network and timed: training, training to a target, inference, and inference as MLPerf's load
generator asks for it.

Each scenario of inference begins with a batch that is resident on the device and ends with its output there,
synchronised, as ``infer`` does. They differ in when the next query comes and in what is told of them (MLPerf Inference
rules, "Scenarios"; Reddi et al. 2020, "MLPerf inference benchmark"). Times are scaled to short budgets: MLPerf asks for
runs of ten minutes and more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Scenario = Literal["train", "converge", "infer", "latency", "multi-stream", "server", "offline"]
Step = Literal["train", "infer"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One scenario.

    Attributes
    ----------
    step : what a session does for it, again and again.
    words : what a row of it does, behind the name of a backend: ``trains this network``.
    noun : the same as a noun: ``training``.
    batch : samples a query, where none is asked for; None for the suite's batch sizes.
    has_queries : whether each step is a query, of which percentiles are told.
    sweeps : whether, where no batch sizes are asked for, it has all that may be the best.
    has_steps : whether its steps are timed in rounds of fresh processes; else it is trained from several seeds.
    """

    step: Step
    words: str
    noun: str
    batch: int | None = None
    has_queries: bool = False
    sweeps: bool = False
    has_steps: bool = True


KINDS: Mapping[Scenario, Kind] = {
    "train": Kind("train", "trains this network", "training"),
    "converge": Kind(
        "train", "trains this network to a target", "training to a target", has_steps=False
    ),
    "infer": Kind("infer", "runs inference with this network", "inference"),
    "latency": Kind("infer", "answers single queries", "latency", batch=1, has_queries=True),
    "multi-stream": Kind(
        "infer", "answers queries of several samples", "multi-stream", batch=8, has_queries=True
    ),
    "server": Kind("infer", "serves queries", "serving", batch=1, has_queries=True),
    "offline": Kind("infer", "works off samples", "offline inference", sweeps=True),
}
"""The scenarios by their names, in the order in which rows stand.

``converge`` asks how long a training takes to an accuracy on the validation part. ``latency`` is MLPerf's single
stream: the next query comes when the last one has been answered. ``multi-stream`` is the same with several samples a
query. Of ``server`` queries come when they come; see `Load`. ``offline`` has all samples at hand and asks for the batch
size that works them off the quickest.
"""
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
STEPS: tuple[Step, ...] = get_args(Step)
"""What sessions are asked to do; also the scenarios of a suite that names none."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What queries a server is asked, which come at random moments (a Poisson process).

    Attributes
    ----------
    rate_per_s : how many a second; None where the largest is to be found.
    bound_s : within which the percentile `percent` of latencies is to stay; None where there is no bound.
    percent : one of `PERCENTS`.
    """

    rate_per_s: float | None = None
    bound_s: float | None = None
    percent: int = 99


NO_LOAD = Load()
"""Where no server is among the scenarios."""

PERCENTS = (50, 90, 99)
"""The percentiles that are told of queries."""


_TAIL = 0.025


def least_queries(percent: int, tail: float = _TAIL) -> int:
    """The fewest queries of which the least and the greatest lie on either side of a percentile, with at most `tail`
    left on either side."""
    share = max(percent, 100 - percent) / 100
    return math.ceil(math.log(tail) / math.log(share))


def percentile(ascending: Sequence[int], percent: int) -> int:
    """The value below which lie at least so many per cent of all, by the rule of MLPerf's load generator: the element
    at ⌊n · percent / 100⌋, counted from 0 (``loadgen/results.cc``, ``ProcessLatencies``).

    Where n · percent / 100 is whole, that is the element behind the one that "nearest rank" names.

    Parameters
    ----------
    ascending : sorted values, any unit.
    percent : 1 to 99.

    Raises
    ------
    IndexError : no values.
    """
    return ascending[len(ascending) * percent // 100]
