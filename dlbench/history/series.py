"""What is shown of a history: the series that were asked for, their rows and their change points."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from dlbench.errors import UsageError
from dlbench.history import change_points as changes
from dlbench.history.gates import Judged
from dlbench.history.rows import Key
from dlbench.history.store import Store
from dlbench.history.stored import Change, Point, Stored
from dlbench.record.case import spellings, values
from dlbench.text import plural

LATELY = 20
"""Rows of each series that a list of all series draws on."""


@dataclasses.dataclass(frozen=True)
class Series:
    """One series.

    Attributes
    ----------
    key : what it is about. total : how many rows it has.
    points : its rows in the order of time, all or the last ones.
    changes : its change points; None where nobody looked for them, since the library is missing.
    judged : what gates said of its case in the time of its points, in the order of time.
    """

    key: Key
    total: int
    points: tuple[Point, ...]
    changes: tuple[Change, ...] | None
    judged: tuple[Judged, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from others measured under the same circumstances."""
        key = self.key
        device = key.device_name and f"({key.device_name})"
        return " ".join(filter(None, [key.case.label, plural(key.case.threads, "thread"), device]))

    @property
    def facts(self) -> Mapping[str, str]:
        """The circumstances that its rows share: machine, data, workload, seed."""
        found: dict[str, str] = json.loads(self.key.facts)
        return found

    @property
    def last_figure(self) -> Point | None:
        """The last row with a figure, of those in `points`."""
        return next((p for p in reversed(self.points) if p.row.median_s is not None), None)


@dataclasses.dataclass(frozen=True)
class History:
    """What a reporter is given.

    Attributes
    ----------
    place : the database, as people write it.
    series : what was asked for, in the order of keys.
    detailed : whether each row is to be shown, and not only each series.
    """

    place: str
    series: tuple[Series, ...]
    detailed: bool

    @property
    def searched(self) -> bool:
        """Whether the change points of all series are known."""
        return all(series.changes is not None for series in self.series)


class HistoryReporter(Protocol):
    """A format for histories (entry points ``dlbench.histories``): a pure function to text."""

    def __call__(self, history: History, *, width: int = 80, colour: bool = False) -> str:
        """The history as text that ends in a line break."""


def view(store: Store, words: Sequence[str] = (), last: int | None = LATELY) -> History:
    """The series whose description has all of some words, or all series.

    Parameters
    ----------
    last : rows of each series, None for all.

    Raises
    ------
    UsageError : no series has all the words.
    """
    chosen = [one for one in store.series() if not words or _has(one.key, words)]
    if words and not chosen:
        asked = " and ".join(map(repr, words))
        raise UsageError(
            f"no series has {asked} in its description; dlbench history show lists all"
        )
    return History(store.place, _series(store, chosen, last), bool(words))


def view_of(store: Store, keys: Collection[Key]) -> History:
    """The series with these keys, as far as there are any, with all of their rows."""
    chosen = [one for one in store.series() if one.key in keys]
    return History(store.place, _series(store, chosen, None), True)


def search(store: Store) -> None:
    """Finds and keeps the change points of every series that got rows since they were last looked for.

    Raises
    ------
    DlbenchError : the library that finds them is not installed; see `changes.available`.
    """
    for one in store.series():
        if not one.searched:
            found = _searched(store, one)
            store.keep_changes(one.id, one.rows, found)


def _has(key: Key, words: Sequence[str]) -> bool:
    series = Series(key, 0, (), None)
    told = [*map(str, values(key.case)), *spellings(key.case), series.name, *series.facts.values()]
    text = " ".join(told).casefold()
    return all(word.casefold() in text for word in words)


def _searched(store: Store, one: Stored) -> list[Change]:
    # one series at a time: a window of all of them could be millions of rows
    return changes.changes(store.points([one.id], changes.WINDOW)[one.id])


def _series(store: Store, chosen: Sequence[Stored], last: int | None) -> tuple[Series, ...]:
    judged = store.verdicts()
    points = store.points([one.id for one in chosen], last)
    known = store.changes([one.id for one in chosen if one.searched])
    if changes.available():
        known |= {one.id: _searched(store, one) for one in chosen if not one.searched}
    return tuple(_one(one, points[one.id], known.get(one.id), judged) for one in chosen)


def _one(
    one: Stored, points: Sequence[Point], found: Sequence[Change] | None, judged: Sequence[Judged]
) -> Series:
    whole = Series(one.key, one.rows, tuple(points), None if found is None else tuple(found))
    since = points[0].created if points and len(points) < one.rows else ""
    workload = whole.facts.get("workload", "") if judged else ""
    own = (each for each in judged if each.created >= since and each.of(one.key.case, workload))
    return dataclasses.replace(whole, judged=tuple(own))
