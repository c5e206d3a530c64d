"""Verdicts as one JSON object, for programs."""

from __future__ import annotations

import dataclasses

import msgspec

from dlbench.compare.verdicts import Verdicts

SCHEMA = 1
"""Raised when a key changes its meaning or goes away; new keys do not raise it."""


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """An object with `schema`, `exit_code`, `conclusion`, `advisory`, and the fields of
    `dlbench.compare.verdicts.Verdicts`; what is unknown or infinite is null."""
    whole = {
        "schema": SCHEMA,
        "exit_code": verdicts.exit_code,
        "conclusion": verdicts.conclusion,
        "advisory": verdicts.advisory,
        **dataclasses.asdict(verdicts),
    }
    # msgspec writes null for what is not a finite number
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"
