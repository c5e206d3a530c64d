"""In which order cases are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

LEAST_PROCESSES = 6
"""Rounds for intervals that are to be narrow: with fewer, an interval says more about chance than about the case."""


def interleaved(groups: Sequence[T], rounds: Iterable[int]) -> Iterator[tuple[int, T]]:
    """Everything once a round, each round in the order opposite to the last (A B C, C B A, …), so that a machine that
    drifts treats all alike."""
    for number in rounds:
        for each in groups if number % 2 else reversed(groups):
            yield number, each
