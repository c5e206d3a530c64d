"""Launches of every kernel, recorded from a training step of small networks whose sizes fill no tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dlbench.backends.cupy import device as cupy_device
from dlbench.backends.cupy.device import source_text
from host_adapter import HostAdapter
from recorder import Recorded, RecordingDevice

from dlbench.contract import Plan
from dlbench.spec.workload import Weights, Workload, initial_weights, read_workload

Read = Callable[[Sequence[str], Mapping[str, int]], str]

KERNELS = Path(cupy_device.__file__).with_name("kernels")
FILES = tuple(sorted(path.stem for path in KERNELS.glob("*.cu")))

_CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 5, "kernel": 3}
_SGD: dict[str, Any] = {"type": "sgd", "learning_rate": 0.1}
_NETWORKS: tuple[tuple[list[int], list[dict[str, Any]], str, dict[str, Any]], ...] = (
    (  # odd numbers of channels: single loads; strides, dilation, padding, overlapping windows
        [3, 11, 13],
        [
            _CONV | {"kernel": [3, 2], "stride": [2, 1], "padding": [1, 1]},
            {"type": "relu"},
            _CONV | {"dilation": 2, "padding": 2, "out_channels": 6},
            {"type": "tanh"},
            {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1},
            {"type": "batch_norm"},
            {"type": "leaky_relu"},
            {
                "type": "residual",
                "shortcut": "option_a",
                "body": [
                    _CONV | {"stride": 2, "padding": 1, "out_channels": 9},
                    {"type": "batch_norm"},
                ],
            },
            {"type": "avg_pool", "kernel": 2, "stride": 1, "padding": 1},
            {"type": "dropout", "rate": 0.25},
            {"type": "flatten"},
            {"type": "linear", "out_features": 7},
        ],
        "cross_entropy",
        _SGD
        | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
        | {"decay_biases_and_norms": False},
    ),
    (  # multiples of four: loads of four; a pool in the convolution's kernel; parts of wider arrays
        [4, 12, 10],
        [
            _CONV | {"out_channels": 8, "padding": 1},
            {"type": "relu"},
            {"type": "max_pool", "kernel": 2},
            {
                "type": "concat",
                "body": [_CONV | {"padding": 1, "out_channels": 4}, {"type": "relu"}],
            },
            {"type": "residual", "body": [_CONV | {"kernel": 1, "out_channels": 12}]},
            {"type": "sigmoid"},
            {"type": "global_avg_pool"},
            {"type": "linear", "out_features": 5, "bias": False},
        ],
        "mean_squared_error",
        {"type": "adam", "learning_rate": 0.01},
    ),
    (  # long sums for few results, which several blocks share
        [700],
        [
            {"type": "linear", "out_features": 6},
            {"type": "relu"},
            {"type": "linear", "out_features": 900},
            {"type": "relu"},
            {"type": "dropout", "rate": 0.5},
            {"type": "linear", "out_features": 3},
        ],
        "cross_entropy",
        {"type": "adamw", "learning_rate": 0.01},
    ),
    (  # fewer channels than a block of batch normalisation takes; an odd number of pooled ones
        [3, 14, 14],
        [
            {"type": "batch_norm"},
            _CONV,
            {"type": "relu"},
            {"type": "max_pool", "kernel": 2},
            {"type": "flatten"},
            {"type": "linear", "out_features": 2},
        ],
        "cross_entropy",
        _SGD,
    ),
    (
        # hardly anything to normalise; a weight and a bias that end just before the next 256 elements
        [3, 1, 2],
        [{"type": "batch_norm"}, {"type": "flatten"}, {"type": "linear", "out_features": 36}],
        "mean_squared_error",
        {"type": "adagrad", "learning_rate": 0.1},
    ),
    (  # features that are normalised, in the order of the images that they were
        [3, 2, 3],
        [
            _CONV | {"kernel": 1},
            {"type": "flatten"},
            {"type": "batch_norm"},
            {"type": "leaky_relu"},
            {"type": "linear", "out_features": 33},
            {"type": "batch_norm"},
            {"type": "dropout", "rate": 0.25},
            {"type": "linear", "out_features": 3},
        ],
        "cross_entropy",
        _SGD,
    ),
    *(
        ([5], [{"type": "linear", "out_features": 7}], "mean_squared_error", optimizer)
        for optimizer in (
            {"type": "rmsprop", "learning_rate": 0.01, "weight_decay": 0.1},
            {"type": "rmsprop", "learning_rate": 0.01, "momentum": 0.9},
            {"type": "adadelta", "learning_rate": 1.0},
        )
    ),
)


def workloads() -> list[Workload]:
    """The networks."""
    return [
        read_workload(
            {"input_shape": shape, "layers": layers, "loss": loss, "optimizer": optimizer}
        )
        for shape, layers, loss, optimizer in _NETWORKS
    ]


def record(read: Read = source_text, batch: int = 3, precision: str = "fp32") -> list[Recorded]:
    """One launch of each build that a network has, from one training step and one inference of each network.

    `read` gives a kernel's text from its sources and constants.
    """
    plan = Plan("cupy", "cuda:0", batch=batch, threads=1, precision=precision)
    recorded = []
    for number, workload in enumerate(workloads()):
        device = RecordingDevice(read)
        # Many multiprocessors share long sums among blocks; few leave each block many steps.
        device.multiprocessors = 2 if number % 2 else 132
        _step(device, plan, workload)
        recorded += device.recorded
    return recorded


def sample(
    workload: Workload, batch: int
) -> tuple[Weights, npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Weights, inputs and targets, always the same."""
    random = np.random.default_rng(0)
    # Nothing is left at 0 or 1, so that no term can be forgotten unseen.
    weights = {
        name: (value + random.uniform(0.1, 0.3, value.shape)).astype(np.float32)
        for name, value in initial_weights(workload, 0).items()
    }
    inputs = random.normal(size=(batch, *workload.input_shape)).astype(np.float32)
    if type(workload.loss).__name__ == "CrossEntropy":
        return weights, inputs, random.integers(0, workload.output_shape[0], batch)
    targets = random.normal(size=(batch, *workload.output_shape))
    return weights, inputs, targets.astype(np.float32)


def _step(device: RecordingDevice, plan: Plan, workload: Workload) -> None:
    weights, inputs, targets = sample(workload, plan.batch)
    session = HostAdapter(device).open(plan, workload, weights)
    batch = session.upload(inputs, targets)
    session.train_step(batch)
    session.infer(batch)
