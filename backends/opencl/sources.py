"""The text of a kernel: which of what a layer is are constants, and which are read when it runs."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..launches.device import Defines

OPTIONS = (
    *("ACTIVATION", "DROPOUT", "ADD", "BIAS", "SPLIT", "POINTWISE"),
    *("KH", "KW", "SH", "SW", "DH", "DW"),
    *("TOP", "BOTTOM", "LEFT", "RIGHT"),
    *("BM", "BN", "BK", "VA", "VB", "STORE"),
    *("SLOTS", "RULE", "NESTEROV", "MOMENTUM", "CLIP"),
    *("CURVE", "GROUPS"),
)
"""What kernels for processors read from memory, in this order, so that one build serves every layer. All else are
constants: the sizes of vectors and of arrays."""
OPTION_COUNT = 64
"""Integers that are kept for them; behind them are zeros, see ``NOTHING`` in gemm.cl."""
NOTHING_COUNT = 1024

_FOLDER = Path(__file__).with_name("kernels")
_NAMED = re.compile(r"^#define ([A-Z0-9_]+) (\d+)$", re.MULTILINE)


def split(defines: Defines, *, cpu: bool) -> tuple[dict[str, int | str], dict[str, int | str]]:
    """The constants that a kernel is compiled with, and the options that it reads."""
    constants = {k: v for k, v in defines.items() if not (cpu and k in OPTIONS)}
    return constants, {k: v for k, v in defines.items() if k not in constants}


def text_of(sources: Sequence[str], constants: Defines, *, cpu: bool) -> str:
    """What is compiled: the lines that decide what is constant, then the files, by their names without ``.cl``."""
    lines = [f"#define CPU {int(cpu)}", f"#define OPTION_COUNT {OPTION_COUNT}"]
    if cpu:
        lines.append("#define OPTIONS __global const int *restrict options,")
        lines += [f"#define {name} options[{place}]" for place, name in enumerate(OPTIONS)]
    else:
        lines.append("#define OPTIONS")
    lines += [f"#define {name} {value}" for name, value in constants.items()]
    return "\n".join([*lines, *(_text(source) for source in sources)])


def read_at_run_time(
    sources: Sequence[str], options: Mapping[str, int | str]
) -> npt.NDArray[np.int32]:
    """What a kernel for a processor is given: its options, names as the files number them, and the zeros."""
    numbers = {name: int(number) for source in sources for name, number in _numbered(source)}
    made = np.zeros(OPTION_COUNT + NOTHING_COUNT, np.int32)
    for name, value in options.items():
        made[OPTIONS.index(name)] = numbers[value] if isinstance(value, str) else value
    return made


@functools.cache
def _text(source: str) -> str:
    return (_FOLDER / f"{source}.cl").read_text(encoding="utf-8")


def _numbered(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = _NAMED.findall(_text(source))
    return found
