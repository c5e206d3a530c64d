"""Ranks of JAX: devices of one process, in a process of their own, since XLA is told how many before all else."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("jax")

SCRIPT = """
    import json, sys
    from pathlib import Path
    import numpy as np
    from dlbench.backends.jax.adapter import Adapter
    from dlbench.contract import Plan
    from dlbench.errors import PlanRefused
    from dlbench.spec.suite import load_suite
    from dlbench.spec.workload import initial_weights, read_workload
    from dlbench.verify.check import verify

    layers = [
        {"type": "conv2d", "out_channels": 4, "kernel": 3, "bias": False},
        *({"type": "batch_norm"}, {"type": "relu"}, {"type": "flatten"}),
        {"type": "linear", "out_features": 3},
    ]
    rule = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
    norm = read_workload({"input_shape": [2, 6, 6], "layers": layers, "optimizer": rule})
    smoke = load_suite("smoke").workload
    plan = Plan("jax", "cpu", 16, 1, world=2)
    found = verify(Adapter(), plan, norm, Path(sys.argv[1]))
    told = {"reason": found.reason}
    session = Adapter().open(plan, smoke, initial_weights(smoke, 0))
    told["ranks"] = session.facts["ranks"]
    batch = session.upload(np.zeros((16, 1, 28, 28), np.float32), np.zeros(16, np.int64))
    told["alone"] = [len(each) for each in session.alone_ns(batch, 3)]
    try:
        four = Plan("jax", "cpu", 16, 1, world=4)
        Adapter().open(four, smoke, initial_weights(smoke, 0))
    except PlanRefused as error:
        told["four"] = str(error)
    print(json.dumps(told))
"""


def test_ranks_agree_with_the_oracle_and_tell_how_long_each_computes(cache_dir):
    flags = "--xla_force_host_platform_device_count=2"
    environment = {**os.environ, "XLA_FLAGS": flags, "NPROC": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(cache_dir)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "" == told["reason"]
    assert (2, [3, 3]) == (told["ranks"], told["alone"])
    assert told["four"].startswith("jax has 2 CPU devices for 4 ranks; XLA_FLAGS=")
