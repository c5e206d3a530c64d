"""What a step spends on each layer, by PyTorch's own profiler.

Forward, each layer's module is a named range. Backward, a node of autograd's graph has the sequence number of the
operation that made it, and so belongs to the layer in whose range that ran. On a GPU the spans are its kernels, which
belong to the operation that launched them; on a CPU, where an operation is its own kernel, the ranges themselves.
https://docs.pytorch.org/docs/stable/autograd.html#torch.autograd.profiler.emit_nvtx tells of sequence numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from dlbench.contract import Span

from ..shared.stamps import LOSS, OPTIMIZER, Owner

Batch = TypeVar("Batch")
Result = TypeVar("Result")
_STEP, _LAYER, _LOSS = "dlbench step", "dlbench layer ", "dlbench loss"
_OPTIMIZER, _GRADIENTS = "Optimizer.step#", "Optimizer.zero_grad#"
_NODE = "autograd::engine::evaluate_function: "
_FUNCTION_SCOPE = 0
"""That of operations; nodes of autograd's graph and ranges have others."""


def named(step: Callable[[Batch], Result]) -> Callable[[Batch], Result]:
    """The step as a range of its own."""

    def observed(batch: Batch) -> Result:
        with record_function(_STEP):
            return step(batch)

    return observed


@contextlib.contextmanager
def observed(
    layers: Mapping[str, nn.Module], loss: object, device: torch.device
) -> Iterator[list[Span]]:
    """The spans of the `named` steps within, when they are over."""
    ranges = {_LAYER + name: module for name, module in layers.items()}
    if isinstance(loss, nn.Module):
        ranges[_LOSS] = loss
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    found: list[Span] = []
    with contextlib.ExitStack() as hooks:
        for name, module in ranges.items():
            _range(hooks, name, module)
        with profile(activities=activities) as profiler:
            yield found
    found += spans_of(profiler.events() or (), on_gpu=device.type == "cuda")


def _range(hooks: contextlib.ExitStack, name: str, module: nn.Module) -> None:
    """Makes each call of a module a range of that name."""
    open_: list[Any] = []

    def begin(*_: object) -> None:
        open_.append(record_function(name))
        open_[-1].__enter__()

    def end(*_: object) -> None:
        open_.pop().__exit__(None, None, None)

    hooks.callback(module.register_forward_pre_hook(begin).remove)
    hooks.callback(module.register_forward_hook(end).remove)


class _Piece(NamedTuple):
    """Somebody's work from one moment to another (µs of the profiler's clock), and what it was."""

    begin: float
    end: float
    owner: Owner


def spans_of(events: Iterable[Any], *, on_gpu: bool) -> list[Span]:
    """The spans of all steps among a profiler's events."""
    in_order = sorted(events, key=lambda event: (event.time_range.start, -event.time_range.end))
    host = [event for event in in_order if event.device_type.name == "CPU"]
    made: dict[int, Owner] = {}
    owners: dict[int, Owner | None] = {}
    """By the number of an event of the host."""
    steps: dict[int, int] = {}
    begins: list[float] = []
    ranges: list[list[_Piece]] = []
    for event in host:
        begin, end = event.time_range.start, event.time_range.end
        if event.name == _STEP:
            begins.append(begin)
            ranges.append([])
        if not begins:
            continue
        parent = owners.get(event.cpu_parent.id) if event.cpu_parent is not None else None
        own = _owner(event, made)
        owner = owners[event.id] = own or parent
        steps[event.id] = len(begins) - 1
        if own is not None:
            ranges[-1].append(_Piece(begin, end, own))
        if event.scope == _FUNCTION_SCOPE and event.sequence_nr >= 0 and owner is not None:
            # several operations have a number where only the last of them makes a node
            made[event.sequence_nr] = owner
    if on_gpu:
        ranges = [[] for _ in begins]
        for event in in_order:
            launched_by = getattr(event, "linked_correlation_id", 0)
            if event.device_type.name == "CUDA" and launched_by in steps:
                begin, end = event.time_range.start, event.time_range.end
                owner = owners[launched_by] or Owner((), "forward")
                named_ = Owner(owner.layers, owner.track, owner.name or event.name)
                ranges[steps[launched_by]].append(_Piece(begin, end, named_))
    return [
        _span(piece, step, begin)
        for step, (begin, pieces) in enumerate(zip(begins, ranges, strict=True))
        for piece in _innermost(pieces)
    ]


def _owner(event: Any, made: Mapping[int, Owner]) -> Owner | None:
    """Whose work a range or a node of autograd's graph is; None of an operation, which is that of what is around it."""
    name = event.name
    if name.startswith(_LAYER):
        return Owner((name.removeprefix(_LAYER),), "forward")
    if name == _LOSS:
        return LOSS
    if name.startswith(_OPTIMIZER):
        return OPTIMIZER
    if name.startswith(_GRADIENTS):
        return Owner((), "update", "gradients set to none")
    if name.startswith(_NODE):
        node = name.removeprefix(_NODE).rpartition("::")[2]
        forward = made.get(event.sequence_nr)
        if forward is None:
            return Owner((), "backward", node)
        return Owner(forward.layers, "backward", node if forward.layers else forward.name)
    return None


def _innermost(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """Ranges that lie within each other as pieces that do not overlap, each of the innermost range around it."""
    around: list[_Piece] = []
    at = 0.0
    for piece in pieces:
        while around and around[-1].end <= piece.begin:
            last = around.pop()
            if last.end > at:
                yield _Piece(at, last.end, last.owner)
                at = last.end
        if around and piece.begin > at:
            yield _Piece(at, piece.begin, around[-1].owner)
        at = max(at, piece.begin)
        around.append(piece)
    while around:
        last = around.pop()
        if last.end > at:
            yield _Piece(at, last.end, last.owner)
            at = last.end


def _span(piece: _Piece, step: int, begin: float) -> Span:
    begins_ns, ends_ns = (round((moment - begin) * 1e3) for moment in (piece.begin, piece.end))
    owner = piece.owner
    return Span(owner.layers, owner.track, owner.name, step, begins_ns, ends_ns - begins_ns)
