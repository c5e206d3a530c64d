"""Copies of a kernel's source with one thing taken away, which a test must notice."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BARRIER = re.compile(r"__syncthreads\(\);")


def without_each_barrier(text: str) -> Iterator[tuple[int, str]]:
    """The line of each barrier, and the text without that one."""
    for match in _BARRIER.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield line, text[: match.start()] + ";" + text[match.end() :]
