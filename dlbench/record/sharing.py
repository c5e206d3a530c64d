"""What cases of one configuration share: they are verified together, and timed in one process."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.record.schema import Case, Verification


def covering(cases: Sequence[Case]) -> Case:
    """Of cases that share a configuration, the one whose plan does for all: who trains infers too."""
    return max(cases, key=lambda case: case.trains)


def verifying(case: Case, lines: Sequence[Verification]) -> list[Verification]:
    """Of the verifications of a case's configuration, those that are about the case: where what its session does was
    verified by itself these, else all."""
    return verified_alone(case, lines) or list(lines)


def verified_alone(case: Case, lines: Sequence[Verification]) -> list[Verification]:
    """Of the verifications of a case's configuration, those of what its session does: train, or infer alone."""
    return [line for line in lines if line.case.step == case.step]


def first_fact(name: str, lines: Sequence[Verification]) -> str:
    """A fact of the first verification that tells it; empty where none does."""
    return next((str(line.facts[name]) for line in lines if name in line.facts), "")
