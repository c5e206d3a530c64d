"""`dlbench portability`: whether weights that one backend was trained to give the same on another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dlbench.cli import options
from dlbench.cli.exit_codes import FAILED, NOTHING, tell
from dlbench.cli.output import answer
from dlbench.errors import UsageError
from dlbench.text import plural

if TYPE_CHECKING:
    from dlbench.portability.carried import Carried

_TITLES = ("trained on", "run on", "logits", "of the tolerance", "test accuracy", "other answers")


@click.command("portability")
@options.what
@options.pythons
@click.option(
    "--steps",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="That each backend trains, an epoch at the most.",
)
@options.timeout
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def portability_command(steps: int, form: str, quiet: bool, **chosen: Any) -> int:
    """Train a short while on each backend, and run the weights on every other one."""
    from dlbench.api.asking import request_of
    from dlbench.portability.carrying import carry_all

    if chosen["scenarios"]:
        raise UsageError("portability trains and infers: leave out --scenario")
    if {"int8", "all"} & set(chosen["precisions"]):
        raise UsageError("portability is of arithmetic that trains: name it, and not int8 or all")
    chosen["scenarios"] = ("train", "infer")
    chosen["batches"] = chosen["batches"] or (64,)
    request = request_of(epochs=1, rounds=0, **chosen)
    found = carry_all(request, steps, (lambda text: None) if quiet else tell)
    answer(json.dumps(as_table(found), indent=2) if form == "json" else describe(found))
    known = [each for each in found if not each.reason]
    if not known:
        return NOTHING
    return 0 if all(each.agrees for each in known) else FAILED


def as_table(found: Sequence[Carried]) -> list[dict[str, Any]]:
    """The pairs as plain tables."""
    return [
        {
            "trained_on": each.trained.label,
            "run_on": each.ran.label,
            "agrees": each.agrees if not each.reason else None,
            "share_of_tolerance": each.share,
            "logits": each.logits.sentence() if each.logits else None,
            "test_accuracy": each.accuracy,
            "other_answers": each.others,
            "reason": each.reason,
        }
        for each in found
    ]


def describe(found: Sequence[Carried]) -> str:
    """The pairs as a table, with what did not agree or run beneath."""
    rows = [_TITLES, *map(_row, found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_TITLES))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for each in found:
        way = f"{_name(each.trained)} → {_name(each.ran)}"
        if each.reason:
            lines.append(f"– {way}: {each.reason}")
        elif each.logits is not None and not each.logits.passed:
            lines.append(f"✗ {way}: {each.logits.sentence()}")
        elif each.others:
            lines.append(f"✗ {way}: {plural(each.others, 'test sample')} with another answer")
    return "\n".join(lines)


def _row(each: Carried) -> tuple[str, ...]:
    unknown = each.logits is None
    logits = "–" if unknown else "agree" if each.logits.passed else "differ"  # type: ignore[union-attr]
    return (
        _name(each.trained),
        _name(each.ran),
        logits,
        "–" if each.share is None else f"{each.share:.2g}",
        "–" if each.accuracy is None else f"{100 * each.accuracy:.2f} %",
        "–" if each.others is None else f"{each.others:,}",
    )


def _name(case: Any) -> str:
    """``torch:cpu/eager``: a case without its scenario and batch size, of which there is one."""
    return str(case.label).removesuffix(f"/{case.scenario}/{case.batch}")
