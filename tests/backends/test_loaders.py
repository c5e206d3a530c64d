"""The frameworks' own loaders deliver what dlbench's does, to the bit, and end when they are closed."""

import importlib
import multiprocessing

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.data.feed import Batches
from dlbench.data.preprocessing import Recipe
from dlbench.measure.streamed_steps import check_loader

RECIPE = Recipe(padding=1, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), augment=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (11, 3, 8, 8), np.uint8)
VALUES = np.random.default_rng(1).normal(size=(11, 5)).astype(np.float32)
KINDS = {
    "images": Batches(IMAGES, np.arange(11, dtype=np.int64), RECIPE, 4, 7),
    "values": Batches(VALUES, VALUES[:, :2].copy(), Recipe(), 4, 7),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_a_frameworks_loader_delivers_the_same_batches_to_the_bit(name, kind):
    pytest.importorskip(name)
    adapter = importlib.import_module(f"dlbench.backends.{name}.adapter").Adapter()
    loader = adapter.loader(Plan(name, "cpu", 4, 2), KINDS[kind])
    try:
        checks = check_loader(loader, KINDS[kind])
        assert 10 == len(checks)
        assert all(check.passed for check in checks), [c for c in checks if not c.passed]
        assert 0 < loader.ahead
        assert "2 " in loader.name
    finally:
        loader.close()
    assert [] == multiprocessing.active_children()
