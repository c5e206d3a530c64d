"""The TensorFlow backend: one plain `tf.function` a step, compiled by XLA or not at all in two further modes, no Keras.

This file holds the session; ops, variables, update rules and the process-wide runtime are in the
``tensorflow_….py`` files beside it, which are imported when a session is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import (
    AdapterBase,
    BackendInfo,
    Device,
    Loader,
    Plan,
    SessionBase,
    Span,
    TrainingBatches,
)
from dlbench.contract import Session as AnySession
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.network import walk
from dlbench.spec.precision import policy_of
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_driver import device_uuids
from ..shared.cuda_index import NEEDS_GPU, cuda_index
from ..shared.framework import STRICT_ONEDNN, cuda_devices, without_cuda

Batch = tuple[Any, Any]
MODES = ("graph", "xla", "eager")
PRECISIONS = ("fp32", "bf16", "fp16")
WORLDS = (1, 2, 4, 8)
_THREAD_VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_NOTHING_BY_ITSELF = {
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=-1 --tf_xla_cpu_global_jit=false",
    "TF_ENABLE_AUTO_MIXED_PRECISION": "0",
}
_ONLY_GPU = "GPU:0"
"""What TensorFlow calls the one GPU that is visible to it."""


class Adapter(AdapterBase):
    """Opens TensorFlow sessions on ``cpu`` and on CUDA devices, by index or UUID; one device a process."""

    title = "TensorFlow"
    packages = ("tensorflow", "tensorflow-cpu")
    out_of_memory = ("ResourceExhaustedError",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """Threads, which its runtime reads when it starts; less of its log; no GPU for a process that computes on
        the CPU; neither XLA nor a short precision of its own accord."""
        threads = dict.fromkeys(_THREAD_VARIABLES, str(plan.threads))
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        return {**quiet, **threads, **STRICT_ONEDNN, **_NOTHING_BY_ITSELF, **without_cuda(plan)}

    def info(self) -> BackendInfo:
        """TensorFlow's version, its devices, and the libraries that compute beneath it.

        Raises
        ------
        BackendUnavailable : TensorFlow is not installed or cannot be imported.
        """
        tf = _require_tensorflow()
        from . import runtime

        gpus: tuple[Device, ...] = ()
        absent = {}
        try:
            uuids = _cuda_devices()
            gpus = cuda_devices(runtime.gpu_names(), uuids)
        except BackendUnavailable as error:
            # the CPU is left
            absent["cuda"] = error.reason
        return BackendInfo(
            version=tf.__version__,
            devices=(Device("cpu", "CPU"), *gpus),
            modes=MODES,
            precisions=PRECISIONS,
            libraries=runtime.libraries(),
            absent=absent,
            worlds=WORLDS,
            freezes=True,
        )

    def start(self, plan: Plan) -> None:
        """Starts TensorFlow's runtime, with a first product and a first convolution.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        start(plan)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> AnySession:
        """A session at `weights`, with a fresh optimizer. Graphs are traced by the first calls.

        Raises
        ------
        BackendUnavailable : TensorFlow or the CUDA device is not there.
        PlanRefused : an unknown precision, mode or device, another device than an earlier session of this process
            had, or what several ranks do not do.
        """
        if plan.world > 1:
            _require_tensorflow()
            from .data_parallel import ParallelSession

            return ParallelSession(plan, workload, weights)
        return Session(plan, workload, weights, start(plan))

    def loader(self, plan: Plan, batches: TrainingBatches) -> Loader:
        """A tf.data pipeline that makes as many samples in parallel as the plan has threads."""
        from . import loader

        return loader.Loader(batches, plan.threads)


