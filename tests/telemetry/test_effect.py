"""What sampling does to the times that are taken meanwhile: on and off in turn, on all cores, with the stub."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from importlib import import_module

import numpy as np
import pytest
from scipy import stats

from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

pytestmark = pytest.mark.benchmark
PAIRS = 36
BLOCK_S = 0.3
# samples the process on its command line between the lines "on" and "off", and tells the processor time it took
SAMPLING = """
import json, sys, time
from dlbench.record import Case
from dlbench.telemetry.watch import Watcher

case = Case("ci", "train", "numpy", "cuda", 32, 1, "fp32", "")
watcher = Watcher(0.05)
for line in sys.stdin:
    began_s = time.process_time()
    with watcher.beside(case, 1) as watch:
        watch.opened(int(sys.argv[1]), {"device_uuid": "11111111-aaaa"})
        time.sleep(0.02)
        print("ready", flush=True)
        sys.stdin.readline()
    lines = watch.lines()
    read = {line.source: len(line.traces) for line in lines}
    passes = len(lines[0].traces["worker_cpu_s"].t_ns)
    print(json.dumps([read, passes, time.process_time() - began_s]), flush=True)
"""


class Sampling:
    """A process that samples this one when it is told to."""

    def __init__(self, environment):
        self._child = subprocess.Popen(
            [sys.executable, "-c", SAMPLING, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.passes, self.processor_s = 0, 0.0

    def _say(self, word):
        self._child.stdin.write(f"{word}\n")
        self._child.stdin.flush()
        return self._child.stdout.readline()

    def on(self):
        assert "ready\n" == self._say("on")

    def off(self):
        read, passes, processor_s = json.loads(self._say("off"))
        assert read["host"] == 3
        assert read["nvml"] >= 8
        self.passes += passes
        self.processor_s += processor_s

    def close(self):
        self._child.communicate(timeout=10)


def test_sampling_leaves_the_times_as_they_are(stubbed, tmp_path, capsys):
    suite = load_suite("ci")
    workload, batch = suite.workload, suite.matrix.batches[0]
    plan = Plan("numpy", "cpu", batch, threads=len(os.sched_getaffinity(0)))
    adapter = import_module("dlbench.backends.numpy_cpu").Adapter()
    initial = initial_weights(workload, 0)
    session = adapter.open(plan, workload, initial)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((batch, *workload.input_shape), np.float32)
    resident = session.upload(inputs, random.integers(0, 10, batch))

    def block():
        """Mean and median step of a block."""
        session.load(initial)
        times_s, end_s = [], time.perf_counter() + BLOCK_S
        while (begin_s := time.perf_counter()) < end_s:
            session.train_step(resident)
            session.synchronize()
            times_s.append(time.perf_counter() - begin_s)
        return statistics.fmean(times_s), statistics.median(times_s)

    where = stubbed()
    (tmp_path / "pids").write_text(str(os.getpid()))
    sampling = Sampling(where.environment)
    logs = []
    try:
        block()
        for pair in range(PAIRS):
            found = {}
            for on in (pair % 2 == 0, pair % 2 == 1):
                if on:
                    sampling.on()
                found[on] = block()
                if on:
                    sampling.off()
            both = zip(found[True], found[False], strict=True)
            logs.append([math.log(sampled / alone) for sampled, alone in both])
    finally:
        sampling.close()
    with capsys.disabled():
        for name, values in zip(("mean", "median"), zip(*logs, strict=True), strict=True):
            low, high = stats.t.interval(
                0.95, PAIRS - 1, statistics.fmean(values), stats.sem(values)
            )
            middle = stats.trim_mean(values, 0.1)
            sys.stdout.write(
                f"\n{name} step with sampling: {100 * middle:+.2f} % (trimmed), 95 % of pairs' mean"
                f" [{100 * low:+.2f}, {100 * high:+.2f}] %"
            )
        per_pass_ms = 1e3 * sampling.processor_s / sampling.passes
        sys.stdout.write(
            f"\nprocessor time of a pass: {per_pass_ms:.3f} ms, {sampling.passes} passes\n"
        )
