"""What a worker finds out about trainings and about answers; as `dlbench.record.facts`."""

from __future__ import annotations

import dataclasses

from dlbench.record.facts import BackendResult, Check


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    losses : mean loss of each step's batch before the step, epochs × steps values, until one was not finite.
    diverged_at : that step, counted from 0; None when all were finite.
    validation_accuracy : after each epoch; empty for regression.
    test_accuracy : share of right answers on the test part; None for regression.
    test_loss : mean loss on the test part; None when it is not finite.
    answers, wrong, true_classes : as in `dlbench.record.schema.Training`.
    seconds : all of it, data handling and evaluation included.
    epoch_s : the steps of each epoch with their data (s).
    evaluation_s : the evaluation behind each epoch (s), no part of `epoch_s`.
    epoch_started_ns, epoch_ended_ns : the steps of each epoch on the clock of telemetry (ns).
    """

    losses: tuple[float, ...]
    diverged_at: int | None
    validation_accuracy: tuple[float, ...]
    test_accuracy: float | None
    test_loss: float | None
    seconds: float
    answers: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    epoch_s: tuple[float, ...] = ()
    evaluation_s: tuple[float, ...] = ()
    true_classes: tuple[int, ...] = ()
    epoch_started_ns: tuple[int, ...] = ()
    epoch_ended_ns: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult(BackendResult):
    """What came of a training."""

    trained: Trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerResult(BackendResult):
    """What a session answered on the test part; as in `dlbench.record.schema.Training`."""

    answers: tuple[int, ...]
    wrong: tuple[int, ...]
    true_classes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarriedResult(BackendResult):
    """What a session at given weights gives on the test part.

    Attributes
    ----------
    logits : of its first samples against the float64 oracle's: the worst.
    answers, wrong : as in `dlbench.record.schema.Training`.
    others : the test samples that it answers otherwise than the session did that was trained.
    near_ties : of these the ones for which rounding alone may decide between the two answers.
    """

    logits: Check
    answers: tuple[int, ...]
    wrong: tuple[int, ...]
    others: tuple[int, ...]
    near_ties: tuple[int, ...]
