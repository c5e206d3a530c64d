"""Steps as CUDA graphs: recorded once for each resident batch, replayed with one launch.

A graph reads fixed addresses. A step that copied its batch to such an address would do what no other mode does inside
the timed boundary, so each resident batch gets a graph of its own, which reads it where it lies; the graphs share the
memory of their intermediate results. The first step on a batch is an ordinary one (a first step also makes what must
not be made while recording), the second one records. A batch that is used once is so never recorded. Results are
copied, as the next replay overwrites them.

Whatever a graph reads stays where it is for the life of a session: weights, the optimizer's state, and the learning
rate, a number on the device. Dropout draws afresh at each replay, since PyTorch moves its generator on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dlbench.errors import PlanRefused
from dlbench.spec import training

Step = Callable[["Resident"], torch.Tensor]
_SEEN = object()


class Resident(tuple[torch.Tensor, torch.Tensor]):
    """Inputs and targets on the device, and by the step's name what was recorded of them."""

    replays: dict[str, Any]


def resident(inputs: torch.Tensor, targets: torch.Tensor) -> Resident:
    """A batch that nothing was recorded of yet."""
    batch = Resident((inputs, targets))
    batch.replays = {}
    return batch


class Recorder:
    """Makes steps that are recorded. All of a process' work goes to a stream of its own from then on, because the
    default one cannot be recorded."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def step(self, name: str, call: Step) -> Step:
        """`call`, recorded at its second use of a batch."""

        def step(batch: Resident) -> torch.Tensor:
            replay = batch.replays.get(name)
            if replay is None:
                batch.replays[name] = _SEEN
                return call(batch)
            if replay is _SEEN:
                replay = batch.replays[name] = self.record(lambda: call(batch))
            result: torch.Tensor = replay()
            return result.clone()

        return step

    def record(self, call: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """A call that does what `call` would do, into the same memory each time; `call` is not carried out now."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=torch.cuda.current_stream()):
            result = call()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


def optimizer_options(
    optimizer: training.Optimizer, learning_rate: float, device: torch.device
) -> Mapping[str, Any]:
    """What makes PyTorch's optimizer read its learning rate on the device.

    Raises
    ------
    PlanRefused : it cannot.
    """
    if isinstance(optimizer, training.Adagrad):
        raise PlanRefused(
            "PyTorch's Adagrad reads its learning rate on the host, where a recorded step would not"
            " see it change; the modes eager and compile have it"
        )
    switch = "fused" if isinstance(optimizer, training.Sgd) else "capturable"
    return {"lr": torch.tensor(learning_rate, device=device), switch: True}
