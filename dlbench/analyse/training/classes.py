"""What a training ended with on the test part, class by class: the confusion matrix, and the shares that follow.

Definitions are those of the field, and of scikit-learn: precision is the share of the samples given a class that are of
it, recall the share of the samples of a class that are given it, F1 their harmonic mean, 2 TP / (2 TP + FP + FN), and
macro F1 the mean of F1 over the classes that occur among the samples or the answers, each counting the same
(Sokolova and Lapalme 2009, "A systematic analysis of performance measures for classification tasks").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.analyse.columns import CONVERGE, TRAINING, Column
from dlbench.analyse.statistics import median
from dlbench.record.schema import Answers, Case, Record, Training


@dataclasses.dataclass(frozen=True)
class OfClass:
    """One class.

    Attributes
    ----------
    label : its number.
    samples, given : how many test samples are of it, and how many were given it.
    right : how many are both.
    """

    label: int
    samples: int
    given: int
    right: int

    @property
    def precision(self) -> float | None:
        """Of the samples given it, the share that are of it; None where there are none."""
        return self.right / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        """Of its samples, the share that were given it; None where it has none."""
        return self.right / self.samples if self.samples else None

    @property
    def f1(self) -> float:
        """The harmonic mean of the two; 0 where nothing of it was right."""
        return 2 * self.right / (self.samples + self.given)


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Which samples were taken for which class.

    Attributes
    ----------
    case, seed : whose training it was; the seed None in records of earlier versions.
    labels : the classes that occur, K of them.
    matrix : K×K counts: of the samples of a class (row), how many were given each (column).
    """

    case: Case
    seed: int | None
    labels: tuple[int, ...]
    matrix: npt.NDArray[np.int64]

    @property
    def classes(self) -> tuple[OfClass, ...]:
        """Each class."""
        sides = zip(
            self.labels,
            self.matrix.sum(axis=1).tolist(),
            self.matrix.sum(axis=0).tolist(),
            np.diagonal(self.matrix).tolist(),
            strict=True,
        )
        return tuple(OfClass(*each) for each in sides)

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over classes."""
        return float(np.mean([each.f1 for each in self.classes]))

    @property
    def most_confused(self) -> tuple[int, int, int, int] | None:
        """The class that is most often taken for another one, that other, how often, and of how many samples; None
        where all was right."""
        wrong = self.matrix - np.diag(np.diagonal(self.matrix))
        if not wrong.any():
            return None
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        count, samples = int(wrong[row, column]), int(self.matrix[row].sum())
        return self.labels[row], self.labels[column], count, samples


def confusion(line: Training | Answers) -> Confusion | None:
    """What a line tells of it; None for a regression, and where an earlier version did not write what was right."""
    if not line.answers or len(line.true_classes) != len(line.wrong):
        return None
    answers = np.asarray(line.answers, np.int64)
    truths = answers.copy()
    truths[np.asarray(line.wrong, np.int64)] = line.true_classes
    labels, places = np.unique(np.concatenate([truths, answers]), return_inverse=True)
    rows, columns = np.split(places, 2)
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    seed = line.seed if isinstance(line, Training) else None
    return Confusion(line.case, seed, tuple(labels.tolist()), matrix)


def confusions(record: Record) -> Iterator[Confusion]:
    """Those of the trainings of a record that went well, the last of each case and seed."""
    lines: Sequence[Training] = [
        line for line in record.lines if isinstance(line, Training) and line.status == "ok"
    ]
    for line in {(line.case, line.seed): line for line in lines}.values():
        found = confusion(line)
        if found is not None:
            yield found


def class_cells(record: Record) -> dict[Case, dict[str, object]]:
    """The cells of `COLUMNS`, by case; where a case is trained from several seeds, of all of them together."""
    found: dict[Case, list[Confusion]] = {}
    for each in confusions(record):
        found.setdefault(each.case, []).append(each)
    return {
        case: {
            "macro_f1": median([each.macro_f1 for each in own]),
            "most_confused": _confused(own) or None,
        }
        for case, own in found.items()
    }


def _confused(found: Sequence[Confusion]) -> str:
    told = []
    for each in found:
        if each.most_confused is not None:
            label, other, count, samples = each.most_confused
            seed = "" if each.case.has_steps else f"seed {each.seed}: "
            told.append(f"{seed}{count:,} of {samples:,} of class {label} were taken for {other}")
    return "; ".join(told)


COLUMNS: tuple[Column, ...] = (
    # over seeds the median
    Column(
        "macro_f1",
        "float64",
        None,
        (TRAINING, CONVERGE),
        "macro F1",
        lambda share: f"{100 * share:.2f} %",
        priority=45,
    ),
    # which class is most often taken for another one
    Column("most_confused"),
)
