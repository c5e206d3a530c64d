"""What can disturb a measurement: a kind with its figures, and the words for it, which decide nothing."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from dlbench.text import plural


class Kind(enum.Enum):
    """What disturbs, as words in which the figures of a `Cause` have their places.

    Attributes
    ----------
    words : the same.
    lasting : whether it stays for as long as a run lasts, so that waiting is of no use: what a process is granted, and
        with whom it takes turns.
    """

    TOO_FEW_CORES = "confined to {cores} for {threads}", True
    BOUND = "confined to {amount:.0f} of {all_cores}", True
    QUOTA = "a quota of {cores} for {threads}", True
    THROTTLED = "held back by its quota {share} of the time", True
    NEIGHBOUR = "{what} computed on {cores} between its turns", True
    OTHERS = "other processes had {cores}"
    STOLEN = "the hypervisor took {cores}"
    MEMORY = "processes waited for memory {share} of the time"
    DEVICE_SHARED = "{others} on the device"
    CLOCKS_HELD_DOWN = "{what} held the clocks down {share} of the time"
    SLOW_REFERENCE = "the reference load took {amount:.1f} times as long as at best"
    UNFINISHED = "steps were not finished when they were synchronised"

    def __init__(self, words: str, lasting: bool = False) -> None:
        self.words = words
        self.lasting = lasting


@dataclasses.dataclass(frozen=True)
class Cause:
    """What disturbed a process, or a machine at rest; `str` gives the words.

    Attributes
    ----------
    amount : how much: cores, a share of the time, other processes or a factor, as the kind's words say.
    of : the threads or cores that a number of cores is held against.
    what : the name of what did it.
    """

    kind: Kind
    amount: float = 0
    of: int = 0
    what: str = ""

    def __str__(self) -> str:
        cores = f"{self.amount:.2g}"
        return self.kind.words.format(
            amount=self.amount,
            cores="1 core" if cores == "1" else f"{cores} cores",
            share=f"{100 * self.amount:.0f} %",
            others=plural(int(self.amount), "other process"),
            threads=plural(self.of, "thread"),
            all_cores=plural(self.of, "core"),
            what=self.what,
        )


def told(causes: Iterable[Cause]) -> str:
    """All of them in words."""
    return ", ".join(map(str, causes))


def at_worst(found: Iterable[Iterable[Cause]]) -> str:
    """What disturbed several processes, in words: of each kind the cause with the largest amount."""
    worst: dict[Kind, Cause] = {}
    for cause in (cause for causes in found for cause in causes):
        known = worst.setdefault(cause.kind, cause)
        worst[cause.kind] = max(known, cause, key=lambda each: each.amount)
    return told(worst.values())
