"""In which order cases are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlbench.record.schema import Case

LEAST_PROCESSES = 6
"""Rounds for intervals that are to be narrow: with fewer, an interval says more about chance than about the case."""


def interleaved(cases: Sequence[Case], rounds: int) -> Iterator[tuple[int, Case]]:
    """Every case once a round, each round in the order opposite to the last (A B C, C B A, …), so that a
    machine that drifts treats all cases alike. Rounds count from 1."""
    for number in range(1, rounds + 1):
        for case in cases if number % 2 else reversed(cases):
            yield number, case
