"""Trains a session over whole epochs, to see what comes of it: the loss of every step and the accuracies.

Order, augmentation and learning rates are the core's, so every backend sees the same samples in the same order.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session, check_batch
from dlbench.data.order import batch_indices
from dlbench.data.preprocessing import Recipe
from dlbench.record.trained import Trained
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Workload

_BEAT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Part:
    """Stored samples and targets, as in `dlbench.data.types.Split`."""

    samples: npt.NDArray[Any]
    targets: npt.NDArray[Any]


def train(
    session: Session,
    plan: Plan,
    workload: Workload,
    recipe: Recipe,
    parts: dict[str, Part],
    epochs: int,
    beat: Callable[[], None] = lambda: None,
    *,
    target_accuracy: float | None = None,
    on_epoch: Callable[[int, float | None, float], None] = lambda epoch, accuracy, seconds: None,
) -> Trained:
    """Trains from where the session is.

    Parameters
    ----------
    parts : ``train``, ``validation`` and ``test``.
    epochs : how long, at the most.
    beat : called every few seconds, between steps.
    target_accuracy : the training ends with the first epoch after which so large a share of the validation part is
        answered rightly; None for all `epochs`.
    on_epoch : told each epoch that is over, from 1; the validation accuracy then, None for regression; and the time of
        its steps (s), with their data, without the evaluation.
    """
    begin = last_beat = time.monotonic()
    losses: list[float] = []
    accuracies: list[float] = []
    epoch_s: list[float] = []
    evaluation_s: list[float] = []
    started_ns: list[int] = []
    ended_ns: list[int] = []
    training = parts["train"]
    for epoch in range(epochs):
        factor = workload.schedule.factor(epoch)
        session.learning_rate = workload.optimizer.learning_rate * factor
        pending = []
        started_ns.append(time.perf_counter_ns())
        for indices in batch_indices(len(training.samples), plan.batch, plan.seed, epoch):
            inputs = recipe.training_inputs(training.samples, indices, plan.seed, epoch)
            targets = training.targets[indices]
            check_batch(plan, workload, inputs, targets)
            batch = session.upload(inputs, targets)
            pending.append(session.train_step(batch))
            if time.monotonic() - last_beat > _BEAT_S:
                # also keeps steps that are only queued on a device from piling up
                session.synchronize()
                beat()
                last_beat = time.monotonic()
        losses += [float(session.download(loss)) for loss in pending]
        ended_ns.append(time.perf_counter_ns())
        epoch_s.append((ended_ns[-1] - started_ns[-1]) * 1e-9)
        if not np.isfinite(losses).all():
            diverged_at = int(np.argmin(np.isfinite(losses)))
            kept = tuple(losses[:diverged_at])
            seconds = time.monotonic() - begin
            return Trained(
                *(kept, diverged_at, tuple(accuracies), None, None, seconds),
                epoch_s=tuple(epoch_s),
                evaluation_s=tuple(evaluation_s),
            )
        evaluation_began = time.monotonic()
        accuracy = evaluate(session, plan, workload, recipe, parts["validation"], beat).accuracy
        evaluation_s.append(time.monotonic() - evaluation_began)
        accuracies += [] if accuracy is None else [accuracy]
        on_epoch(epoch + 1, accuracy, epoch_s[-1])
        if accuracy is not None and target_accuracy is not None and accuracy >= target_accuracy:
            break
    test = evaluate(session, plan, workload, recipe, parts["test"], beat)
    return Trained(
        losses=tuple(losses),
        diverged_at=None,
        validation_accuracy=tuple(accuracies),
        test_accuracy=test.accuracy,
        test_loss=test.loss if math.isfinite(test.loss) else None,
        seconds=time.monotonic() - begin,
        answers=test.answers,
        wrong=test.wrong,
        epoch_s=tuple(epoch_s),
        evaluation_s=tuple(evaluation_s),
        true_classes=test.true_classes,
        epoch_started_ns=tuple(started_ns),
        epoch_ended_ns=tuple(ended_ns),
    )


class Judged(NamedTuple):
    """What outputs are worth: `accuracy` (None for regression) and mean `loss`, in float64; the class that each sample
    was given, the samples for which it is `wrong`, and the class that each of these is of; all empty for regression."""

    accuracy: float | None
    loss: float
    answers: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    true_classes: tuple[int, ...] = ()


def evaluate(
    session: Session,
    plan: Plan,
    workload: Workload,
    recipe: Recipe,
    part: Part,
    beat: Callable[[], None] = lambda: None,
) -> Judged:
    """What the outputs of a session in inference mode are worth on a part; as `outputs_on`."""
    return judge(workload, outputs_on(session, plan, workload, recipe, part, beat), part.targets)


def outputs_on(
    session: Session,
    plan: Plan,
    workload: Workload,
    recipe: Recipe,
    part: Part,
    beat: Callable[[], None] = lambda: None,
) -> npt.NDArray[np.float32]:
    """What a session in inference mode gives on a part: N×classes logits, or N×… values.

    The last batch is filled up to the plan's size with the first samples, which do not count.
    """
    count = len(part.samples)
    outputs = []
    last_beat = time.monotonic()
    for start in range(0, count, plan.batch):
        indices = np.arange(start, start + plan.batch) % count
        inputs, targets = recipe.inputs(part.samples[indices]), part.targets[indices]
        check_batch(plan, workload, inputs, targets)
        batch = session.upload(inputs, targets)
        outputs.append(session.download(session.infer(batch)))
        if time.monotonic() - last_beat > _BEAT_S:
            beat()
            last_beat = time.monotonic()
    found: npt.NDArray[np.float32] = np.concatenate(outputs)[:count]
    return found


def judge(
    workload: Workload, outputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]
) -> Judged:
    """What outputs are worth.

    Parameters
    ----------
    outputs : N×classes logits, or N×… values.
    targets : N labels, or N×… values.
    """
    values = outputs.astype(np.float64)
    if not isinstance(workload.loss, CrossEntropy):
        return Judged(None, float(np.mean((values - targets.reshape(values.shape)) ** 2)))
    shifted = values - values.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    log_likelihoods = shifted[np.arange(len(targets)), targets] - log_sums
    answers = values.argmax(axis=1)
    wrong = np.flatnonzero(answers != targets)
    accuracy = 1 - len(wrong) / len(answers)
    classes = (tuple(each.tolist()) for each in (answers, wrong, targets[wrong]))
    return Judged(accuracy, float(-log_likelihoods.mean()), *classes)
