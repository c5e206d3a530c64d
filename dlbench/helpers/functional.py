"""A base for backends of functional frameworks: the author writes layers and losses as pure functions, no more.

A session keeps its state (weights, running statistics, moments, step count) in immutable arrays. A training step is one
compiled function from state and batch to loss and state, in which the running statistics are outputs like the weights;
the old state is donated, so that its memory is used again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, Plan, SessionBase
from dlbench.errors import ContractError
from dlbench.helpers import update_rules
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.network import Node
from dlbench.spec.training import Loss
from dlbench.spec.workload import Weights, Workload

Array = Any
"""One of the framework's own, or what stands for it while a function is traced."""
Function = Callable[..., Any]
Batch = tuple[Array, Array]


@dataclasses.dataclass(frozen=True)
class Framework:
    """What the base needs of a framework. Arguments and results of functions are arrays in tuples and dictionaries.

    Attributes
    ----------
    xp : its array namespace, with NumPy's names: `sqrt` and `expm1`; `sum` and `clip` for clipped gradients; `array`
        unless the adapter has its own `put`.
    compile : from a pure function and the places of the arguments that may be overwritten, the compiled function.
    differentiate : from a function that gives a scalar and something else (``loss, aux``), one that gives ``(loss,
        aux), gradients`` of its first argument, a dictionary of arrays.
    wait : returns when the arrays that it is given are computed.
    """

    xp: Any
    compile: Callable[[Function, tuple[int, ...]], Function]
    differentiate: Callable[[Function], Function]
    wait: Callable[[Any], object]


@dataclasses.dataclass
class Pass:
    """One evaluation of a network, as it is traced.

    Attributes
    ----------
    weights : all parameters and running statistics by name.
    seed : what dropout masks are drawn from.
    step : a traced scalar int32 of its own for each training step, from which with `seed` masks are drawn; None in
        inference.
    moved : the running statistics that the pass leaves behind, by name.
    """

    weights: Mapping[str, Array]
    seed: int
    step: Array | None = None
    moved: dict[str, Array] = dataclasses.field(default_factory=dict)

    @property
    def training(self) -> bool:
        """Whether batch statistics and dropout are wanted."""
        return self.step is not None

    def own(self, node: Node) -> dict[str, Array]:
        """The parameters and running statistics of a layer by role: ``weight``, ``bias``, …"""
        return {parameter.role: self.weights[parameter.name] for parameter in node.parameters}

    def move(self, node: Node, mean: Array, variance: Array, values: int, momentum: float) -> None:
        """Moves a layer's running statistics as `dlbench.spec.layers.BatchNorm` says.

        Parameters
        ----------
        mean, variance : of the batch, the variance biased (÷ `values`), of shape C.
        values : how many values there are of each channel, N·H·W.
        momentum : the batch's share of the new statistics.
        """
        for role, batch in (
            ("running_mean", mean),
            ("running_variance", variance * (values / (values - 1))),
        ):
            name = f"{node.name}.{role}"
            self.moved[name] = (1 - momentum) * self.weights[name] + momentum * batch


@dataclasses.dataclass(frozen=True)
class Shared:
    """What a training step of several ranks does beside one's own.

    Attributes
    ----------
    number : from the number of a step, one that is of this rank's step alone, from which masks are drawn.
    joined : from a rank's loss, gradients and moved running statistics, those that all ranks go on with.
    """

    number: Function
    joined: Callable[[Array, Any, Any], tuple[Array, Any, Any]]


