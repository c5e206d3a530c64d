"""Weights trained on one backend and run by another."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dlbench.api.arguments import Place, Words, asked, files, place, selected
from dlbench.api.asking import request_of
from dlbench.api.progress import Progress
from dlbench.errors import UsageError
from dlbench.portability.carried import Carried
from dlbench.portability.carrying import carry_all
from dlbench.portability.forms import FIELDS, FORMS, as_table
from dlbench.spec.decode import nearest, shown
from dlbench.spec.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

    from dlbench.plan.request import Request

BATCH = 64
"""Samples a step where nobody says how many."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Portability:
    """What backends make of the weights that each was trained to. Printed it is what ``dlbench portability`` shows.

    Attributes
    ----------
    pairs : one for each backend that was trained and each that ran its weights.
    """

    pairs: tuple[Carried, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether all pairs of which something is known agree; None where nothing is known of any."""
        known = [each.agrees for each in self.pairs if not each.reason]
        return all(known) if known else None

    def report(self, format: str = "table") -> str:
        """The pairs in a format of ``dlbench portability --format``.

        Raises
        ------
        UsageError : there is no such format.
        """
        if format not in FORMS:
            raise UsageError(
                f"format = {shown(format)} is unknown; {nearest(format, tuple(FORMS))}"
            )
        return FORMS[format](self.pairs)

    def to_pandas(self) -> pd.DataFrame:
        """A row for each pair, with the columns of ``--format csv``; shares are no percentages."""
        import pandas as pd

        found = pd.DataFrame(as_table(self.pairs), columns=list(FIELDS))
        return found.astype(
            {
                "agrees": "boolean",
                "share_of_tolerance": "float64",
                "test_accuracy": "float64",
                "other_answers": "Int64",
                "near_ties": "Int64",
            }
        )

    def __iter__(self) -> Iterator[Carried]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        return self.report()

    def __repr__(self) -> str:
        return f"<Portability of {len(self.pairs)} pairs: agrees = {self.agrees}>"


def portability(
    suite: str | os.PathLike[str] | Suite = "cnn-mnist",
    *,
    backends: Words = (),
    devices: Words = (),
    modes: Words = (),
    precisions: Words = (),
    batches: int | Iterable[int] = BATCH,
    threads: int | None = None,
    seed: int = 0,
    data: str | None = None,
    data_dir: Place | None = None,
    steps: int = 100,
    timeout: float | None = None,
    pythons: Mapping[str, Place] | None = None,
    progress: Callable[[Progress], Any] | None = None,
) -> Portability:
    """Train a short while on each backend, and run the weights on every other one, as ``dlbench portability`` does.

    Parameters
    ----------
    steps : that each backend trains, an epoch at the most.
    others : as for `dlbench.run`.

    Raises
    ------
    DlbenchError : the request cannot be carried out: `UsageError`, `SuiteError` or `DataError`.
    """
    words = selected(backends, devices, modes, precisions, (), batches, (), threads, seed, pythons)
    named = suite if isinstance(suite, Suite) else str(place("suite", suite))
    request = request_to_carry(suite=named, data=data, **words, **files(data_dir, timeout))
    count = asked("steps", steps, int)
    if count < 1:
        raise UsageError(f"steps = {count} is none; at least 1")

    def say(text: str) -> None:
        if progress is not None:
            progress(Progress("message", text))

    return Portability(carry_all(request, count, say))


def request_to_carry(**chosen: Any) -> Request:
    """The request for every pair of some cases.

    Parameters
    ----------
    chosen : as for `request_of`.

    Raises
    ------
    UsageError : it names scenarios, or arithmetic that does not train.
    """
    if chosen["scenarios"]:
        raise UsageError("portability trains and infers: leave out --scenario")
    if {"int8", "all"} & set(chosen["precisions"]):
        raise UsageError("portability is of arithmetic that trains: name it, and not int8 or all")
    chosen["scenarios"] = ("train", "infer")
    chosen["batches"] = chosen["batches"] or (BATCH,)
    return request_of(epochs=1, rounds=0, **chosen)
