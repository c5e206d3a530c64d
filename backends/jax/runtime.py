"""JAX in this process: its one device, and what was seen of it.

XLA makes its thread pool when the first array is made, and keeps it for the life of the process.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib

from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.threads import thread_names

from ..shared.cuda_driver import loaded_cudnn
from ..shared.cuda_index import NEEDS_GPU
from ..shared.framework import TERMS, VALUE, rounds
from ..shared.framework import cuda_uuids as uuids_of
from . import layers

JAXLIB = jaxlib.__version__
_POOL = "tf_XLAEigen"
"""How the threads are called that computations on the CPU are spread over."""


def start(gpu: int | None) -> None:
    """Makes GPU number `gpu` (None: the CPU) the device of this process, and an array there.

    Raises
    ------
    PlanRefused : an earlier session of this process had another one.
    """
    device = jax.devices("cpu")[0] if gpu is None else _cuda()[gpu]
    if jax.config.jax_default_device not in (None, device):
        raise PlanRefused("jax keeps one device for the life of a process")
    jax.config.update("jax_default_device", device)
    jax.block_until_ready(jnp.zeros(()))


def cuda_names() -> list[str]:
    """What each CUDA device is.

    Raises
    ------
    BackendUnavailable : this JAX has none, and why.
    """
    return [str(device.device_kind) for device in _cuda()]


def cuda_uuids() -> list[str | None]:
    """Their UUIDs, as far as the driver tells them.

    Raises
    ------
    BackendUnavailable : as for `cuda_names`.
    """
    return uuids_of(len(_cuda()))


def facts() -> dict[str, str | int]:
    """A session's, by now."""
    device: Any = jax.config.jax_default_device
    gpu = device.platform != "cpu"
    found: dict[str, str | int] = {
        "device": f"cuda:{_cuda().index(device)}" if gpu else "cpu",
        "tf32": "on" if _rounds_inputs() else "off",
    }
    threads = sum(name.startswith(_POOL) for name in thread_names())
    if threads:
        found["threads"] = threads
    if gpu:
        found["device_name"] = str(device.device_kind)
        found["device_uuid"] = cuda_uuids()[_cuda().index(device)] or "unknown"
        found["cudnn"] = loaded_cudnn() or "unknown"
        found["peak_device_memory_bytes"] = int(device.memory_stats()["peak_bytes_in_use"])
    return found


@functools.cache
def _cuda() -> list[Any]:
    """JAX' CUDA devices, in its order."""
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    if not any("cuda" in plugin.name for plugin in plugins):
        raise BackendUnavailable(
            f"no CUDA device: JAX {jax.__version__} has no CUDA plugin here",
            f"{NEEDS_GPU} and  pip install 'jax[cuda13]'",
        )
    try:
        return list(jax.devices("cuda"))
    except RuntimeError as error:
        # of several lines the first says it
        reason = str(error).strip().partition("\n")[0]
        raise BackendUnavailable(f"JAX {jax.__version__} has no CUDA device: {reason}") from error


@functools.cache
def _rounds_inputs() -> bool:
    """Whether matrix products or convolutions round their inputs to fewer bits than float32 has."""
    side = (TERMS, TERMS)
    product = layers.product(jnp.full(side, VALUE), jnp.ones(side))
    image = jnp.full((8, 8, 8, TERMS), VALUE)
    response = layers.convolution(image, jnp.ones((1, 1, TERMS, 64)))
    return rounds(float(product.min()), float(response.min()))
