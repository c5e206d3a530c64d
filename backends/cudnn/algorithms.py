"""Which of cuDNN's algorithms carries a convolution out: the fastest deterministic one, found by running them all.

cuDNN runs each on memory of its own and lists them by their time. One that may give other bits at each run is
passed over, and in fp32 one that rounds factors to TF32.
"""

from __future__ import annotations

import ctypes
import dataclasses

from dlbench.errors import PlanRefused

from .handles import MATH_TYPES, Libraries, Made
from .library import DETERMINISTIC, FMA_MATH, Performance

_MOST = {"Forward": 8, "BackwardData": 6, "BackwardFilter": 7}
"""How many algorithms there are of each kind, ``CUDNN_CONVOLUTION_…_ALGO_COUNT``."""

Sizes = tuple[tuple[int, ...], ...]
Descriptors = tuple[Made, Made, Made, Made]
"""The two tensors that go in, the convolution, and what comes out, in the order of the library's functions."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """An algorithm by its number, the arithmetic that it was found with, and the memory that it works in."""

    number: int
    math_type: int
    workspace_bytes: int


class Search:
    """Finds algorithms, each once for convolutions of the same sizes."""

    def __init__(self, libraries: Libraries) -> None:
        self._libraries = libraries
        self._found: dict[tuple[str, str, Sizes], Algorithm] = {}

    def choose(
        self, kind: str, precision: str, sizes: Sizes, descriptors: Descriptors
    ) -> Algorithm:
        """The one to take, whose arithmetic the descriptor of the convolution is given.

        Parameters
        ----------
        kind : ``Forward``, ``BackwardData`` or ``BackwardFilter``.
        sizes : all that the descriptors say.

        Raises
        ------
        PlanRefused : cuDNN has none that is deterministic and computes in this precision.
        """
        key = (kind, precision, sizes)
        if key not in self._found:
            self._found[key] = self._searched(kind, precision, descriptors)
        found = self._found[key]
        self._libraries.cudnn.call("cudnnSetConvolutionMathType", descriptors[2], found.math_type)
        return found

    def _searched(self, kind: str, precision: str, descriptors: Descriptors) -> Algorithm:
        cudnn, handle = self._libraries.cudnn, self._libraries.handle
        found, count = (Performance * _MOST[kind])(), ctypes.c_int()
        name = f"cudnnFindConvolution{kind}Algorithm"
        cudnn.call(name, handle, *descriptors, len(found), ctypes.byref(count), found)
        strict = MATH_TYPES[precision] == FMA_MATH
        for one in found[: count.value]:
            exact = one.math_type == FMA_MATH or not strict
            if not one.status and one.determinism == DETERMINISTIC and exact:
                break
        else:
            raise PlanRefused(f"cuDNN has no deterministic {kind} convolution here in {precision}")
        cudnn.call("cudnnSetConvolutionMathType", descriptors[2], one.math_type)
        size = ctypes.c_size_t()
        cudnn.call(
            f"cudnnGetConvolution{kind}WorkspaceSize",
            *(handle, *descriptors, one.algorithm, ctypes.byref(size)),
        )
        return Algorithm(one.algorithm, one.math_type, size.value)
