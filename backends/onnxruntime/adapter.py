"""The ONNX Runtime backend: an `InferenceSession` of the network as an ONNX model, which infers and never trains.

The model is made by `dlbench.helpers.onnx_graph`, with the weights in it and the batch size fixed. ONNX Runtime has its
defaults: all graph optimisations, one operator after the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.contract import Session as AnySession
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.onnx_graph import INPUT, OUTPUT, onnx_model, require_onnx
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_driver import device_uuids, loaded_cudnn
from ..shared.cuda_index import NEEDS_GPU, cuda_index
from ..shared.framework import cuda_devices, without_cuda

REMEDY = "pip install 'dlbench[onnxruntime]'"
NO_TRAINING = "onnxruntime infers only: ONNX Runtime's training was given up after version 1.19"
_SPINNING = "session.intra_op.allow_spinning"
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ONLY_ERRORS = 3
"""Severity of what is written on stderr: without a GPU, ONNX Runtime warns that it found none."""


class Adapter(AdapterBase):
    """Opens sessions on ``cpu`` and, where ONNX Runtime was built for them, on CUDA devices."""

    title = "ONNX Runtime"
    packages = ("onnxruntime", "onnxruntime-gpu", "onnx")

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """No GPU for a process that computes on the CPU."""
        return without_cuda(plan)

    def info(self) -> BackendInfo:
        """ONNX Runtime's version and devices.

        Raises
        ------
        BackendUnavailable : ONNX Runtime or the package onnx is not installed or cannot be imported.
        """
        runtime = _runtime()
        onnx = require_onnx()
        uuids: tuple[str | None, ...] = ()
        absent = {}
        try:
            uuids = tuple(_cuda_uuids())
        except BackendUnavailable as error:
            absent["cuda"] = error.reason
        return BackendInfo(
            version=runtime.__version__,
            devices=(
                Device("cpu", "CPU"),
                *cuda_devices(["CUDA device"] * len(uuids), uuids),
            ),
            scenarios=("infer",),
            libraries={"onnx": onnx.__version__},
            absent=absent,
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> AnySession:
        """A session at `weights`.

        Raises
        ------
        BackendUnavailable : ONNX Runtime, the package onnx or the CUDA device is not there.
        PlanRefused : training, or another precision, mode or device than there is.
        """
        refuse_unless("onnxruntime", plan)
        if plan.scenario == "train":
            raise PlanRefused(NO_TRAINING)
        return Session(plan, workload, weights, cuda_index(plan.device, _cuda_uuids))


class Session(SessionBase):
    """One network in an `InferenceSession`."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights, cuda: int | None) -> None:
        runtime = _runtime()
        self._value = runtime.OrtValue.ortvalue_from_numpy
        self._place = None if cuda is None else ("cuda", cuda)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = plan.threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ONLY_ERRORS
        # the default, said so that the fact below is what was set
        options.add_session_config_entry(_SPINNING, "1")
        model = onnx_model(workload, weights, plan.batch, "network").SerializeToString()
        threads_before = _threads()
        self._session = runtime.InferenceSession(model, options, providers=_providers(cuda))
        self._facts: dict[str, str | int] = {
            "device": "cpu" if cuda is None else f"cuda:{cuda}",
            # those of its pool, and the one that calls
            "threads": _threads() - threads_before + 1,
            "intra_op_spinning": "on"
            if options.get_session_config_entry(_SPINNING) == "1"
            else "off",
            "graph_optimization": options.graph_optimization_level.name,
            "providers": " ".join(self._session.get_providers()),
        }
        if cuda is not None:
            self._facts |= _cuda_facts(self._session, cuda)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Device, threads as the system counts them, whether they spin, and the execution providers."""
        return self._facts

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Any:
        """The inputs alone: on the CPU an array, on a GPU an `IOBinding` to a copy there."""
        own = np.array(inputs, np.float32, order="C")
        if self._place is None:
            return {INPUT: own}
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT, self._value(own, *self._place))
        return binding

    def infer(self, batch: Any) -> Any:
        """The output, left on the device. ONNX Runtime returns when it is done."""
        if self._place is None:
            return self._session.run([OUTPUT], batch)[0]
        # anew, so that the output before is not written over
        batch.bind_output(OUTPUT, *self._place)
        self._session.run_with_iobinding(batch)
        return batch.get_outputs()[0]

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A copy of the output."""
        return np.array(result if self._place is None else result.numpy(), np.float32, order="C")


def _runtime() -> Any:
    return require("onnxruntime", "ONNX Runtime", REMEDY)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _providers(cuda: int | None) -> list[Any]:
    """The provider of a device with what it is to do; what CUDA's lacks, the CPU's does."""
    if cuda is None:
        return [_CPU]
    # algorithms are chosen by trying them, in the first step; no factor is rounded
    options = {"device_id": cuda, "use_tf32": 0, "cudnn_conv_algo_search": "EXHAUSTIVE"}
    return [(_CUDA, options), _CPU]


def _cuda_uuids() -> list[str | None]:
    """The UUIDs of the CUDA devices, in the driver's order, which is ONNX Runtime's too; none without a driver.

    Raises
    ------
    BackendUnavailable : this ONNX Runtime has no CUDA.
    """
    runtime = _runtime()
    if _CUDA not in runtime.get_available_providers():
        raise BackendUnavailable(
            f"no CUDA device: ONNX Runtime {runtime.__version__} was built for the CPU alone",
            f"{NEEDS_GPU} and the package onnxruntime-gpu in place of onnxruntime",
        )
    return list(device_uuids())


def _cuda_facts(session: Any, cuda: int) -> dict[str, str | int]:
    """Which device it is, and what its provider says that it does.

    Raises
    ------
    BackendUnavailable : the provider could not be loaded, and ONNX Runtime would compute on the CPU.
    """
    if _CUDA not in session.get_providers():
        raise BackendUnavailable(
            "ONNX Runtime cannot load its CUDA provider",
            "CUDA and cuDNN of the versions it was built for",
        )
    options = session.get_provider_options()[_CUDA]
    seen = {"tf32": "off" if options.get("use_tf32") == "0" else "on"}
    return {
        **seen,
        "device_uuid": device_uuids()[cuda],
        "cudnn": loaded_cudnn() or "none",
        "cudnn_benchmark": "on",
    }
