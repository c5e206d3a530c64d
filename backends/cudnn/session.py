"""One workload live on one device: the session of `launches`, over images N×C×H×W and the libraries' calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from ..launches.network import Context
from ..launches.program import Program, Value
from ..launches.session import LINEAR, Way
from ..launches.session import Session as LaunchSession
from .layers import row_shape
from .network import Chain

_CONVOLUTION = (
    {"type": "conv2d", "out_channels": 1, "kernel": 1, "bias": False},
    {"type": "flatten"},
)


class Session(LaunchSession):
    """See `dlbench.contract.Session`."""

    products: Sequence[Sequence[Mapping[str, Any]]] = (LINEAR, _CONVOLUTION)
    knows_owners = False

    def _emit_network(self, program: Program, context: Context) -> tuple[Value, Way]:
        network = self._workload
        chain = Chain(network.input_shape, network.nodes, context)
        return chain.emit(program, self._input)

    def _inner(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        return row_shape(shape)

    def _laid_out(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return images
