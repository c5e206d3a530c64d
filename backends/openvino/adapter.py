"""The OpenVINO backend: a compiled model and its requests on the CPU, which infer and never train.

The network comes as an ONNX model of `dlbench.helpers.onnx_graph`, as most come to OpenVINO, with the weights in it and
the batch size fixed. The two modes are OpenVINO's own hints: ``latency`` has all threads compute one request,
``throughput`` has a stream of its own for each of several requests side by side, into which the batch is split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.contract import Session as AnySession
from dlbench.errors import PlanRefused
from dlbench.helpers.onnx_graph import onnx_model, require_onnx
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.workload import Weights, Workload

Tensors = list[Any]
"""A tensor for each part of a batch."""
REMEDY = "pip install 'dlbench[openvino]'"
NO_TRAINING = "openvino infers only: OpenVINO has no training"
MODES = ("latency", "throughput")
_DEVICE = "CPU"
_OBSERVED = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "performance_hint": "PERFORMANCE_HINT",
    "cpu_pinning": "ENABLE_CPU_PINNING",
}
"""Facts, and what OpenVINO calls them."""


class Adapter(AdapterBase):
    """Opens sessions on the CPU."""

    title = "OpenVINO"
    packages = ("openvino", "onnx")

    def info(self) -> BackendInfo:
        """OpenVINO's version, and the processor as OpenVINO has it.

        Raises
        ------
        BackendUnavailable : OpenVINO or the package onnx is not installed or cannot be imported.
        """
        openvino = _openvino()
        onnx = require_onnx()
        cpu = openvino.Core().get_property(_DEVICE, "FULL_DEVICE_NAME")
        return BackendInfo(
            version=openvino.__version__.partition("-")[0],
            devices=(Device("cpu", str(cpu)),),
            modes=MODES,
            scenarios=("infer",),
            libraries={"onnx": onnx.__version__},
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> AnySession:
        """A session at `weights`.

        Raises
        ------
        BackendUnavailable : OpenVINO or the package onnx is not there.
        PlanRefused : training, or another precision, mode or device than there is.
        """
        mode = refuse_unless("openvino", plan, devices=("cpu",), modes=MODES)
        if plan.scenario == "train":
            raise PlanRefused(NO_TRAINING)
        return Session(plan, mode, workload, weights)


class Session(SessionBase):
    """One compiled model."""

    def __init__(self, plan: Plan, mode: str, workload: Workload, weights: Weights) -> None:
        openvino = _openvino()
        self._tensor, self._type = openvino.Tensor, openvino.Type.f32
        self._parts = 1 if mode == MODES[0] else _parts(plan.batch, plan.threads)
        core = openvino.Core()
        model = onnx_model(workload, weights, plan.batch // self._parts, "network")
        self._model = core.compile_model(
            core.read_model(model.SerializeToString()),
            _DEVICE,
            {
                "PERFORMANCE_HINT": mode.upper(),
                "PERFORMANCE_HINT_NUM_REQUESTS": self._parts,
                "INFERENCE_NUM_THREADS": plan.threads,
                # else OpenVINO rounds to bfloat16 of its own accord where the processor has instructions for it
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        self._requests = [self._model.create_infer_request() for _ in range(self._parts)]
        # a single request has nothing to run beside, and is done sooner by the thread that calls
        kind = openvino.InferRequest
        self._begin = kind.infer if self._parts == 1 else kind.start_async
        self._shape = [plan.batch // self._parts, *workload.output_shape]
        self._facts: dict[str, str | int] = {
            "device": "cpu",
            "requests": self._parts,
            **{fact: _plain(self._model.get_property(name)) for fact, name in _OBSERVED.items()},
        }

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Threads, streams and precision as the model was compiled, and the requests that a batch is split into."""
        return self._facts

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Tensors:
        """The inputs alone, in memory of OpenVINO's, in as many parts as there are requests."""
        parts = []
        for part in np.split(inputs, self._parts):
            tensor = self._tensor(self._type, list(part.shape))
            tensor.data[...] = part
            parts.append(tensor)
        return parts

    def infer(self, batch: Tensors) -> Tensors:
        """The outputs, a tensor for each part; several requests run on when it returns."""
        self.synchronize()
        # a request computes into the tensor that it has, so every result has its own
        results = [self._tensor(self._type, self._shape) for _ in batch]
        for request, part, result in zip(self._requests, batch, results, strict=True):
            request.set_input_tensor(part)
            request.set_output_tensor(result)
            self._begin(request)
        return results

    def download(self, result: Tensors) -> npt.NDArray[np.float32]:
        """The parts of an output, one behind the other."""
        self.synchronize()
        return np.concatenate([part.data for part in result])

    def synchronize(self) -> None:
        """Waits for the requests, where there are several."""
        if self._parts > 1:
            for request in self._requests:
                request.wait()


def _parts(batch: int, threads: int) -> int:
    """Into how many equal parts a batch is split: as many as there are threads, or the next smaller number."""
    return next(parts for parts in range(min(batch, threads), 0, -1) if batch % parts == 0)


def _openvino() -> Any:
    return require("openvino", "OpenVINO", REMEDY)


def _plain(value: Any) -> str | int:
    """A property as a fact: OpenVINO's own types as it writes them."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return value
    return str(getattr(value, "to_string", lambda: value)())
