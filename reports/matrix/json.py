"""The matrix of backends for programs."""

from __future__ import annotations

import dataclasses

import msgspec

from dlbench.plan.matrix import Matrix


def render(found: Matrix, *, width: int = 80, colour: bool = False) -> str:
    """By backend its version or why it is absent, and by section and word what it answered."""
    whole = {
        name: {
            "version": column.version,
            "absent": column.absent,
            **{
                section: {word: dataclasses.asdict(column.cells[section, word]) for word in words}
                for section, words in found.words.items()
            },
        }
        for name, column in found.columns.items()
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"
