"""The ways in which people run PyTorch, each a mode: what becomes of the network, and in which layout images lie.

A mode changes how a step is executed and nothing of what is computed; each is held against the oracle by itself.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import torch

from dlbench.errors import BackendUnavailable

from ..shared.cuda_index import NEEDS_GPU


@dataclasses.dataclass(frozen=True)
class Mode:
    """One way.

    Attributes
    ----------
    channels_last : whether images and the weights of convolutions lie in memory with their channels innermost
        (PyTorch's "Channels Last Memory Format").
    compiler_mode : what `torch.compile` is asked for; None where the network stays as it is.
    recorded : whether steps are recorded as CUDA graphs (`graphs`).
    """

    channels_last: bool = False
    compiler_mode: str | None = None
    recorded: bool = False

    @property
    def layout(self) -> torch.memory_format:
        """Of images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def forward(self, network: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """What a step calls for the network's outputs."""
        if self.compiler_mode is None:
            return network
        _allow_many_networks()
        # a graph that breaks would be two, and one that is given up would be eager under this name
        compiled: Any = torch.compile(
            network, fullgraph=True, dynamic=False, mode=self.compiler_mode
        )
        return compiled  # type: ignore[no-any-return]


_MODES = {
    "eager": Mode(),
    "channels-last": Mode(channels_last=True),
    "compile": Mode(compiler_mode="default"),
    "compile-max-autotune": Mode(compiler_mode="max-autotune-no-cudagraphs"),
    "cuda-graph": Mode(recorded=True),
    # the whole step, with loss and optimizer, where PyTorch's own would record the network alone
    "compile-cuda-graph": Mode(compiler_mode="max-autotune-no-cudagraphs", recorded=True),
}


def find(name: str, device: torch.device) -> Mode:
    """A mode by its name.

    Raises
    ------
    BackendUnavailable : this machine lacks what it needs, and what would change that.
    """
    mode = _MODES[name]
    if mode.recorded and device.type != "cuda":
        raise BackendUnavailable(
            f"mode {name} records what a GPU is to do, and a CPU has no such recording", NEEDS_GPU
        )
    if mode.compiler_mode is not None:
        _require_compiler(name, device)
    return mode


def _require_compiler(name: str, device: torch.device) -> None:
    """Inductor writes C++ for the CPU and Triton for a GPU, and neither is told before the first step."""
    if device.type != "cpu":
        try:
            importlib.import_module("triton")
        except ImportError as error:
            raise BackendUnavailable(
                f"mode {name} needs Triton, which cannot be imported ({error})",
                "pip install triton",
            ) from None
        return
    from torch._inductor import cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except Exception as error:
        raise BackendUnavailable(
            f"mode {name} needs a C++ compiler, and there is none ({str(error).splitlines()[0]})",
            "apt install g++, or name one with CXX=…",
        ) from None


def _allow_many_networks() -> None:
    """All networks of a process share the code of their layers, and beyond eight PyTorch would go on uncompiled."""
    config: Any = importlib.import_module("torch._dynamo.config")
    config.recompile_limit = config.accumulated_recompile_limit = 1 << 20
