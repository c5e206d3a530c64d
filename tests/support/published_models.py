"""torchvision's models, by whose names the suites of published networks go."""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import Any

import pytest

NAMES = (
    *("alexnet", "vgg16", "resnet18", "resnet50", "mobilenet-v2", "densenet121"),
    "efficientnet-b0",
)
"""Suites that have torchvision's names, but for a dash."""

# torchvision describes them when it is imported; they are in a library that its build for CUDA does not load beside a
# PyTorch for the CPU, and no model here has one
_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def models() -> Any:
    """The module of torchvision that has them."""
    torch = pytest.importorskip("torch")
    with contextlib.suppress(ImportError):
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            for name, signature in _OPERATORS.items():
                torch.library.define(f"torchvision::{name}", signature)
    return pytest.importorskip("torchvision").models


def model(suite: str) -> Any:
    """The model that a suite is the network of, at random weights and without stochastic depth."""
    options = {"stochastic_depth_prob": 0.0} if suite == "efficientnet-b0" else {}
    return getattr(models(), suite.replace("-", "_"))(weights=None, **options)


def canonical(workload: Any, model: Any) -> dict[str, Any]:
    """The weights of a module by the canonical names of the workload that it computes: both have them in the order of
    computation.
    """
    arrays = {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    found = {}
    for parameter, (name, value) in zip(workload.parameters, arrays.items(), strict=True):
        assert parameter.shape == tuple(value.shape), (parameter.name, name)
        found[parameter.name] = value.detach().numpy()
    return found
