"""A session that does nothing, to see what timing itself costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import SessionBase
from dlbench.spec.workload import Weights


class EmptySession(SessionBase):
    """A session that does nothing, to see what timing itself costs."""

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Nothing was observed."""
        return {}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> None:
        """Nothing."""

    def infer(self, batch: Any) -> None:
        """Nothing."""

    def train_step(self, batch: Any) -> None:
        """Nothing."""

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """No values."""
        return np.empty(0, np.float32)

    def weights(self) -> Weights:
        """No weights."""
        return {}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Nothing."""
