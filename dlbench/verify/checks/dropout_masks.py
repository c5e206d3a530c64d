"""What the masks of a dropout layer say about their generator, over many steps."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dlbench.record.facts import Check
from dlbench.verify.comparison import compare

_DOUBT = 21.0
"""−log of the probability that a right generator leaves its bounds, 2 in a billion, halved for each side."""

_MANY = 200
_ALIKE = 0.97


@dataclasses.dataclass
class Tally:
    """What was seen of one dropout layer's masks."""

    kept: int = 0
    seen: int = 0
    steps: int = 0
    same_as_before: int = 0
    same_as_neighbour: int = 0
    neighbours: int = 0
    compared: int = 0
    largest_agreement: float = 0.0
    earlier: dict[int, list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]] = (
        dataclasses.field(default_factory=dict)
    )

    def add(self, row: int, mask: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> None:
        """One more step's mask of a row of the batch, where `known` says which elements could be seen."""
        self.steps += 1
        self.kept += int(mask[known].sum())
        self.seen += int(known.sum())
        pairs = known[:-1] & known[1:]
        self.same_as_neighbour += int((mask[:-1] == mask[1:])[pairs].sum())
        self.neighbours += int(pairs.sum())
        earlier = self.earlier.setdefault(row, [])
        for number, (other, seen) in enumerate(reversed(earlier)):
            both = known & seen
            same, of = int((mask == other)[both].sum()), int(both.sum())
            if number == 0:
                self.same_as_before += same
                self.compared += of
            if of >= _MANY:
                self.largest_agreement = max(self.largest_agreement, same / of)
        earlier.append((mask, known))


def check_masks(name: str, tally: Tally, rate: float) -> list[Check]:
    """Kept fraction, and independence of steps and of neighbours."""
    keep = 1 - rate
    agree = keep**2 + rate**2
    # Pairs that share an element are correlated, which at most doubles the variance.
    figures = (
        ("kept fraction of {}", tally.kept, tally.seen, keep, 1.0),
        (
            "agreement of {}'s masks in successive steps",
            tally.same_as_before,
            tally.compared,
            agree,
            2.0,
        ),
        (
            "agreement of {}'s masks in neighbours",
            tally.same_as_neighbour,
            tally.neighbours,
            agree,
            2.0,
        ),
    )
    checks = [
        fraction(label.format(name), hits, of, expected, inflation)
        for label, hits, of, expected, inflation in figures
        if of
    ]
    # Independent masks of so many elements are never as good as equal; those of a short cycle are.
    label = f"largest agreement of {name}'s masks in any two steps"
    if agree < _ALIKE:
        largest = max(tally.largest_agreement, agree)
        checks.append(compare(label, largest, agree, _ALIKE - agree, 0.0))
    return checks


def fraction(name: str, hits: int, of: int, expected: float, inflation: float = 1.0) -> Check:
    """A frequency held against its probability, within Bernstein's bound, which holds for few and rare hits too
    (Boucheron, Lugosi and Massart 2013, "Concentration Inequalities", section 2.8); `inflation` is that of the
    binomial variance."""
    allowed = most_by_chance(of, expected, inflation)
    return compare(name, np.float64(hits / of), np.float64(expected), allowed, 0.0)


def most_by_chance(of: int, expected: float, inflation: float = 1.0) -> float:
    """How far a frequency `of` so many may be from its probability by chance; see `fraction`."""
    variance = inflation * expected * (1 - expected) * of
    return (_DOUBT / 3 + math.sqrt((_DOUBT / 3) ** 2 + 2 * _DOUBT * variance)) / of


def check_layers(tallies: Mapping[str, Tally], rates: Mapping[str, float]) -> list[Check]:
    """Layers of one size do not share their masks."""
    checks = []
    for (one, left), (two, right) in itertools.combinations(tallies.items(), 2):
        same = of = 0
        for row in left.earlier:
            for (a, seen), (b, known) in zip(left.earlier[row], right.earlier[row], strict=True):
                both = seen & known if len(a) == len(b) else np.zeros(0, bool)
                same += int((a == b)[both].sum()) if both.size else 0
                of += int(both.sum())
        keep, other = 1 - rates[one], 1 - rates[two]
        if of:
            expected = keep * other + (1 - keep) * (1 - other)
            checks.append(
                fraction(f"agreement of the masks of {one} and {two}", same, of, expected)
            )
    return checks
