"""One side of a comparison, in a process of its own: the threads that one library leaves spinning after a step
would disturb the next library's in the same process.

    arm.py BACKEND|product SUITE train|infer BATCH THREADS

For each line on stdin it takes steps that do not count for a tenth of a second (after a pause, the system may keep
several threads on one core for a while) and then some that do, and answers with their median in seconds.
``product`` is `numpy.matmul` of two 2048² matrices.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STEPS, WARM_S, SIZE = 5, 0.1, 2048


class Arm:
    """Such a process, seen from the one that started it."""

    def __init__(self, what, suite, scenario, batch, threads):
        from dlbench.worker.launch import worker_environment

        arguments = [what, suite, scenario, str(batch), str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=worker_environment(threads),
        )

    def seconds(self):
        """What a step takes now."""
        # Until the threads of the arm before have gone to sleep.
        time.sleep(0.05)
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def product():
    """A call that multiplies."""
    square = np.random.default_rng(3).random((SIZE, SIZE), np.float32)
    out = np.empty_like(square)
    return lambda: np.matmul(square, square, out=out)


def step_of(backend, suite, scenario, batch, threads):
    """A call that runs one step on a resident batch and waits for it."""
    from dlbench.contract import Plan
    from dlbench.plugins import adapter_target, load
    from dlbench.spec.suite import load_suite
    from dlbench.spec.workload import initial_weights

    workload = load_suite(suite).workload
    plan = Plan(backend, "cpu", batch, threads)
    session = load(adapter_target(backend))().open(plan, workload, initial_weights(workload, 1))
    # So small that hundreds of steps on one batch stay where they began.
    session.learning_rate = 1e-6
    random = np.random.default_rng(2)
    inputs = random.normal(size=(batch, *workload.input_shape)).astype(np.float32)
    resident = session.upload(inputs, random.integers(0, workload.output_shape[0], batch))
    call = session.train_step if scenario == "train" else session.infer

    def step():
        call(resident)
        session.synchronize()

    return step


def main(what, suite, scenario, batch, threads):
    """Serves until stdin ends."""
    step = product() if what == "product" else step_of(what, suite, scenario, batch, threads)
    for _ in sys.stdin:
        begin = time.perf_counter()
        step()
        while time.perf_counter() - begin < WARM_S:
            step()
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        sys.stdout.write(f"{statistics.median(times)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