class FunctionalAdapter(AdapterBase):
    """A backend whose author has `info`, `framework`, `layer` and `loss`; `open` is given.

    Attributes
    ----------
    has, lacks : what there is of the specification, as for `refuse_unless`; all of it where they are left out.
    """

    has: ClassVar[Collection[type[Any]] | None] = None
    lacks: ClassVar[Iterable[tuple[type[Any], str]]] = ()

    def framework(self) -> Framework:
        """The framework, imported.

        Raises
        ------
        BackendUnavailable : it cannot be used here.
        """
        raise NotImplementedError

    def layer(self, node: Node, x: Array, run: Pass) -> Array:
        """The output of one layer for its input, N×C×H×W or N×F. The layers inside it, if there are any, are computed
        by `sequence`."""
        raise NotImplementedError

    def loss(self, loss: Loss, outputs: Array, targets: Array) -> Array:
        """The mean loss, a scalar."""
        raise NotImplementedError

    def facts(self, plan: Plan) -> Mapping[str, str | int]:
        """See `Session.facts`."""
        return {"device": plan.device}

    def put(self, array: npt.NDArray[Any], role: str) -> Array:
        """A copy on the device, in the layout that `layer` wants: of ``inputs``, of ``targets``, of a parameter or
        running statistic by its role, or of a ``scalar`` (step counts, the learning rate)."""
        return self.framework().xp.array(array)

    def get(self, array: Array, role: str) -> npt.NDArray[np.float32]:
        """The way back, a copy in the canonical layout: of ``outputs``, a loss among them, or by a role.

        Raises
        ------
        ContractError : NumPy makes no array of it, so that the adapter needs a `get` of its own.
        """
        try:
            return np.array(np.asarray(array), np.float32)
        except (TypeError, ValueError) as error:
            given, adapter = type(array).__qualname__, type(self).__qualname__
            raise ContractError(
                f"NumPy cannot make an array of a {given} ({error}); override get() of {adapter}"
            ) from error

    def column_orders(self, workload: Workload) -> Mapping[str, npt.NDArray[np.intp]]:
        """The order that the columns of a linear layer's weight have inside, by the weight's name, where it is another:
        such as that of an image's features where channels are last, so that no step moves them."""
        return {}

    def sequence(self, nodes: Iterable[Node], x: Array, run: Pass) -> Array:
        """The output of layers one after the other."""
        for node in nodes:
            x = self.layer(node, x, run)
        return x

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> FunctionalSession:
        """A session at `weights`. Its functions are compiled by the first calls, and kept for other sessions of this
        process whose network, loss, optimizer and plan are the same: they have no state.

        Raises
        ------
        BackendUnavailable : from `framework`.
        PlanRefused : what is not in `info`, not in `has`, or in `lacks`.
        """
        info = self.info()
        kinds = [device.kind for device in info.devices]
        refuse_unless(
            self.title or type(self).__name__,
            plan,
            workload,
            devices=[*dict.fromkeys([*(device.name for device in info.devices), *kinds])],
            precisions=info.precisions,
            modes=info.modes or ("",),
            has=self.has,
            lacks=self.lacks,
            worlds=info.worlds,
        )
        return self.session(plan, workload, weights)

    def session(self, plan: Plan, workload: Workload, weights: Weights) -> FunctionalSession:
        """A session of a plan that is not refused."""
        return FunctionalSession(self, plan, workload, weights)

    def inference(self, plan: Plan, workload: Workload) -> Function:
        """The compiled function from trained weights, running statistics and inputs to outputs."""
        key = (plan, workload.nodes)
        return self._kept(key, lambda: self.compiled_inference(plan, workload))

    def inference_step(self, plan: Plan, workload: Workload) -> Function:
        """What it does, to be compiled."""

        def infer(trained: Mapping[str, Array], running: Mapping[str, Array], x: Array) -> Array:
            return self.sequence(workload.nodes, x, Pass({**trained, **running}, plan.seed))

        return infer

    def compiled_inference(self, plan: Plan, workload: Workload) -> Function:
        """The function of `inference_step`, compiled."""
        return self.framework().compile(self.inference_step(plan, workload), ())

    def compiled_training(self, plan: Plan, workload: Workload) -> Function:
        """The function of `training_step`, compiled."""
        return self.framework().compile(self.training_step(plan, workload), (0,))

    def training(self, plan: Plan, workload: Workload) -> Function:
        """The compiled function from state (which it consumes), inputs, targets and learning rate to loss and state."""
        # the learning rate is an argument
        ruled = dataclasses.replace(workload.optimizer, learning_rate=1.0)
        key = (plan, workload.nodes, workload.loss, ruled)
        return self._kept(key, lambda: self.compiled_training(plan, workload))

    def training_step(
        self, plan: Plan, workload: Workload, shared: Shared | None = None
    ) -> Function:
        """What it does, to be compiled; of one of several ranks where there is something `shared`."""
        framework, optimizer = self.framework(), workload.optimizer

        def train(state: Any, x: Array, targets: Array, learning_rate: Array) -> Any:
            number = state["step"] if shared is None else shared.number(state["step"])

            def mean_loss(trained: Mapping[str, Array]) -> tuple[Array, Mapping[str, Array]]:
                run = Pass({**trained, **state["running"]}, plan.seed, number)
                outputs = self.sequence(workload.nodes, x, run)
                return self.loss(workload.loss, outputs, targets), run.moved

            (loss, moved), gradients = framework.differentiate(mean_loss)(state["trained"])
            if shared is not None:
                loss, gradients, moved = shared.joined(loss, gradients, moved)
            trained, moments = update_rules.update(
                optimizer,
                framework.xp,
                state["trained"],
                gradients,
                state["moments"],
                learning_rate,
            )
            running = {**state["running"], **moved}
            step = state["step"] + 1
            return loss, {"trained": trained, "running": running, "moments": moments, "step": step}

        return train

    @functools.cached_property
    def _functions(self) -> dict[Hashable, Function]:
        return {}

    def _kept(self, key: Hashable, make: Callable[[], Function]) -> Function:
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]


