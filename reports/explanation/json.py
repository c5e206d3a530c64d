"""An explanation for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from dlbench.profile.explanation import Explanation

from .sections import sentences


def render(found: Sequence[Explanation], *, width: int = 80, colour: bool = False) -> str:
    """A list of objects; times in seconds, first less second."""
    whole = [
        {
            **dataclasses.asdict(each),
            "first": each.first.label,
            "second": each.second.label,
            "with_the_others": {part.name: each.with_the_others(part) for part in each.parts},
            "sentences": list(sentences(each)),
        }
        for each in found
    ]
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"
