"""dlbench's own loader: a thread that prepares the next batches while a step is taken."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import TrainingBatches

_WAITING = 2
_LOOK_S = 0.1

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]


class PlainLoader:
    """Delivers batches in their order; a `dlbench.contract.Loader`.

    What goes wrong while a batch is prepared is raised where that batch is asked for.
    """

    name = "dlbench, 1 thread"
    ahead = _WAITING + 1

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(_WAITING)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._prepare, name="loader", daemon=True)
        self._thread.start()

    def __iter__(self) -> PlainLoader:
        return self

    def __next__(self) -> Batch:
        found = self._ready.get()
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._thread.join()

    def _prepare(self) -> None:
        number = 0
        while not self._ended.is_set():
            try:
                made: Batch | Exception = self._batches.batch(number)
            except Exception as error:
                made = error
            self._put(made)
            if isinstance(made, Exception):
                return
            number += 1

    def _put(self, made: Batch | Exception) -> None:
        while not self._ended.is_set():
            try:
                self._ready.put(made, timeout=_LOOK_S)
                return
            except queue.Full:
                continue
