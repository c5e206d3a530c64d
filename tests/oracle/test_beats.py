"""Whatever the oracle computes, it gives signs of life on the way."""

import numpy as np

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import beating, forward
from dlbench.spec.network import walk
from dlbench.spec.workload import initial_weights
from dlbench.verify.checks.probes import prepare_probes
from dlbench.verify.expected.reference import prepare_reference
from dlbench.verify.timed.after_timing import prepare_after


def test_each_layer_of_a_pass_is_a_beat_and_none_comes_outside(tiny):
    beats = []
    workload = tiny.workload
    weights = {name: value.astype(float) for name, value in initial_weights(workload, 0).items()}
    inputs = np.ones((2, 10))
    with beating(lambda: beats.append(1)):
        forward(workload.nodes, weights, inputs, Pass(True, np.ones(2)))
    assert len(list(walk(workload.nodes))) == len(beats)
    forward(workload.nodes, weights, inputs, Pass(True, np.ones(2)))
    assert len(list(walk(workload.nodes))) == len(beats)


def test_every_phase_of_the_oracle_beats(tiny, tmp_path):
    workload = tiny.workload
    for prepare in (
        lambda: prepare_reference(workload, 4, tmp_path),
        lambda: prepare_probes(workload, tmp_path, "fp32"),
        lambda: prepare_after(workload, 4, initial_weights(workload, 0), tmp_path, "fp32"),
    ):
        beats = []
        with beating(lambda: beats.append(1)):  # noqa: B023
            prepare()
        assert beats
