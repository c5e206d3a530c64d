"""Sets up TensorFlow's process-wide runtime for one plan, and reports what it came to.

TensorFlow reads threads and visible devices once, when its runtime starts, and keeps them for the
life of the process; that is why none of this can belong to a session.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from dlbench.errors import PlanRefused
from dlbench.helpers.threads import thread_names

from ..shared.cuda_driver import loaded_cudnn
from ..shared.framework import TERMS, VALUE, cuda_uuids, onednn_fpmath, rounds

_REWRITERS = ("auto_mixed_precision", "auto_mixed_precision_onednn_bfloat16")
"""What would make a graph short of TensorFlow's own accord."""


def start(threads: int, gpu: int | None) -> dict[str, str | int]:
    """Starts the runtime with `threads` threads on GPU number `gpu` alone (None: on the CPU alone).

    Returns a session's facts: ``device``, ``threads``, ``interop_threads``, ``tf32``, ``onednn``,
    ``onednn_fpmath``, ``autocast``; on a GPU also
    ``device_name``, ``device_uuid``, ``cudnn`` and ``cudnn_benchmark``.

    Raises
    ------
    PlanRefused : the runtime already runs in this process on another device.
    """
    devices = tf.config.list_physical_devices("GPU")
    wanted = [] if gpu is None else [devices[gpu]]
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        if devices:
            tf.config.set_visible_devices(wanted, "GPU")
            for device in wanted:
                tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        # Started by an earlier session. Its threads stay and are reported; its device must fit.
        if tf.config.get_visible_devices("GPU") != wanted:
            raise PlanRefused("tensorflow keeps one device for the life of a process") from None
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.optimizer.set_jit(False)
    tf.config.optimizer.set_experimental_options(dict.fromkeys(_REWRITERS, False))
    started = _start_pool()
    facts: dict[str, str | int] = {
        "device": "cpu" if gpu is None else f"cuda:{gpu}",
        # beside a GPU the driver starts threads too, which cannot be told from the pool's
        "threads": _asked("intra") if gpu is not None or not started else started,
        "interop_threads": _asked("inter"),
        "tf32": "on" if _rounds_inputs() else "off",
        "onednn": "on" if onednn_enabled() else "off",
        "onednn_fpmath": onednn_fpmath(),
        "autocast": "on" if any(_rewriting().get(name) for name in _REWRITERS) else "off",
    }
    if gpu is not None:
        facts["device_name"] = _gpu_name(devices[gpu])
        facts["device_uuid"] = gpu_uuids()[gpu] or "unknown"
        # behind the probe for TF32, whose convolution has loaded it
        facts["cudnn"] = loaded_cudnn() or "unknown"
        facts["cudnn_benchmark"] = "on" if autotunes(os.environ) else "off"
    return facts


@functools.cache
def xla_by_itself() -> str:
    """``on`` where a graph that nobody asked to compile was given to XLA, as seen in what was carried out."""
    context = importlib.import_module("tensorflow.python.eager.context").context()
    side = tf.ones((8, 8))

    def several(x: Any) -> Any:
        return tf.nn.relu(tf.linalg.matmul(x, x) + x) * x

    graph = tf.function(several, autograph=False, jit_compile=False)
    context.enable_run_metadata()
    graph(side)
    seen = context.export_run_metadata()
    context.disable_run_metadata()
    nodes = {node.op for part in seen.partition_graphs for node in part.node}
    return "on" if any(op.startswith("_Xla") for op in nodes) else "off"


def _rewriting() -> dict[str, Any]:
    return dict(tf.config.optimizer.get_experimental_options())


def libraries() -> dict[str, str]:
    """What TensorFlow says it was built with: oneDNN's switch, and CUDA's and cuDNN's versions."""
    built = dict(tf.sysconfig.get_build_info())
    found = {"onednn": "on" if onednn_enabled() else "off"}
    for name in ("cuda", "cudnn"):
        if built.get(f"{name}_version"):
            found[name] = str(built[f"{name}_version"])
    return found


def gpu_names() -> list[str]:
    """Every GPU's name, in CUDA's order. Does not start the runtime."""
    return [_gpu_name(device) for device in tf.config.list_physical_devices("GPU")]


def gpu_uuids() -> list[str | None]:
    """Every GPU's UUID, in TensorFlow's order, which is the driver's; None where that cannot be read."""
    return cuda_uuids(len(tf.config.list_physical_devices("GPU")))


def autotunes(environment: Mapping[str, str]) -> bool:
    """Whether TensorFlow tries cuDNN's algorithms out, which is its default and has no other switch."""
    word = environment.get("TF_CUDNN_USE_AUTOTUNE", "1").strip().lower()
    return word not in ("0", "false")


def onednn_enabled() -> bool:
    """Whether oneDNN's kernels take part; False where TensorFlow does not say."""
    # No public function tells; the environment variable alone does not (its default varies).
    with contextlib.suppress(ImportError, AttributeError):
        port = importlib.import_module("tensorflow.python.util._pywrap_util_port")
        return bool(port.IsMklEnabled())
    return False


def _gpu_name(device: Any) -> str:
    return str(tf.config.experimental.get_device_details(device).get("device_name", device.name))


@functools.cache
def _start_pool() -> int:
    """Starts the runtime and counts the threads of its intra-op pool; 0 where that cannot be seen.

    The pool's threads are the new ones that the runtime gave no name of its own. Cached because the
    count can be taken only while they start.
    """
    before = _unnamed_threads()
    tf.config.list_logical_devices()
    return _unnamed_threads() - before


def _unnamed_threads() -> int:
    return sum(not name.startswith("tf_") for name in thread_names())


def _asked(pool: str) -> int:
    """The setting in force, where threads cannot be counted: the API's, else the environment's."""
    number = int(getattr(tf.config.threading, f"get_{pool}_op_parallelism_threads")())
    return number or int(os.environ.get(f"TF_NUM_{pool.upper()}OP_THREADS", os.cpu_count() or 1))


def _rounds_inputs() -> bool:
    """Whether matrix products or convolutions round their inputs to fewer bits than float32 has."""
    side = (TERMS, TERMS)
    product = tf.linalg.matmul(tf.fill(side, VALUE), tf.ones(side))
    image = tf.fill((8, 8, 8, TERMS), VALUE)
    response = tf.nn.conv2d(image, tf.ones((1, 1, TERMS, 64)), 1, "VALID")
    return rounds(float(tf.reduce_min(product)), float(tf.reduce_min(response)))
