"""What a comparison needs of a file, whichever format it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from dlbench.record.comparability import Sampled


@dataclasses.dataclass(frozen=True)
class Measured:
    """One case of a file.

    Attributes
    ----------
    key : what the case is matched by; the same in every format.
    label : what it is called.
    processes_s : the median step time of each process (s); empty when it was not measured.
    conditions : settings that must be alike, by name (``threads``, ``precision``).
    sampled : how much of it was timed; None where the file does not say.
    facts : those of `Side.facts` in which the file's cases differ, as in a file of several records.
    problem : why it was not measured, empty when it was.
    disturbance : what else ran on the machine meanwhile; empty when nothing did, or it was not watched.
    """

    key: str
    label: str
    processes_s: tuple[float, ...] = ()
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sampled: Sampled | None = None
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problem: str = ""
    disturbance: str = ""


@dataclasses.dataclass(frozen=True)
class Side:
    """One file.

    Attributes
    ----------
    name : as the user named it.
    cases : in the file's order.
    facts : what must be alike for the figures to be comparable, by field, and is so for all of its cases; what is
        unknown is not in it, and neither is anything volatile such as the current clock.
    versions : what may well be what is compared, by package.
    """

    name: str
    cases: tuple[Measured, ...]
    facts: Mapping[str, str]
    versions: Mapping[str, str]

    def facts_of(self, case: Measured) -> dict[str, str]:
        """What must be alike for the figures of one of its cases."""
        return {**self.facts, **case.facts}

    @property
    def fields(self) -> set[str]:
        """What it says of any of its cases."""
        return set(self.facts).union(*(case.facts for case in self.cases))
