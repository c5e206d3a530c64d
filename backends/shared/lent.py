"""Memory that is used again and again: making it anew would take longer than some networks do."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Lent(Generic[T]):
    """A thing that goes back to `spare` when nobody holds this any more."""

    def __init__(self, thing: T, spare: list[T]) -> None:
        self.thing = thing
        self._spare = spare

    def __del__(self) -> None:
        self._spare.append(self.thing)
