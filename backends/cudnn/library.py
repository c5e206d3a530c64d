"""What is called of cuDNN's and cuBLAS' C libraries, with the types and values of their headers.

Sources: cudnn_graph_v9.h, cudnn_ops_v9.h and cudnn_cnn_v9.h of cuDNN 9.27.0, whose older half cuDNN 9 calls deprecated
and still ships whole; cublas_api.h of cuBLAS 13.10.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from ..shared.cuda_driver import cudnn_name

_P, _I, _Z, _D = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_double
_MESSAGE_BYTES = 512

FLOAT = NCHW = NOT_PROPAGATE_NAN = OP_TENSOR_ADD = 0
CROSS_CORRELATION = DETERMINISTIC = BATCHNORM_SPATIAL = 1
DEFAULT_MATH, FMA_MATH = 0, 3
"""cuDNN's arithmetic: with TF32 where it likes, and never."""
SIGMOID, RELU, TANH, CLIPPED_RELU = 0, 1, 2, 3
AVERAGE_WITH_PADDING, AVERAGE_WITHOUT_PADDING, MAX_DETERMINISTIC = 1, 2, 3
OP_N, OP_T = 0, 1
CUBLAS_DEFAULT_MATH, CUBLAS_TF32_MATH = 0, 3

ZERO, ONE = (ctypes.byref(ctypes.c_float(value)) for value in (0.0, 1.0))
"""Factors of what is computed (alpha) and of what was there before (beta)."""


class Performance(ctypes.Structure):
    """``cudnnConvolutionFwdAlgoPerf_t``; those of the two ways back are the same but for the names of algorithms."""

    _fields_ = (
        ("algorithm", _I),
        ("status", _I),
        ("time_ms", ctypes.c_float),
        ("memory_bytes", _Z),
        ("determinism", _I),
        ("math_type", _I),
        ("reserved", _I * 3),
    )


_SEARCH = (_P, _P, _P, _P, _P, _I, ctypes.POINTER(_I), ctypes.POINTER(Performance))
_WORKSPACE = (_P, _P, _P, _P, _P, _I, ctypes.POINTER(_Z))
_CONVOLVE = (_P, _P, _P, _P, _P, _P, _P, _I, _P, _Z, _P, _P, _P)
_CREATE = (ctypes.POINTER(_P),)
_DESCRIBED = {"Tensor", "Filter", "Convolution", "Pooling", "Activation", "OpTensor"}

CUDNN: Mapping[str, tuple[Any, ...]] = {
    "cudnnCreate": _CREATE,
    "cudnnDestroy": (_P,),
    "cudnnSetStream": (_P, _P),
    **{f"cudnnCreate{what}Descriptor": _CREATE for what in _DESCRIBED},
    **{f"cudnnDestroy{what}Descriptor": (_P,) for what in _DESCRIBED},
    "cudnnSetTensor4dDescriptorEx": (_P, *[_I] * 9),
    "cudnnSetFilter4dDescriptor": (_P, *[_I] * 6),
    "cudnnSetConvolution2dDescriptor": (_P, *[_I] * 8),
    "cudnnSetConvolutionMathType": (_P, _I),
    "cudnnSetConvolutionGroupCount": (_P, _I),
    "cudnnSetPooling2dDescriptor": (_P, *[_I] * 8),
    "cudnnSetActivationDescriptor": (_P, _I, _I, _D),
    "cudnnSetOpTensorDescriptor": (_P, _I, _I, _I),
    "cudnnFindConvolutionForwardAlgorithm": _SEARCH,
    "cudnnFindConvolutionBackwardDataAlgorithm": _SEARCH,
    "cudnnFindConvolutionBackwardFilterAlgorithm": _SEARCH,
    "cudnnGetConvolutionForwardWorkspaceSize": _WORKSPACE,
    "cudnnGetConvolutionBackwardDataWorkspaceSize": _WORKSPACE,
    "cudnnGetConvolutionBackwardFilterWorkspaceSize": _WORKSPACE,
    "cudnnConvolutionForward": _CONVOLVE,
    "cudnnConvolutionBackwardData": _CONVOLVE,
    "cudnnConvolutionBackwardFilter": _CONVOLVE,
    "cudnnConvolutionBackwardBias": (_P,) * 7,
    "cudnnAddTensor": (_P,) * 7,
    "cudnnOpTensor": (_P,) * 11,
    "cudnnTransformTensor": (_P,) * 7,
    "cudnnSetTensor": (_P,) * 4,
    "cudnnActivationForward": (_P,) * 8,
    "cudnnActivationBackward": (_P,) * 12,
    "cudnnPoolingForward": (_P,) * 8,
    "cudnnPoolingBackward": (_P,) * 12,
    "cudnnBatchNormalizationForwardTraining": (_P, _I, *[_P] * 9, _D, _P, _P, _D, _P, _P),
    "cudnnBatchNormalizationForwardInference": (_P, _I, *[_P] * 11, _D),
    "cudnnBatchNormalizationBackward": (_P, _I, *[_P] * 14, _D, _P, _P),
}
CUBLAS: Mapping[str, tuple[Any, ...]] = {
    "cublasCreate_v2": _CREATE,
    "cublasDestroy_v2": (_P,),
    "cublasSetStream_v2": (_P, _P),
    "cublasSetWorkspace_v2": (_P, _P, _Z),
    "cublasSetMathMode": (_P, _I),
    "cublasSgemm_v2": (_P, _I, _I, _I, _I, _I, _P, _P, _I, _P, _I, _P, _P, _I),
}


class LibraryError(RuntimeError):
    """A call that cuDNN or cuBLAS refused: its name and the library's reason."""


class Library:
    """One of the two, loaded.

    Parameters
    ----------
    path : of the file, or a name that the system's loader finds.
    functions : their argument types by their names, `CUDNN` or `CUBLAS`.

    Raises
    ------
    OSError : it cannot be loaded.
    LibraryError : it has not got one of the functions.
    """

    def __init__(self, path: str, functions: Mapping[str, tuple[Any, ...]]) -> None:
        self.loaded = ctypes.CDLL(path)
        self._functions = {}
        for name, types in functions.items():
            function = getattr(self.loaded, name, None)
            if function is None:
                raise LibraryError(f"{path} has no {name}")
            function.argtypes, function.restype = types, _I
            self._functions[name] = function

    def call(self, name: str, *args: Any) -> None:
        """Calls a function.

        Raises
        ------
        LibraryError : it answers with anything but success.
        """
        self.binding(name)(*args)

    def binding(self, name: str) -> Callable[..., None]:
        """The same, to be called often."""
        function = self._functions[name]

        def call(*args: Any) -> None:
            if status := function(*args):
                raise LibraryError(f"{name}: {self._reason(status)}")

        return call

    def version(self) -> str:
        """That of cuDNN, ``9.27.0``."""
        self.loaded.cudnnGetVersion.restype = _Z
        return cudnn_name(int(self.loaded.cudnnGetVersion()))

    def _reason(self, status: int) -> str:
        """In the library's words, which only cuDNN has more of than the status' name."""
        for name in ("cudnnGetErrorString", "cublasGetStatusString"):
            if describe := getattr(self.loaded, name, None):
                describe.restype = ctypes.c_char_p
                text = describe(status).decode(errors="replace")
        if tell := getattr(self.loaded, "cudnnGetLastErrorString", None):
            told = ctypes.create_string_buffer(_MESSAGE_BYTES)
            tell.restype, tell.argtypes = None, (ctypes.c_char_p, _Z)
            tell(told, _MESSAGE_BYTES)
            text = f"{text} {told.value.decode(errors='replace')}".strip()
        return str(text)