class FunctionalSession(SessionBase):
    """One workload: its state, and two pure functions of its adapter."""

    def __init__(
        self, adapter: FunctionalAdapter, plan: Plan, workload: Workload, weights: Weights
    ) -> None:
        self._adapter = adapter
        self._framework = adapter.framework()
        self._optimizer = workload.optimizer
        self._roles = {p.name: p.role for p in workload.parameters}
        self._orders = adapter.column_orders(workload)
        self._trainable = {p.name for p in workload.parameters if p.trainable}
        self._infer = adapter.inference(plan, workload)
        self._train = adapter.training(plan, workload)
        self._plan = plan
        self._last: Array = None
        self._state: dict[str, Any] = {"step": adapter.put(np.array(0, np.int32), "scalar")}
        self.learning_rate = workload.optimizer.learning_rate
        self.load(weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """As the adapter observes them by now."""
        return self._adapter.facts(self._plan)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        self._rate = self._adapter.put(np.array(value, np.float32), "scalar")

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Copies on the device."""
        return self._adapter.put(inputs, "inputs"), self._adapter.put(targets, "targets")

    def infer(self, batch: Batch) -> Array:
        """Outputs in inference mode."""
        self._last = self._infer(self._state["trained"], self._state["running"], batch[0])
        return self._last

    def train_step(self, batch: Batch) -> Array:
        """One step of the optimizer; the loss before it."""
        self._last, self._state = self._train(self._state, *batch, self._rate)
        return self._last

    def download(self, result: Array) -> npt.NDArray[np.float32]:
        """A copy of a result."""
        return self._adapter.get(result, "outputs")

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        arrays = self._state["trained"] | self._state["running"]
        return {name: self._get(name, arrays[name]) for name in self._roles}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all of them by copies; the optimizer begins anew unless it is to be kept."""
        trained = {name: weights[name] for name in self._roles if name in self._trainable}
        running = {name: weights[name] for name in self._roles if name not in self._trainable}
        self._state |= {"trained": self._put(trained), "running": self._put(running)}
        if not keep_optimizer:
            # by NumPy: a compiler would be asked for zeros of each shape
            begun = update_rules.begin(self._optimizer, np, trained)
            moments = {
                name: tuple(self._adapter.put(zeros, self._roles[name]) for zeros in of)
                for name, of in begun["moments"].items()
            }
            steps = self._adapter.put(begun["steps"], "scalar")
            self._state["moments"] = {"steps": steps, "moments": moments}

    def synchronize(self) -> None:
        """Waits for the last result and for the state."""
        self._framework.wait((self._last, self._state))

    def _put(self, arrays: Weights) -> dict[str, Array]:
        orders = self._orders
        return {
            name: self._adapter.put(
                value[:, orders[name]] if name in orders else value, self._roles[name]
            )
            for name, value in arrays.items()
        }

    def _get(self, name: str, array: Array) -> npt.NDArray[np.float32]:
        """A copy of a parameter or running statistic."""
        found = self._adapter.get(array, self._roles[name])
        order = self._orders.get(name)
        return found if order is None else np.ascontiguousarray(found[:, np.argsort(order)])
