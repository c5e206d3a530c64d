"""The frameworks' own loaders deliver what dlbench's does, to the bit, and end when they are closed.

In a process of each framework's own, as when they are timed: who forks workers is to have no other framework's threads.
"""

import json
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import importlib, json, multiprocessing, sys
    import numpy as np
    from dlbench.contract import Plan
    from dlbench.data.feed import Batches
    from dlbench.data.preprocessing import Recipe
    from dlbench.measure.streamed_steps import check_loader

    recipe = Recipe(padding=1, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), augment=True)
    images = np.random.default_rng(0).integers(0, 256, (11, 3, 8, 8), np.uint8)
    values = np.random.default_rng(1).normal(size=(11, 5)).astype(np.float32)
    kinds = {
        "images": Batches(images, np.arange(11, dtype=np.int64), recipe, 4, 7),
        "values": Batches(values, values[:, :2].copy(), Recipe(), 4, 7),
    }
    name = sys.argv[1]
    adapter = importlib.import_module(f"dlbench.backends.{name}.adapter").Adapter()
    told = {}
    for kind, batches in kinds.items():
        loader = adapter.loader(Plan(name, "cpu", 4, 2), batches)
        try:
            checks = check_loader(loader, batches)
            told[kind] = {
                "checks": len(checks),
                "failed": [check.sentence() for check in checks if not check.passed],
                "ahead": loader.ahead,
                "name": loader.name,
            }
        finally:
            loader.close()
        told[kind]["left"] = len(multiprocessing.active_children())
    print(json.dumps(told))
"""


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_a_frameworks_loader_delivers_the_same_batches_to_the_bit(name):
    pytest.importorskip(name)
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"images", "values"} == set(told)
    for kind in told.values():
        assert (10, [], 0) == (kind["checks"], kind["failed"], kind["left"])
        assert 0 < kind["ahead"]
        assert "2 " in kind["name"]
