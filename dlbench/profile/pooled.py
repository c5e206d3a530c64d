"""How much the parts of two steps differ, by all that was timed of either.

The ladder says how much a layer adds to a step by the difference of two long networks, whose noise hides a short layer.
The layer alone is a short network, and known better by far. Where a layer takes in the network what it takes alone, or
as much more or less in both rows, both have to show the same difference of the rows: what the ladder says is adjusted
by that, for all layers at once (generalised least squares, Aitken 1935, "On least squares and linear combination of
observations"). So a short layer is known as it is alone, and a long one by all beginnings behind it, since what the
short ones add to these is known.

How far layers may keep from that, as a share of what they take, is estimated from how far they do (the moments of
DerSimonian and Laird 1986, "Meta-analysis in clinical trials", about 0); a layer that keeps from it beyond chance is
taken as the ladder has it. The parts' differences still add up to that of the steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.profile.estimates import Estimate, Rounds
from dlbench.profile.layer_times import LayerTimes, Part, Terms

Key = tuple[str, str]
"""A part's kind and name."""
_Array = npt.NDArray[np.float64]

BETWEEN_ROUNDS = 0.37
"""Standard deviation of a network's step from process to process of the same code, as a share of how it scatters from
round to round; more rounds do not remove it, more processes do. docs/profile.md says where it was measured."""
BETWEEN_S = 9e-6
"""The same of a step of training, beside that: waking threads takes a process longer than another."""
CONTRADICTION = 0.01
"""How seldom chance may make the difference of a layer alone and of its part in the network as unlike as they are, for
the one to contradict the other."""
LEAST_ERROR = 0.01
"""Of a difference, the standard error that it has at the least: who waits longer finds caches colder and threads
asleep. Delays of 2.5 and 4.9 ms in layers of no time made steps 0.8 to 1.4 % longer than that."""


@dataclasses.dataclass(frozen=True)
class Differences:
    """First less second.

    Attributes
    ----------
    whole : of the steps.
    parts : of each part; they add up to `whole`.
    alone : of each layer that both have timed alone, by itself.
    """

    whole: Estimate
    parts: Mapping[Key, Estimate]
    alone: Mapping[Key, Estimate]


def differences(first: LayerTimes, second: LayerTimes, takes_turns: bool) -> Differences:
    """How much two steps of the same work differ, part by part.

    Parameters
    ----------
    takes_turns : whether each round of one has a neighbour among those of the other, so that both are compared round by
        round.
    """
    sides = first, second
    own = [{(part.kind, part.name): part for part in side.parts} for side in sides]
    keys = list(dict.fromkeys(key for parts in own for key in parts))
    timed = _Timed(sides, takes_turns)
    ladder = np.array([timed.row([_terms(parts.get(key)) for parts in own]) for key in keys])
    both = [key for key in keys if all(_alone(parts.get(key)) for parts in own)]
    places = [keys.index(key) for key in both]
    alone = np.array([timed.row([_alone(parts[key]) for parts in own]) for key in both])
    found = timed.estimates(ladder)
    if both:
        pairs = [[parts[key] for parts in own] for key in both]
        sizes_s = np.array([min(map(_size_s, pair)) for pair in pairs])
        found = _pooled(timed, ladder, alone - ladder[places], sizes_s)
    return Differences(
        whole=timed.estimate(ladder.sum(0)),
        parts=dict(zip(keys, found, strict=True)),
        alone=dict(zip(both, timed.estimates(alone), strict=True)),
    )


def _terms(part: Part | None) -> Terms:
    return {} if part is None else part.terms


def _alone(part: Part | None) -> Terms:
    return part.alone_terms or {} if part is not None else {}


def _size_s(part: Part) -> float:
    """What a layer takes, in the network or alone."""
    assert part.alone is not None
    return max(abs(part.time.mean_s), abs(part.alone.mean_s))


