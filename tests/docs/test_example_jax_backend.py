"""The example in functional style: all of the specification, in few lines, and right."""

import re
from pathlib import Path

import pytest

from dlbench.spec.layers import KINDS
from dlbench.spec.training import LOSSES

pytest.importorskip("jax")
DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCE = (DOCS / "example_jax_backend.py").read_text("utf-8")
BACKEND = "example_jax_backend:Adapter"
MOST_LINES = 150


def test_the_example_has_all_layers_and_losses_in_few_lines():
    assert len(SOURCE.splitlines()) <= MOST_LINES
    for kinds, room in ((KINDS, "spec"), (LOSSES, "training")):
        for kind in kinds.values():
            assert re.search(rf"case {room}\.{kind.__name__}\(\)", SOURCE), kind


def test_the_example_agrees_where_running_statistics_moments_and_windows_count(dlbench):
    """The whole, which takes its compiler minutes, stands under the mark `soak`."""
    chosen = ("layer:batch_norm*", "layer:max_pool, overlapping", "optimizer:adam")
    only = [word for name in chosen for word in ("--only", name)]
    conformant(dlbench, *only)


@pytest.mark.soak
def test_the_whole_example_is_conformant(dlbench):
    conformant(dlbench, timeout_s=1200)


def conformant(dlbench, *more, timeout_s=300):
    ran = dlbench("conformance", BACKEND, "--quiet", *more, cwd=DOCS, timeout_s=timeout_s)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert re.search(r"^conformant: \d+ trials, [\d,]+ comparisons$", ran.stdout, re.MULTILINE)
