"""Sets this process' PyTorch up as a plan wants it, and tells what was seen of it."""

from __future__ import annotations

import contextlib
import re

import torch

from dlbench.spec.precision import Policy

from ..shared.cuda_driver import cudnn_name
from ..shared.framework import TERMS, VALUE, onednn_fpmath, rounds
from . import precision


def set_threads(threads: int) -> None:
    """As many for one operation, and for operations side by side."""
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != threads:
        # PyTorch takes this once a process; a second session keeps what the first one set.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(threads)


def set_strict_fp32() -> None:
    """IEEE float32 everywhere: some operators have settings that outrank the general one."""
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    for library in (torch.backends.cudnn, torch.backends.mkldnn):
        for name in ("conv", "rnn", "matmul"):
            if hasattr(library, name):
                getattr(library, name).fp32_precision = "ieee"


def facts(device: torch.device, policy: Policy, uuid: str | None) -> dict[str, str | int]:
    """A session's, on a device with a UUID or none that is known."""
    seen: dict[str, str | int] = {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "tf32": "on" if rounds_inputs(device) else "off",
        "factors": precision.factors_seen(policy, device),
        "autocast": "on" if torch.is_autocast_enabled(device.type) else "off",
        "onednn_fpmath": onednn_fpmath(),
    }
    if device.type == "cuda":
        seen["device_name"] = torch.cuda.get_device_name(device)
        seen["device_uuid"] = uuid or "unknown"
        seen["cudnn"] = cudnn_version()
        seen["cudnn_benchmark"] = "on" if torch.backends.cudnn.benchmark else "off"
    return seen


def rounds_inputs(device: torch.device) -> bool:
    """Whether matrix products or convolutions round their inputs to fewer bits than float32 has."""
    side = (TERMS, TERMS)
    with torch.inference_mode():
        product = torch.full(side, VALUE, device=device) @ torch.ones(side, device=device)
        image = torch.full((8, TERMS, 8, 8), VALUE, device=device)
        response = torch.nn.functional.conv2d(image, torch.ones(64, TERMS, 1, 1, device=device))
    return rounds(float(product.min()), float(response.min()))


def libraries() -> dict[str, str]:
    """Versions of what computes beneath."""
    config = torch.__config__.show()
    patterns = {
        "mkl": r"Math Kernel Library Version (\S+?)-Product",
        "onednn": r"MKL-DNN v(\S+)",
    }
    found = {name: re.search(pattern, config) for name, pattern in patterns.items()}
    libraries = {name: match[1] for name, match in found.items() if match}
    if torch.version.cuda:
        libraries |= {"cuda": torch.version.cuda, "cudnn": cudnn_version()}
    return libraries


def cudnn_version() -> str:
    """Of the library that this PyTorch has; ``none`` without one."""
    number = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return "none" if number is None else cudnn_name(number)
