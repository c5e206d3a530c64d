"""A run that several machines share: which part of it a record is, and whose lines follow in a merged one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from dlbench.errors import UsageError
from dlbench.text import shortened

MOST_SHARDS = 100_000
_WORD = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*")


class Shard(msgspec.Struct, frozen=True):
    """One of `of` parts of a run, counted from 1.

    A run is dealt out round by round: the rounds of the first batch size, then those of the next, go to the shards in
    turn. All rows of a round stay together, since they are compared with each other. `batches` are those of the whole
    run, in its order.
    """

    index: Annotated[int, msgspec.Meta(ge=1, le=MOST_SHARDS)]
    of: Annotated[int, msgspec.Meta(ge=1, le=MOST_SHARDS)]
    batches: tuple[Annotated[int, msgspec.Meta(ge=1, le=2**31)], ...] = ()

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, batch: int, number: int, rounds: int) -> bool:
        """Whether round `number` (from 1) of a batch size, of so many rounds, belongs to it."""
        place = self.batches.index(batch) * rounds + number - 1
        return place % self.of == self.index - 1

    def own_batches(self, rounds: int) -> tuple[int, ...]:
        """The batch sizes of which it has a round."""
        return tuple(
            batch
            for batch in self.batches
            if any(self.has(batch, number + 1, rounds) for number in range(rounds))
        )


def own_rounds(shard: Shard | None, batch: int, rounds: int) -> tuple[int, ...]:
    """The rounds of a batch size that are to be measured, from 1; all of them where there are no shards."""
    numbers = range(1, rounds + 1)
    return tuple(n for n in numbers if shard is None or shard.has(batch, n, rounds))


def shard_of(word: str, batches: Sequence[int]) -> Shard:
    """The shard that a word like ``2/8`` means, of a run of these batch sizes.

    Raises
    ------
    UsageError : it means none.
    """
    found = _WORD.fullmatch(word)
    index, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= of <= MOST_SHARDS:
        raise UsageError(
            f"--shard {shortened(word, 40)!r} must be I/N, part I of N, such as 2/8, with I from 1 to N"
            f" and N up to {MOST_SHARDS:,}"
        )
    return Shard(index, of, tuple(batches))
