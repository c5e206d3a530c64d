"""What computes beneath Keras in this process, and the two ways to have it train: Keras' own, and the engine's."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from dlbench.errors import PlanRefused
from dlbench.spec.precision import policy_of

_STEP = "-step"


@dataclasses.dataclass(frozen=True)
class Engine:
    """One engine in one mode.

    Attributes
    ----------
    mode : the adapter's word.
    compiles : whether XLA compiles a step.
    channels_last : the layout of images that its convolutions take as they are.
    tensor, array : from a NumPy array to its own, a copy; and back.
    wait : returns when what it is given is computed.
    facts : what a session tells.
    """

    mode: str
    compiles: bool
    channels_last: bool
    tensor: Callable[[Any], Any]
    array: Callable[[Any], Any]
    wait: Callable[[Any], object]
    facts: Mapping[str, str | int]


def start(mode: str, threads: int) -> Engine:
    """The engine of a mode, with so many threads.

    Raises
    ------
    PlanRefused : Keras runs on another engine in this process.
    """
    name = mode.partition("-")[0]
    if keras.config.backend() != name:
        raise PlanRefused(
            f"keras keeps one engine for the life of a process, here {keras.config.backend()}"
        )
    # a file in the user's home may say otherwise
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    compiles = name == "jax" or mode == "tensorflow-xla"
    known = {
        "engine": name,
        "engine_version": importlib.metadata.version(_DISTRIBUTION.get(name, name)),
    }
    made = _STARTS[name](threads)
    facts = {**made.pop("facts"), **known, "xla": "on" if compiles else "off"}
    return Engine(mode, compiles, name != "torch", facts=facts, **made)


def _tensorflow(threads: int) -> dict[str, Any]:
    import tensorflow as tf

    from ..tensorflow import runtime

    # it may keep the array that it is given instead of copying it
    return {
        "facts": runtime.start(threads, None),
        "tensor": lambda array: tf.constant(np.array(array)),
        "array": np.asarray,
        "wait": lambda _: None,
    }


def _jax(threads: int) -> dict[str, Any]:
    import jax

    from ..jax import runtime

    jax.config.update("jax_default_matmul_precision", "highest")
    runtime.start(None)
    return {
        "facts": runtime.facts(),
        "tensor": jax.numpy.array,
        "array": np.asarray,
        "wait": jax.block_until_ready,
    }


def _torch(threads: int) -> dict[str, Any]:
    import torch

    from ..torch import runtime

    runtime.set_threads(threads)
    runtime.set_strict_fp32()
    return {
        "facts": runtime.facts(torch.device("cpu"), policy_of("fp32"), None),
        "tensor": lambda array: torch.tensor(np.ascontiguousarray(array)),
        "array": np.asarray,
        "wait": lambda _: None,
    }


_STARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}


class OnBatch:
    """Keras' own way. Its results are NumPy's, so nothing is under way when a call returns."""

    state: Any = None

    def __init__(self, model: Any) -> None:
        self.train = model.train_on_batch
        self.infer = model.predict_on_batch

    def settle(self) -> None:
        """The model's variables are what the steps have made of them."""

    def adopt(self) -> None:
        """The next step begins at the model's variables."""


class TensorflowSteps(OnBatch):
    """Graphs over the model's variables."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        variables = model.trainable_variables

        def train(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = model.compute_loss(y=y, y_pred=model(x, training=True))
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            model.optimizer.apply(gradients, variables)
            return loss

        graph = functools.partial(tf.function, autograph=False, jit_compile=False)
        self.train = graph(train)
        self.infer = graph(lambda x: model(x, training=False))


class JaxSteps(OnBatch):
    """Compiled functions of a state, which is donated from step to step."""

    def __init__(self, model: Any) -> None:
        import jax

        self._model = model

        def train(state: Any, x: Any, y: Any) -> Any:
            trained, others, of_rule = state

            def mean_loss(trained: Any, others: Any) -> Any:
                outputs, others = model.stateless_call(trained, others, x, training=True)
                return model.compute_loss(y=y, y_pred=outputs), others

            found, gradients = jax.value_and_grad(mean_loss, has_aux=True)(trained, others)
            loss, others = found
            trained, of_rule = model.optimizer.stateless_apply(of_rule, gradients, trained)
            return loss, (trained, others, of_rule)

        def infer(state: Any, x: Any) -> Any:
            return model.stateless_call(state[0], state[1], x, training=False)[0]

        self._train = jax.jit(train, donate_argnums=0)
        self._infer = jax.jit(infer)

    def train(self, x: Any, y: Any) -> Any:
        """A step; the loss before it."""
        loss, self.state = self._train(self.state, x, y)
        return loss

    def infer(self, x: Any) -> Any:
        """Outputs."""
        return self._infer(self.state, x)

    def settle(self) -> None:
        """The model's variables are what the steps have made of them."""
        for variables, values in zip(self._variables, self.state or ((), (), ()), strict=True):
            for variable, value in zip(variables, values, strict=bool(self.state)):
                variable.assign(value)

    def adopt(self) -> None:
        """The next step begins at copies of the model's variables, since it gives them away."""
        self.state = tuple(
            [keras.ops.copy(variable.value) for variable in variables]
            for variables in self._variables
        )

    @property
    def _variables(self) -> tuple[Any, Any, Any]:
        model = self._model
        rule = model.optimizer.variables
        return model.trainable_variables, model.non_trainable_variables, rule


class TorchSteps(OnBatch):
    """The model as a module of PyTorch."""

    def __init__(self, model: Any) -> None:
        import torch

        variables = model.trainable_variables
        parameters = [variable.value for variable in variables]

        def train(x: Any, y: Any) -> Any:
            loss = model.compute_loss(y=y, y_pred=model(x, training=True))
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                model.optimizer.apply(gradients, variables)
            return loss.detach()

        def infer(x: Any) -> Any:
            with torch.inference_mode():
                return model(x, training=False)

        self.train, self.infer = train, infer


_STEPS: dict[str, type[OnBatch]] = {
    "tensorflow-step": TensorflowSteps,
    "jax-step": JaxSteps,
    "torch-step": TorchSteps,
}
_DISTRIBUTION = {"tensorflow": "tensorflow_cpu"}


def steps_of(engine: Engine, model: Any) -> OnBatch:
    """The steps of a compiled model in an engine's mode."""
    return _STEPS.get(engine.mode, OnBatch)(model)
