"""The matrix of backends as a page in Markdown, such as the one in the documentation."""

from __future__ import annotations

from dlbench.plan.matrix import Matrix

from ..tables import as_markdown
from .sections import build_sections

_HEAD = """\
# What each backend has

This page is written by `dlbench list backends --matrix --format markdown --output docs/backends.md`, which asks every
backend: for each layer, loss and optimizer of the [specification](semantics.md), for
[frozen layers](semantics.md#frozen-layers), each [precision](precision.md), and each mode, scenario and device that
some backend names, a small network is opened and held against the float64 oracle.

- **agrees**: it was computed, and everything that verification compares is right.
- **refuses**: the backend says that it has not got it. A run has a skipped row with that sentence.
- **fails**: it was computed, and is wrong.
- **not offered**: the backend does not name it; no plan that asks for it is made.
- **not installed**: it could not be asked on the machine where this page was made.

One network stands for each word, with one choice of its options. `dlbench conformance` tries more of them, and random
networks.
"""


def render(found: Matrix, *, width: int = 80, colour: bool = False) -> str:
    """A heading, what the words mean, and a table for each kind of word."""
    return f"{_HEAD}\n{as_markdown.render(build_sections(found))}"
