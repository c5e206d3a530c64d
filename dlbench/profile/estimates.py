"""Times over rounds: what is typical of them, how far that can be trusted, and which of many differences are real."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Rounds = npt.NDArray[np.float64]
"""A time in each round (ns)."""

_NEAR = 1.5 * 1.4826
"""Median absolute deviations from the median; the factor makes them standard deviations of a normal law."""


@dataclasses.dataclass(frozen=True)
class Time:
    """A time and its 95 % interval over rounds (s)."""

    mean_s: float
    low_s: float
    high_s: float

    @property
    def half_s(self) -> float:
        """Half of the interval."""
        return (self.high_s - self.low_s) / 2


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean (s), the standard error of it (s), and the degrees of freedom that this has."""

    mean_s: float
    error_s: float
    freedom: float

    @property
    def time(self) -> Time:
        """With Student's interval."""
        half_s = math.inf
        if self.freedom > 0:
            half_s = float(stdtrit(self.freedom, 0.975)) * self.error_s
        return Time(self.mean_s, self.mean_s - half_s, self.mean_s + half_s)

    @property
    def p_value(self) -> float:
        """How often chance alone makes a mean as far from 0, or further."""
        if self.freedom <= 0:
            return 1.0
        if not self.error_s:
            return float(not self.mean_s)
        return 2 * float(stdtr(self.freedom, -abs(self.mean_s) / self.error_s))

    def widened(self, error_s: float) -> Estimate:
        """With an error of another source beside its own, whose size is known (Satterthwaite 1946, "An approximate
        distribution of estimates of variance components")."""
        own, total = self.error_s**2, self.error_s**2 + error_s**2
        freedom = self.freedom * (total / own) ** 2 if own else math.inf
        # beyond that it is a normal law, whatever the number
        return Estimate(self.mean_s, math.sqrt(total), min(freedom, 1e6))


def over(rounds_ns: Rounds) -> Estimate:
    """The mean over rounds."""
    count = len(rounds_ns)
    error = float(np.std(rounds_ns, ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Estimate(float(np.mean(rounds_ns)) * 1e-9, error * 1e-9, count - 1)


def less(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two means that know nothing of each other (Welch 1947, "The generalization of Student's
    problem when several different population variances are involved")."""
    if not (first.freedom and second.freedom):
        # of a single round nobody knows the error
        return Estimate(first.mean_s - second.mean_s, math.inf, 0)
    squares = first.error_s**2, second.error_s**2
    total = sum(squares)
    parts = sum(s**2 / each.freedom for s, each in zip(squares, (first, second), strict=True) if s)
    freedom = total**2 / parts if parts else math.inf
    return Estimate(first.mean_s - second.mean_s, math.sqrt(total), min(freedom, 1e6))


def drawn_in(blocks_ns: Rounds) -> Rounds:
    """The times of a network, those that lie far from the median drawn in, so that their mean is a robust estimate of
    what is typical and their scatter that of the estimate: one step towards the M-estimate of location of Huber 1964,
    "Robust estimation of a location parameter", and what its influence function makes of each round (Huber 1981,
    section 6.2). What is drawn in at one side alone is made up for by the share that is not."""
    middle = np.median(blocks_ns)
    reach = _NEAR * np.median(np.abs(blocks_ns - middle))
    if not reach:
        return np.full_like(blocks_ns, middle) if len(blocks_ns) > 2 else blocks_ns
    beyond = np.clip(blocks_ns - middle, -reach, reach)
    near = np.abs(blocks_ns - middle) < reach
    values: Rounds = middle + beyond / max(float(np.mean(near)), 0.5)
    return values
