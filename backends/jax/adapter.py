"""The JAX backend: one compiled function a training step and one for inference, its state donated from step to step.

State, gradients, optimizers and results are those of `dlbench.helpers.functional`, which is there for any functional
framework; here stands JAX, and in `layers` what each layer means in it. Images are N×H×W×C inside, as JAX' users have
them: on the CPU, XLA turns other layouts into this one around each convolution.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.errors import BackendUnavailable
from dlbench.helpers.functional import (
    Array,
    Framework,
    Function,
    FunctionalAdapter,
    FunctionalSession,
    Pass,
)
from dlbench.helpers.refusals import require
from dlbench.spec import training
from dlbench.spec.layers import Flatten
from dlbench.spec.network import Node
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_index import cuda_index
from ..shared.flattening import column_orders, flattened_inputs
from ..shared.framework import cuda_devices, without_cuda

WORLDS = (1, 2, 4, 8)


class Adapter(FunctionalAdapter):
    """Opens sessions on the CPU and on CUDA devices."""

    title = "JAX"
    packages = ("jax", "jaxlib")

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """XLA takes the size of its thread pool from the first of these, before all else, when the first array is
        made; there is no function for it. On a GPU it takes memory as it needs it, else nobody could say how much."""
        found = {"NPROC": str(plan.threads), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        if plan.device == "cpu":
            found["JAX_PLATFORMS"] = "cpu"
        if plan.world > 1:
            # devices are the cores' threads under several names, and told of before all else too
            own = "--xla_force_host_platform_device_count"
            given = os.environ.get("XLA_FLAGS", "").split()
            others = [flag for flag in given if not flag.startswith(f"{own}=")]
            found["XLA_FLAGS"] = " ".join([*others, f"{own}={plan.world}"])
        return {**found, **without_cuda(plan)}

    def info(self) -> BackendInfo:
        """JAX's version and devices. Without its CUDA plugin, asking starts no thread pool.

        Raises
        ------
        BackendUnavailable : JAX is not installed or cannot be imported.
        """
        jax = _jax()
        from . import runtime

        gpus: tuple[Device, ...] = ()
        absent = {}
        try:
            names, uuids = runtime.cuda_names(), runtime.cuda_uuids()
            gpus = cuda_devices(names, uuids)
        except BackendUnavailable as error:
            absent["cuda"] = error.reason
        libraries = {"jaxlib": runtime.JAXLIB}
        return BackendInfo(
            jax.__version__,
            (Device("cpu", "CPU"), *gpus),
            libraries=libraries,
            absent=absent,
            worlds=WORLDS,
            freezes=True,
        )

    def start(self, plan: Plan) -> None:
        """Chooses the device and makes the first array there, which wakes the thread pool.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        _jax()
        from . import runtime

        runtime.start(cuda_index(plan.device, runtime.cuda_uuids))

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> FunctionalSession:
        """A session at `weights`.

        Raises
        ------
        BackendUnavailable : JAX or the CUDA device is not there.
        PlanRefused : an unknown precision, mode or device, or another device than an earlier session of this process
            had.
        """
        self.start(plan)
        return super().open(plan, workload, weights)

    def session(self, plan: Plan, workload: Workload, weights: Weights) -> FunctionalSession:
        """One of several ranks where the plan has them."""
        if plan.world == 1:
            return super().session(plan, workload, weights)
        return _ranks().session(self, plan, workload, weights)  # type: ignore[no-any-return]

    def compiled_inference(self, plan: Plan, workload: Workload) -> Function:
        """Of each rank's part, where there are several."""
        one = super().compiled_inference
        return one(plan, workload) if plan.world == 1 else _ranks().inference(self, plan, workload)

    def compiled_training(self, plan: Plan, workload: Workload) -> Function:
        """Of all ranks, where there are several."""
        one = super().compiled_training
        return one(plan, workload) if plan.world == 1 else _ranks().training(self, plan, workload)

    def facts(self, plan: Plan) -> Mapping[str, str | int]:
        """The device, the threads that XLA computes with as the system counts them, whether TF32 was seen in products;
        on a GPU also which, and the most memory that arrays have had there."""
        from . import runtime

        return runtime.facts()

    def framework(self) -> Framework:
        """JAX, as the base wants it."""
        jax = _jax()
        return Framework(
            xp=jax.numpy,
            compile=lambda function, donated: jax.jit(function, donate_argnums=donated),
            differentiate=functools.partial(jax.value_and_grad, has_aux=True),
            wait=jax.block_until_ready,
        )

    def put(self, array: npt.NDArray[Any], role: str) -> Array:
        """A copy on the device: images N×H×W×C, the weight of a convolution kH×kW×I×O."""
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0) if role == "weight" else array.transpose(0, 2, 3, 1)
        return _jax().numpy.array(np.array(array, order="C"))

    def get(self, array: Array, role: str) -> npt.NDArray[np.float32]:
        """The way back."""
        found = np.asarray(array)
        if found.ndim == 4:
            found = found.transpose(3, 2, 0, 1) if role == "weight" else found.transpose(0, 3, 1, 2)
        return np.array(found, np.float32, order="C")

    def column_orders(self, workload: Workload) -> Mapping[str, npt.NDArray[np.intp]]:
        """H×W×C behind a flatten, which then moves nothing."""
        return column_orders(workload.nodes)

    def sequence(self, nodes: Iterable[Node], x: Array, run: Pass) -> Array:
        """The output of layers one after the other; features are H×W×C where a linear layer reads them."""
        nodes = tuple(nodes)
        images = flattened_inputs(nodes)
        for node in nodes:
            is_read = isinstance(node.layer, Flatten) and node.name in images
            x = x.reshape(len(x), -1) if is_read else self.layer(node, x, run)
        return x

    def loss(self, loss: training.Loss, outputs: Array, targets: Array) -> Array:
        """Both are means, as the specification has them."""
        from . import layers

        return layers.loss(loss, outputs, targets)

    def layer(self, node: Node, x: Array, run: Pass) -> Array:
        """One layer, by the meaning that its class in `dlbench.spec.layers` pins."""
        from . import layers

        return layers.layer(self.sequence, node, x, run)


def _jax() -> Any:
    return require("jax", "JAX", "pip install 'dlbench[jax]'")


def _ranks() -> Any:
    from . import ranks

    return ranks
