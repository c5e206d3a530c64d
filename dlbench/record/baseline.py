"""Which row others are held against: how one is named, and which of its cases each case refers to.

What may be a baseline of what is said by the axes (`dlbench.record.case.Axis`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dlbench.errors import UsageError
from dlbench.record.case import (
    AXES,
    ROW,
    Axis,
    Case,
    joined,
    listed_or_none,
    spellings,
    stands_out,
    values,
    without,
)

_SAME = tuple(axis for axis in AXES if axis.baseline == "same")
_OWN = tuple(axis for axis in AXES if axis.baseline == "own")
_FREE = tuple(axis for axis in AXES if axis.baseline == "any")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The one row that others are held against: a backend on a device, in a mode.

    Attributes
    ----------
    name : of the row.
    cases : its cases.
    chosen : whether its precision was chosen too, so that rows of any precision are held against it.
    """

    name: str
    cases: tuple[Case, ...]
    chosen: bool = False

    def of(self, case: Case) -> Case | None:
        """The case that a case is held against; None where there is none.

        A row is held against the baseline's case of its own precision; against that of the default precision where
        the baseline has none of its own at all.
        """
        there = self._by_own
        wanted = list(there) if self.chosen else _own_or_default(case)
        own = next((each for each in wanted if each in there), None)
        return there[own].get(values(case, _SAME)) if own is not None else None

    @functools.cached_property
    def _by_own(self) -> Mapping[tuple[Any, ...], Mapping[tuple[Any, ...], Case]]:
        found: dict[tuple[Any, ...], dict[tuple[Any, ...], Case]] = {}
        for case in self.cases:
            found.setdefault(values(case, _OWN), {})[values(case, _SAME)] = case
        return found

    def has(self, case: Case) -> bool:
        """Whether a case is one of the row's."""
        return case in self.cases


def _own_or_default(case: Case) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*((getattr(case, axis.name), axis.default) for axis in _OWN))


def across(case: Case, base: Case) -> str:
    """In what of an ``own`` axis a case differs from what it is held against: ``bf16 against fp32``; empty where it
    does not."""
    differing = [axis for axis in _OWN if getattr(case, axis.name) != getattr(base, axis.name)]
    return ", ".join(f"{getattr(case, a.name)} against {getattr(base, a.name)}" for a in differing)


def plain_of(case: Case, cases: Iterable[Case]) -> Case | None:
    """Of these, the case of the same backend that is of the default on all ``own`` axes: in the same mode, or else in
    the first one. None for a case that is of the default itself, and where there is none."""
    if case.is_plain:
        return None
    plain = msgspec.structs.replace(case, **{axis.name: axis.default for axis in _OWN})
    alike = [each for each in cases if without(each, "mode") == without(plain, "mode")]
    return next((each for each in alike if each == plain), alike[0] if alike else None)


def find_baseline(word: str, cases: Iterable[Case], what: str = "baseline") -> Baseline:
    """The row that a word names: ``numpy:cpu``, or with mode and precision ``cupy:cuda/graph/tf32``.

    Both may be left out: the mode where that names just one row, the precision always, since rows are held against
    the baseline's of their own.

    Raises
    ------
    UsageError : no row is called so, or several are.
    """
    there = list(dict.fromkeys(cases))
    check_row_name(word, what)
    plain = [case for case in there if word == joined(case, _plain(case))]
    named = [case for case in there if word == case.row_name]
    found, chosen = plain or named, not plain
    if not found:
        found = [case for case in there if word in spellings(case, _FREE)]
        chosen = not found
    found = found or [case for case in there if word in spellings(case, ROW)]
    if not found:
        rows = listed_or_none(case.row_name for case in there)
        raise UsageError(f"{what} {word!r} matches no row; the rows are: {rows}")
    if len(found) > len({values(case, (*_SAME, *_OWN)) for case in found}):
        several = listed_or_none(case.row_name for case in found)
        raise UsageError(f"{what} {word!r} matches several rows: {several}; name one of them")
    name = joined(found[0], _plain(found[0])) if not chosen else found[0].row_name
    if len({values(case, _FREE) for case in found}) > 1:
        # of its scenarios each has a mode of its own
        name = word
    return Baseline(name, tuple(found), chosen)


def _plain(case: Case) -> Iterator[Axis]:
    return (axis for axis in _FREE if stands_out(case, axis))


def check_row_name(word: str, what: str = "baseline") -> None:
    """Refuses a word that cannot be a row's name.

    Raises
    ------
    UsageError : saying what one looks like.
    """
    backend, colon, device = word.rpartition(":")
    if not (backend and colon and device):
        raise UsageError(f"{what} {word!r} is not a backend:device, like numpy:cpu")
