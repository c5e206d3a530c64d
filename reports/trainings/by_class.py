"""What trainings ended with on the test part, class by class: tables and data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlbench.analyse.table import Run
from dlbench.analyse.training.classes import Confusion, confusions
from dlbench.record.case import columns

from ..tables.model import Column, Line, Section

_MOST_CLASSES = 20
"""A matrix of more does not fit on a page; programs have it."""
_HOW_TO_READ = "a row is what the samples are, a column what they were given; on the test part"


def sections(run: Run) -> Iterator[Section]:
    """A table with the confusion matrix of each training of a row that is well, and the shares of each class."""
    for each in _well(run):
        seed = "" if each.case.has_steps else f", seed {each.seed}"
        yield Section(
            f"by class: {each.case.label}{seed}",
            columns=(*_matrix(each), *_shares(each)),
            lines=(Line(),) * len(each.labels),
            notes=tuple(_notes(each)),
        )


def data(run: Run) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "record": run.name,
            **columns(each.case),
            "seed": each.seed,
            "accuracy": each.accuracy,
            "macro_f1": each.macro_f1,
            "labels": list(each.labels),
            "confusion": each.matrix.tolist(),
            "classes": [
                {
                    "label": of.label,
                    "samples": of.samples,
                    "precision": of.precision,
                    "recall": of.recall,
                    "f1": of.f1,
                }
                for of in each.classes
            ],
        }
        for each in _well(run)
    ]


def _well(run: Run) -> Iterator[Confusion]:
    well = {row.case for row in run.rows if row["status"] == "ok"}
    return (each for each in confusions(run.record) if each.case in well)


def _matrix(each: Confusion) -> Iterator[Column]:
    yield Column("class", tuple(map(str, each.labels)), right=True, names=True)
    if len(each.labels) <= _MOST_CLASSES:
        for place, label in enumerate(each.labels):
            counts = each.matrix[:, place].tolist()
            # what was never confused is no figure to look at
            cells = tuple(f"{count:,}" if count else "·" for count in counts)
            yield Column(str(label), cells, right=True)


def _shares(each: Confusion) -> Iterator[Column]:
    found = each.classes
    yield Column("samples", tuple(f"{of.samples:,}" for of in found), right=True)
    for title, shares in (
        ("precision", [of.precision for of in found]),
        ("recall", [of.recall for of in found]),
        ("F1", [of.f1 for of in found]),
    ):
        yield Column(title, tuple(map(_percent, shares)), right=True)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _notes(each: Confusion) -> Iterator[str]:
    if len(each.labels) <= _MOST_CLASSES:
        yield _HOW_TO_READ
    else:
        yield f"the matrix of {len(each.labels):,} classes is in --format json"
    yield f"accuracy {_percent(each.accuracy)}, macro F1 {_percent(each.macro_f1)}"