class Session(SessionBase):
    """One workload as variables and two graphs over them, for batches of the plan's size only."""

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        weights: Weights,
        facts: Mapping[str, str | int],
    ) -> None:
        import tensorflow as tf

        from . import precision, runtime
        from .network import Network
        from .optimizers import Rule

        mode = plan.mode or MODES[0]
        compiled = mode == "xla"
        policy = policy_of(plan.precision)
        short = precision.short_of(policy, compiled)
        self._tf = tf
        self._facts = dict(facts)
        self._facts["factors"] = precision.factors_seen(policy, compiled)
        self._facts["xla"] = "on" if compiled else runtime.xla_by_itself()
        self._workload = workload
        self._network = Network(workload.nodes, plan.seed, short)
        self._scale = policy.loss_scale
        self._is_rounded = short is None
        self._rate = tf.Variable(workload.optimizer.learning_rate, trainable=False)
        self._learning_rate = workload.optimizer.learning_rate
        self._rule = Rule(workload.optimizer, self._network.trainable, self._rate)
        # Without an input signature, which would be checked at each call (13 µs): shapes never change, so nothing is
        # traced twice.
        self._step: Callable[..., Any] = self._trace_step
        self._logits: Callable[..., Any] = self._trace_logits
        if mode != "eager":
            self._step = tf.function(self._step, autograph=False, jit_compile=compiled)
            self._logits = tf.function(self._logits, autograph=False, jit_compile=compiled)
        self._mode = mode
        self._watched: tuple[Any, Any] | None = None
        self.load(weights)
        if self._facts["device"] != "cpu":
            # what the set-up needed is not the workload's
            tf.config.experimental.reset_memory_stats(_ONLY_GPU)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Device, threads, whether TF32 was seen in products, whether oneDNN takes part; on a GPU also which,
        cuDNN's settings, and the most memory that tensors have had there."""
        if self._facts["device"] == "cpu":
            return self._facts
        seen = self._tf.config.experimental.get_memory_info(_ONLY_GPU)
        return self._facts | {"peak_device_memory_bytes": int(seen["peak"])}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        self._rate.assign(value)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Copies on the device, images channels last."""
        if isinstance(self._workload.loss, CrossEntropy):
            wanted: npt.NDArray[Any] = np.array(targets, np.int64)
        else:
            shaped = targets.reshape(len(targets), *self._workload.output_shape)
            wanted = _to_channels_last(shaped)
        # TensorFlow may keep the array it is given instead of copying it; these are ours.
        return self._tf.constant(_to_channels_last(inputs)), self._tf.constant(wanted)

    def infer(self, batch: Batch) -> Any:
        """Logits in inference mode, left on the device."""
        if not self._is_rounded:
            self._network.round_weights()
            self._is_rounded = True
        return self._logits(batch[0])

    def train_step(self, batch: Batch) -> Any:
        """One optimizer step; the mean loss before it, left on the device."""
        self._is_rounded = False
        return self._step(batch[0], batch[1])

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A copy of the result, images channels first."""
        array = result.numpy()
        canonical = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
        return np.array(canonical, np.float32, order="C")

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return self._network.read()

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._network.write(weights)
        self._is_rounded = False
        if not keep_optimizer:
            self._rule.reset()

    def synchronize(self) -> None:
        """Waits for the GPU; on the CPU a `tf.function` is done when its call returns."""
        if self._facts["device"] != "cpu":
            # what tf.test.experimental.sync_devices() does, for the one device that has a queue: on every device
            # it takes longer, and every timing ends with it
            with self._tf.device(_ONLY_GPU):
                self._tf.raw_ops.SyncDevice()

    @contextlib.contextmanager
    def spans(self) -> Iterator[list[Span]]:
        """By TensorFlow's profiler.

        Raises
        ------
        PlanRefused : a mode whose operations have no names, or kernels of a GPU.
        """
        from . import spans

        if self._mode == "eager":
            raise PlanRefused(
                "an operation that is called by itself does not say which layer it is of"
            )
        if self._facts["device"] != "cpu":
            raise PlanRefused(
                "which layer a kernel on a GPU serves is not read from TensorFlow's profiler"
            )
        own = self._step, self._logits
        if self._watched is None:
            layers = [node.name for node in walk(self._workload.nodes)]
            compiled = self._mode == "xla"
            self._watched = (
                spans.Watched("train", self._step, layers, compiled=compiled),
                spans.Watched("infer", self._logits, layers, compiled=compiled),
            )
        self._step, self._logits = self._watched
        try:
            with spans.observed(self._watched) as found:
                yield found
        finally:
            self._step, self._logits = own

    def _trace_step(self, inputs: Any, targets: Any) -> Any:
        from .owners import GRADIENTS, LOSS, OPTIMIZER, scope

        tf = self._tf
        variables = list(self._network.trainable.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = self._network(inputs, training=True)
            with scope(LOSS):
                loss = self._loss(outputs, targets)
        with scope(GRADIENTS):
            if self._scale == 1:
                gradients = tape.gradient(loss, variables)
            else:
                scaled = tape.gradient(loss, variables, output_gradients=tf.constant(self._scale))
                gradients = [gradient * (1 / self._scale) for gradient in scaled]
            gradients = self._averaged(gradients)
        with scope(OPTIMIZER):
            self._rule.apply(gradients)
        return loss

    def _loss(self, outputs: Any, targets: Any) -> Any:
        """The mean over samples, or over all values."""
        tf, kind = self._tf, self._workload.loss
        if isinstance(kind, CrossEntropy) and kind.label_smoothing:
            classes, smoothed = outputs.shape[1], kind.label_smoothing
            rest = smoothed / classes
            wanted = tf.one_hot(targets, classes, 1 - smoothed + rest, rest)
            losses = tf.nn.softmax_cross_entropy_with_logits(wanted, outputs)
        elif isinstance(kind, CrossEntropy):
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        else:
            losses = tf.math.squared_difference(outputs, targets)
        return tf.math.reduce_mean(losses)

    def _averaged(self, gradients: list[Any]) -> list[Any]:
        """Over the ranks, of which there is one."""
        return gradients

    def _trace_logits(self, inputs: Any) -> Any:
        return self._network(inputs, training=False)


def _cuda_devices() -> list[str | None]:
    """The UUIDs of TensorFlow's GPUs, in its order; none where the driver has no device either.

    Raises
    ------
    BackendUnavailable : this TensorFlow cannot use what there is, and what would change that.
    """
    tf = _require_tensorflow()
    from . import runtime

    if not tf.test.is_built_with_cuda():
        raise BackendUnavailable(
            f"no CUDA device: TensorFlow {tf.__version__} was built for the CPU alone",
            f"{NEEDS_GPU} and  pip install 'dlbench[tensorflow-cuda]'",
        )
    found = runtime.gpu_uuids()
    if not found and device_uuids():
        # TensorFlow tells the reason to its log alone
        raise BackendUnavailable(
            f"TensorFlow {tf.__version__} cannot use the GPU that the driver has; perhaps it does not find"
            f" the libraries of CUDA {runtime.libraries().get('cuda', '')}".rstrip(),
            "pip install 'dlbench[tensorflow-cuda]'; what is missing is told by "
            "python -c 'import tensorflow; tensorflow.config.list_physical_devices(\"GPU\")'",
        )
    return found


def start(plan: Plan) -> Mapping[str, str | int]:
    """Starts the runtime, if it does not run yet, as the plan wants it; a session's facts."""
    refuse_unless("tensorflow", plan, modes=MODES, precisions=PRECISIONS, worlds=WORLDS)
    index = cuda_index(plan.device, _cuda_devices)
    _require_tensorflow()
    from . import runtime

    return runtime.start(plan.threads, index)


def _require_tensorflow() -> Any:
    return require("tensorflow", "TensorFlow", "pip install 'dlbench[tensorflow]'")


def _to_channels_last(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A copy N×H×W×C of N×C×H×W, or of N×F as it is."""
    last = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
    return np.array(last, np.float32, order="C")
