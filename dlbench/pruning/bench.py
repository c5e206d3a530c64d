"""One backend on which a network is trained and asked, outside a run: for what weights become on the way to a workload
that a run verifies and times."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dlbench.analyse.modes.accuracy import Share, wilson
from dlbench.data import npz
from dlbench.errors import DlbenchError
from dlbench.execute.events import Observer
from dlbench.execute.materialise import Material, prepare
from dlbench.host.scratch import scratch
from dlbench.plan.request import Request
from dlbench.record.case import Case
from dlbench.spec.workload import Weights
from dlbench.worker.deadline import PHASE_FACTOR
from dlbench.worker.launch import Worker, launch_of
from dlbench.worker.measurements import ANSWER, TRAIN, Measurement

R = TypeVar("R")


class Bench:
    """A network on one backend.

    Parameters
    ----------
    request : with the suite, its data, and what workers need.
    case : the training that is carried out.
    """

    def __init__(
        self, request: Request, case: Case, material: Material, folder: Path, observer: Observer
    ) -> None:
        self._request, self._case, self._observer = request, case, observer
        self._material, self._folder = material, folder

    def initial(self) -> Weights:
        """The weights that the seed gives."""
        with np.load(self._material.weights_from(self._request.seed)) as arrays:
            return dict(arrays)

    def accuracy(self, weights: Weights) -> Share:
        """The share of right answers on the test part at some weights, with its interval over test samples.

        Raises
        ------
        DlbenchError : the backend did not answer.
        """
        found = self._ask(ANSWER, weights, 1)
        return wilson(len(found.answers) - len(found.wrong), len(found.answers))

    def trained(self, weights: Weights, epochs: int) -> Weights:
        """What becomes of weights in a training of so many epochs.

        Raises
        ------
        DlbenchError : it did not end well.
        """
        place = self._folder / "trained.npz"
        options = {"target_accuracy": None, "weights_to": str(place)}
        found = self._ask(TRAIN, weights, epochs, **options).trained
        if found.diverged_at is not None:
            raise DlbenchError(
                f"{self._case.label}: the loss is not finite in step {found.diverged_at}"
            )
        with np.load(place) as arrays:
            return dict(arrays)

    def _ask(self, measurement: Measurement[R], weights: Weights, epochs: int, **options: Any) -> R:
        request, case, file = self._request, self._case, self._folder / "given.npz"
        with npz.writing(file) as written:
            for name, values in weights.items():
                written.add(name, values.shape, np.float32, [values])
        job = self._material.job(case.plan(request.seed), epochs=epochs, **options)
        job["files"]["weights"] = str(file)
        limit_s, python = request.limit_s, request.pythons.get(case.backend)
        phase_s = PHASE_FACTOR * limit_s * epochs
        with Worker(launch_of(case.backend, case.threads, limit_s, python, phase_s)) as worker:
            ended = worker.ask(
                measurement,
                job,
                lambda phase: self._observer.phase(case, None, phase),
                on_epoch=lambda *told: self._observer.epoch(case, *told),
            )
        if ended.result is None:
            raise DlbenchError(f"{case.label}: {ended.status.replace('_', ' ')}: {ended.reason}")
        return ended.result


@contextlib.contextmanager
def bench(request: Request, case: Case, observer: Observer) -> Iterator[Bench]:
    """A network on one backend, as long as it lasts.

    Raises
    ------
    UsageError, DataError : the data does not fit, or is not there.
    """
    with scratch() as folder:
        observer.phase(None, None, "prepare")
        # trainings need the parts of the data
        material = prepare(dataclasses.replace(request, epochs=1), folder)
        yield Bench(request, case, material, folder, observer)
