"""Handles and descriptors: what the libraries make, and get back when nobody refers to it any more."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from .library import (
    CROSS_CORRELATION,
    CUBLAS,
    CUBLAS_DEFAULT_MATH,
    CUBLAS_TF32_MATH,
    CUDNN,
    DEFAULT_MATH,
    FLOAT,
    FMA_MATH,
    NCHW,
    NOT_PROPAGATE_NAN,
    OP_TENSOR_ADD,
    Library,
)

MATH_TYPES = {"fp32": FMA_MATH, "tf32": DEFAULT_MATH}
"""What convolutions may do with their factors, by precision."""
_MATH_MODES = {"fp32": CUBLAS_DEFAULT_MATH, "tf32": CUBLAS_TF32_MATH}


class Made:
    """Something that a library made; an argument of its functions."""

    def __init__(self, library: Library, create: str, destroy: str) -> None:
        made = ctypes.c_void_p()
        library.call(create, ctypes.byref(made))
        self._as_parameter_ = made
        weakref.finalize(self, library.call, destroy, made)


class Handle(Made):
    """A library's state for one stream."""

    def __init__(self, library: Library, prefix: str, suffix: str, stream: int) -> None:
        super().__init__(library, f"{prefix}Create{suffix}", f"{prefix}Destroy{suffix}")
        library.call(f"{prefix}SetStream{suffix}", self, stream)


class Libraries:
    """cuDNN and cuBLAS on one stream.

    Parameters
    ----------
    cudnn, cublas : their files.
    stream : the address of the CUDA stream that they queue their work on.
    workspace, workspace_bytes : the address of device memory that cuBLAS may use, so that it asks for none of its own
        while a graph is captured.
    """

    def __init__(
        self, cudnn: str, cublas: str, stream: int, workspace: int, workspace_bytes: int
    ) -> None:
        self.cudnn, self.cublas = Library(cudnn, CUDNN), Library(cublas, CUBLAS)
        self.handle = Handle(self.cudnn, "cudnn", "", stream)
        self._products: dict[str, Handle] = {}
        for precision, mode in _MATH_MODES.items():
            handle = self._products[precision] = Handle(self.cublas, "cublas", "_v2", stream)
            self.cublas.call("cublasSetWorkspace_v2", handle, workspace, workspace_bytes)
            self.cublas.call("cublasSetMathMode", handle, mode)

    def handle_of(self, function: str, precision: str) -> tuple[Library, Handle]:
        """Whose function that is, and its first argument in this arithmetic."""
        if function in CUBLAS:
            return self.cublas, self._products[precision]
        return self.cudnn, self.handle

    def tensor(self, dims: tuple[int, ...], strides: tuple[int, ...]) -> Made:
        """A descriptor of float32 numbers: images, their channels, rows and columns, and the elements from each to the
        next."""
        return self._described("Tensor", "Tensor4dDescriptorEx", FLOAT, *dims, *strides)

    def filter(self, dims: tuple[int, ...]) -> Made:
        """A descriptor of a dense weight O×I×kH×kW."""
        return self._described("Filter", "Filter4dDescriptor", FLOAT, NCHW, *dims)

    def convolution(
        self,
        padding: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        math_type: int,
    ) -> Made:
        """A descriptor of a cross-correlation, which is what networks call a convolution."""
        sizes = (*padding, *stride, *dilation)
        made = self._described(
            "Convolution", "Convolution2dDescriptor", *sizes, CROSS_CORRELATION, FLOAT
        )
        self.cudnn.call("cudnnSetConvolutionMathType", made, math_type)
        self.cudnn.call("cudnnSetConvolutionGroupCount", made, groups)
        return made

    def pooling(
        self,
        mode: int,
        window: tuple[int, int],
        padding: tuple[int, int],
        stride: tuple[int, int],
    ) -> Made:
        """A descriptor of a pool."""
        sizes = (*window, *padding, *stride)
        return self._described("Pooling", "Pooling2dDescriptor", mode, NOT_PROPAGATE_NAN, *sizes)

    def activation(self, mode: int, ceiling: float) -> Made:
        """A descriptor of an activation; `ceiling` is that of a relu that is clipped."""
        return self._described(
            "Activation", "ActivationDescriptor", mode, NOT_PROPAGATE_NAN, ceiling
        )

    def addition(self) -> Made:
        """A descriptor of the sum of two tensors."""
        return self._described(
            "OpTensor", "OpTensorDescriptor", OP_TENSOR_ADD, FLOAT, NOT_PROPAGATE_NAN
        )

    def _described(self, what: str, setter: str, *values: Any) -> Made:
        names = (f"cudnnCreate{what}Descriptor", f"cudnnDestroy{what}Descriptor")
        made = Made(self.cudnn, *names)
        self.cudnn.call(f"cudnnSet{setter}", made, *values)
        return made
