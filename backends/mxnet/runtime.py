"""What was seen of MXNet in this process, and of the libraries in it."""

from __future__ import annotations

import ctypes
import re

import mxnet as mx

from ..shared.framework import TERMS, VALUE, rounds


def libraries() -> dict[str, str]:
    """OpenBLAS' version. MXNet does not tell that of oneDNN, which is linked into it."""
    tell = mx.base._LIB.openblas_get_config
    tell.restype = ctypes.c_char_p
    found = re.search(r"OpenBLAS (\d\S*)", tell().decode())
    return {"openblas": found[1]} if found else {}


def facts() -> dict[str, str | int]:
    """A session's."""
    has_onednn = mx.runtime.Features().is_enabled("MKLDNN")
    return {
        "device": "cpu",
        "threads": mx.base._LIB.omp_get_max_threads(),
        "blas_threads": mx.base._LIB.openblas_get_num_threads(),
        "onednn": "on" if has_onednn else "off",
        "tf32": "on" if rounds_inputs() else "off",
    }


def rounds_inputs() -> bool:
    """Whether matrix products or convolutions round their inputs to fewer bits than float32 has."""
    nd = mx.nd
    product = nd.dot(nd.full((TERMS, TERMS), VALUE), nd.ones((TERMS, TERMS)))
    kernel = {"num_filter": 64, "kernel": (1, 1), "no_bias": True}
    image = nd.full((8, TERMS, 8, 8), VALUE)
    response = nd.Convolution(image, nd.ones((64, TERMS, 1, 1)), **kernel)
    return rounds(float(product.min().asscalar()), float(response.min().asscalar()))