class _Timed:
    """The networks of both rows: what they take, and how their errors vary.

    Attributes
    ----------
    means_s : of the first row's networks and of the second's.
    covariance : of these, all errors together (s²).
    """

    def __init__(self, sides: Sequence[LayerTimes], takes_turns: bool) -> None:
        self._networks = list(dict.fromkeys(name for side in sides for name in side.networks))
        self._count = count = len(self._networks)
        self._place = {name: place for place, name in enumerate(self._networks)}
        self.means_s = np.zeros(2 * count)
        self._scatter: _Array = np.zeros((count, 2, 2))
        self._fixed: _Array = np.zeros((count, 2))
        shares = [1 / len(side.whole_ns) + BETWEEN_ROUNDS**2 / side.processes for side in sides]
        for place, name in enumerate(self._networks):
            blocks = [side.networks.get(name) for side in sides]
            self._scatter[place] = _covariance(blocks, shares, takes_turns)
            for side, each in enumerate(blocks):
                if each is not None:
                    self.means_s[side * count + place] = np.mean(each) * 1e-9
                    between = BETWEEN_S**2 / sides[side].processes
                    self._fixed[place, side] = between if name[2] == "train" else 0.0
        self._freedom = min(len(side.whole_ns) for side in sides) - 1
        self.covariance = np.zeros((2 * count, 2 * count))
        for one in range(2):
            for other in range(2):
                block = self._scatter[:, one, other] + (one == other) * self._fixed[:, one]
                rows = slice(one * count, (one + 1) * count)
                columns = slice(other * count, (other + 1) * count)
                self.covariance[rows, columns] = np.diag(block)

    def row(self, terms: Sequence[Terms]) -> _Array:
        """How often each network counts where a sum of the second row's is taken from one of the first's."""
        found = np.zeros(2 * self._count)
        for side, each in enumerate(terms):
            for name, times in each.items():
                found[side * self._count + self._place[name]] += -times if side else times
        return found

    def estimates(self, rows: _Array, others: _Array | None = None) -> list[Estimate]:
        """Those of several sums of networks."""
        return [
            self.estimate(row, 0.0 if others is None else float(others[place]))
            for place, row in enumerate(rows)
        ]

    def estimate(self, row: _Array, other: float = 0.0) -> Estimate:
        """That of a sum of networks; `other` is the variance of an error that it has besides (s²)."""
        mean_s = float(row @ self.means_s)
        if self._freedom < 1:
            return Estimate(mean_s, math.inf, 0)
        of_networks = row.reshape(2, self._count).T
        # rounding makes none a little less
        own = np.maximum(np.einsum("ni,nij,nj->n", of_networks, self._scatter, of_networks), 0.0)
        fixed = float(np.sum(of_networks**2 * self._fixed))
        total = float(np.sum(own))
        freedom = self._freedom * total**2 / float(np.sum(own**2)) if total else math.inf
        found = Estimate(mean_s, math.sqrt(total), freedom)
        return found.widened(math.sqrt(fixed + other + (LEAST_ERROR * mean_s) ** 2))


def _covariance(
    blocks: Sequence[Rounds | None], shares: Sequence[float], takes_turns: bool
) -> _Array:
    """Of the means of a network of both rows, by the scatter of its rounds (s²); `shares` are what of the square of
    that is left in a mean."""
    found = np.zeros((2, 2))
    for side, each in enumerate(blocks):
        if each is not None and len(each) > 1:
            found[side, side] = np.var(each * 1e-9, ddof=1) * shares[side]
    first, second = blocks
    if takes_turns and first is not None and second is not None and len(first) > 1:
        together = float(np.cov(first * 1e-9, second * 1e-9)[0, 1])
        found[0, 1] = found[1, 0] = together * min(shares)
    return found


def _pooled(timed: _Timed, ladder: _Array, beyond: _Array, sizes_s: _Array) -> list[Estimate]:
    """The parts by the `ladder`, adjusted by what layers alone have `beyond` it, which is 0 but for an interaction that
    the rows have in unlike measure.

    Parameters
    ----------
    ladder, beyond : sums of networks (parts and layers × networks).
    sizes_s : what each of those layers takes.
    """
    kept = [
        place for place, row in enumerate(beyond) if not timed.estimate(row).p_value < CONTRADICTION
    ]
    beyond, sizes_s = beyond[kept], sizes_s[kept]
    covariance = beyond @ timed.covariance @ beyond.T
    interaction = _interaction(beyond @ timed.means_s, np.diag(covariance), sizes_s) * sizes_s**2
    inverse = np.linalg.pinv(covariance + np.diag(interaction), hermitian=True)
    weights = ladder @ timed.covariance @ beyond.T @ inverse
    pooled = ladder - weights @ beyond
    # what the sum of all has gained by that is given back where least is known
    known = pooled @ timed.covariance @ pooled.T + weights * interaction @ weights.T
    share, total = known.sum(1), float(known.sum())
    if total > 0:
        pooled = pooled + np.outer(share / total, weights.sum(0) @ beyond)
    return timed.estimates(pooled, weights**2 @ interaction)


def _interaction(beyond_s: _Array, variances: _Array, sizes_s: _Array) -> float:
    """The variance of what layers have alone beyond the ladder, as a share of their squared size, that chance does not
    explain."""
    is_known = variances > 0
    beyond_s, variances, sizes_s = beyond_s[is_known], variances[is_known], sizes_s[is_known]
    weight = float(np.sum(sizes_s**2 / variances))
    if not weight:
        return 0.0
    return max(0.0, (float(np.sum(beyond_s**2 / variances)) - len(beyond_s)) / weight)
