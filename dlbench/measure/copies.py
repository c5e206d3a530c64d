"""Times what lies outside a step: a batch on its way to the device, and what a step gives on its way back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlbench.contract import Session
from dlbench.measure.timed_steps import Clock

_COPIES = 5


def upload_all(
    session: Session,
    inputs: Sequence[npt.NDArray[np.float32]],
    targets: Sequence[npt.NDArray[Any]],
    *,
    clock: Clock = time.perf_counter_ns,
) -> tuple[list[Any], tuple[int, ...]]:
    """Makes batches resident.

    Returns
    -------
    The resident batches, and how long each took until it was on the device (ns).
    """
    batches, durations_ns = [], []
    for one_input, target in zip(inputs, targets, strict=True):
        begin = clock()
        batch = session.upload(one_input, target)
        session.synchronize()
        durations_ns.append(clock() - begin)
        batches.append(batch)
    return batches, tuple(durations_ns)


def time_downloads(
    session: Session,
    batch: Any,
    scenario: Literal["train", "infer"],
    *,
    clock: Clock = time.perf_counter_ns,
) -> tuple[int, ...]:
    """How long what a step gives, an output or a loss, takes from the device to an array (ns), a fresh one each
    time."""
    step = session.train_step if scenario == "train" else session.infer
    durations_ns = []
    for _ in range(_COPIES):
        result = step(batch)
        session.synchronize()
        begin = clock()
        session.download(result)
        durations_ns.append(clock() - begin)
    return tuple(durations_ns)
