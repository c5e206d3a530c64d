"""What sampling does to the times that are taken meanwhile: on and off in turn, on all cores, with the stub."""

import contextlib
import json
import os
import signal
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
PAIRS = int(os.environ.get("DLBENCH_EFFECT_PAIRS", "28"))
BLOCK_S = 0.4
# samples the process on its command line until its input ends, and tells how much processor time that took
SAMPLING = """
import json, sys, time
from dlbench.record.schema import Case
from dlbench.telemetry.watch import Watcher

case = Case("ci", "train", "numpy", "cuda", 32, 1, "fp32", "")
with Watcher(0.05, lambda case: "nvml").beside(case, 1) as watch:
    watch.opened(int(sys.argv[1]), {"device_uuid": "11111111-aaaa"})
    time.sleep(0.2)
    began_s = time.process_time()
    print("ready", flush=True)
    sys.stdin.read()
    spent_s = time.process_time() - began_s
lines = watch.lines()
traces = [trace for line in lines for trace in line.traces.values()]
print(json.dumps([len(traces), max(len(trace.t_ns) for trace in traces), spent_s]))
"""


@contextlib.contextmanager
def sampling(environment):
    """A process that samples this one, stopped; what it tells in the end goes into the dictionary."""
    told = {}
    child = subprocess.Popen(
        [sys.executable, "-c", SAMPLING, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert "ready\n" == child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        yield child, told
        child.send_signal(signal.SIGCONT)
        answer, _ = child.communicate(timeout=20)
        told["metrics"], told["passes"], told["processor_s"] = json.loads(answer)
    finally:
        child.kill()
        child.communicate()


def steps_of_a_network(threads):
    """A training step of the suite ci."""
    suite = load_suite("ci")
    workload, batch = suite.workload, suite.matrix.batches[0]
    plan = Plan("numpy", "cpu", batch, threads=threads)
    initial = initial_weights(workload, 0)
    adapter = import_module("dlbench.backends.numpy.adapter").Adapter()
    session = adapter.open(plan, workload, initial)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((batch, *workload.input_shape), np.float32)
    resident = session.upload(inputs, random.integers(0, 10, batch))

    def block():
        """Mean and median step (s) of a block."""
        session.load(initial)
        times_s, end_s = [], time.perf_counter() + BLOCK_S
        while (begin_s := time.perf_counter()) < end_s:
            session.train_step(resident)
            session.synchronize()
            times_s.append(time.perf_counter() - begin_s)
        return statistics.fmean(times_s), statistics.median(times_s)

    return block


@pytest.mark.parametrize(
    "spare", [1, 0], ids=["case on a GPU", "case on a GPU with every core in use"]
)
def test_sampling_leaves_the_times_as_they_are(stubbed, tmp_path, capsys, spare):
    threads = max(1, len(os.sched_getaffinity(0)) - spare)
    where, block = stubbed(), steps_of_a_network(threads)
    (tmp_path / "pids").write_text(str(os.getpid()))
    block()
    pairs = []
    with sampling(where.environment) as (child, told):
        for pair in range(PAIRS):
            found = {}
            for on in (pair % 2 == 0, pair % 2 == 1):
                child.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
                found[on] = block()
            pairs.append(np.log(found[True]) - np.log(found[False]))
    assert told["metrics"] >= 12
    assert told["passes"] >= PAIRS / 4
    with capsys.disabled():
        for name, changes in zip(("mean", "median"), np.transpose(pairs), strict=True):
            # Hodges and Lehmann: the middle of the means of all two pairs, less moved by an outlier
            walsh = np.sort(np.add.outer(changes, changes)[np.triu_indices(PAIRS)] / 2)
            spread = stats.norm.ppf(0.975) * np.sqrt(PAIRS * (PAIRS + 1) * (2 * PAIRS + 1) / 24)
            edge = int(len(walsh) / 2 - spread)
            middle, low, high = (100 * np.expm1(walsh[i]) for i in (len(walsh) // 2, edge, ~edge))
            sys.stdout.write(
                f"\n{threads} threads, {name} step of a block with sampling:"
                f" {middle:+.2f} % [{low:+.2f}, {high:+.2f}]"
            )
        share = told["processor_s"] / (PAIRS * BLOCK_S)
        sys.stdout.write(
            f"\n{told['passes']} passes, {told['metrics']} metrics; the sampler used"
            f" {100 * share:.2f} % of one core\n"
        )
