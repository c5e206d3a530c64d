"""The plan of a gate, fixed before the first process runs: when to look, and what is enough.

Looking after every second pair until a test at 5 % finds something, finds something in 15 of 100
comparisons of a program with itself. So the looks are few and fixed, and each has its share of the
permitted error (Pocock 1977, "Group sequential methods in the design and analysis of clinical
trials").
"""

from __future__ import annotations

import dataclasses
import itertools
import math

from dlbench.errors import UsageError
from dlbench.text import plural


@dataclasses.dataclass(frozen=True)
class Design:
    """When a gate looks and how it judges.

    Attributes
    ----------
    threshold : the smallest slowdown worth failing, as a share: 0.03 for 3 %.
    looks : numbers of pairs, even and ascending, after which the case is judged.
    alpha : level of the one-sided test at each look. At 0.005 and nine looks, noise so loud that it
        exceeds any threshold still fails 1 comparison in 100, with the confirmation.
    pass_level, last_pass_level : the upper bound that must lie below the threshold may be wrong so
        often at a look; the last look can afford more. Not corrected for the number of looks: a
        slowdown of exactly the threshold passes about 1 time in 10 over all of them.
    suspicion : the estimate must reach this share of the threshold for a case to be suspected, if it is judged by
        itself. With the whole of it, a slowdown of just the threshold would be missed as often as it is found.
    confirmation : the pairs between a look that found a slowdown and the next look, by themselves,
        must show at least this share of the threshold.
    futility : a case is given up when the chance of any verdict at the last look, were the present
        estimate true, is below this (Lan, Simon and Halperin 1982, "Stochastically curtailed
        testing").
    """

    threshold: float = 0.03
    looks: tuple[int, ...] = (8, 12, 16, 20, 24, 28, 32, 36, 40)
    alpha: float = 0.005
    pass_level: float = 0.025
    last_pass_level: float = 0.05
    suspicion: float = 0.75
    confirmation: float = 0.5
    futility: float = 0.02

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            raise UsageError(f"threshold {self.threshold} is not a share above 0, like 0.03")
        if len(self.looks) < 2:
            raise UsageError(f"looks {self.looks}: a second look is needed to confirm the first")
        rising = all(before < after for before, after in itertools.pairwise(self.looks))
        if not (rising and all(n > 0 and n % 2 == 0 for n in self.looks)):
            raise UsageError(f"looks {self.looks} are not even numbers of pairs in rising order")
        if not 0 < self.suspicion <= 1:
            raise UsageError(f"suspicion {self.suspicion} is not a share above 0 and up to 1")
        for name in ("alpha", "pass_level", "last_pass_level"):
            if not 0 < getattr(self, name) < 0.5:
                raise UsageError(f"{name} {getattr(self, name)} is not between 0 and 0.5")

    @property
    def most_pairs(self) -> int:
        """Pairs after which a verdict is due in any case."""
        return self.looks[-1]

    @property
    def log_threshold(self) -> float:
        """The threshold as a difference of logarithms."""
        return math.log1p(self.threshold)

    def log_suspicion(self, family: int) -> float:
        """What the estimate of a suspected case exceeds, one of a `family` that is judged together, as a difference of
        logarithms. What one case may lack to the threshold is shared out among them, as the level is."""
        return (1 - (1 - self.suspicion) / family) * self.log_threshold

    def outlook(self, pairs: int, budget_s: float, pair_s: float) -> tuple[str, bool]:
        """What a budget allows, in words, and whether that is enough to call anything slower.

        Parameters
        ----------
        pairs : how many fit in the budget a case. pair_s : what another one takes, of every case.
        """
        told = f"about {plural(min(pairs, self.most_pairs), 'pair')} a case fit in --budget {budget_s:.0f}"
        least, needed = self.looks[:2]
        if pairs >= needed:
            return told, True
        wanted_s = 10 * math.ceil((budget_s + (needed - pairs) * pair_s) / 10)
        return (
            f"{told}; {least} are needed to pass and {needed} to be called slower: give --budget {wanted_s}",
            False,
        )

    def level_to_pass(self, pairs: int) -> float:
        """The level of the upper bound at a look."""
        return self.last_pass_level if pairs == self.most_pairs else self.pass_level
