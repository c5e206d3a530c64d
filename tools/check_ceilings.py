"""Holds the ceilings of the NumPy backend against plain NumPy: products, copies and triads without a session, in turns.
The plain triads are made by as many processes, each on a core and on arrays of its own: none waits for another there,
neither for the interpreter's lock nor for being started.

    python tools/check_ceilings.py [--seconds 60] [--threads 2]

Nothing else should run meanwhile. It ends with 1 where products or triads are more than 5 % apart.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

Call = Callable[[], Any]
Measure = Callable[[], float]
"""How long it takes (s)."""
MOST_APART = 0.05
REST_S = 0.1
"""Behind a product, BLAS' threads wait for the next without sleeping, some ten milliseconds, and take a core of those
who come next: a product that found them took twice as long."""


_LEAST_S = 0.05


def median_s(call: Call, least_s: float = _LEAST_S) -> float:
    """The typical duration of a call."""
    call()
    took: list[float] = []
    end_s = time.perf_counter() + least_s
    while time.perf_counter() < end_s or len(took) < 3:
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def make_triads(core: int, elements: int, times: int, asked: Connection) -> None:
    """STREAM's triad of so many elements again and again, on one core, until each moment that is `asked` for; tells how
    many were made in which time (s). It ends with who asks."""
    import numpy as np

    from dlbench.profile.triad import laid_out

    os.sched_setaffinity(0, {core})
    a, b, c = laid_out(elements)
    while True:
        try:
            until_s = asked.recv()
        except EOFError:
            return
        made, begin_s = 0, time.perf_counter()
        while time.perf_counter() < until_s or not made:
            for _ in range(times):
                np.multiply(c, np.float32(3), out=a)
                np.add(b, a, out=a)
            made += times
        asked.send((made, time.perf_counter() - begin_s))


class PlainTriads:
    """Triads of so many elements by so many processes, each with its share of them."""

    def __init__(self, elements: int, processes: int, times: int) -> None:
        self._times, self._pipes = times, []
        context = multiprocessing.get_context("spawn")
        for core in sorted(os.sched_getaffinity(0))[:processes]:
            own, other = context.Pipe()
            arguments = core, elements // processes, times, other
            context.Process(target=make_triads, args=arguments, daemon=True).start()
            self._pipes.append(own)

    def seconds(self) -> float:
        """How long as many triads take as a step of a session has."""
        until_s = time.perf_counter() + _LEAST_S
        for pipe in self._pipes:
            pipe.send(until_s)
        rates: list[float] = [
            made / took_s for made, took_s in (pipe.recv() for pipe in self._pipes)
        ]
        return self._times * len(rates) / sum(rates)


def main() -> None:
    """Times in turns until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)
    # behind what their libraries read when they are loaded
    import numpy as np

    from dlbench import plugins
    from dlbench.contract import Plan
    from dlbench.profile.rungs import (
        PRODUCT,
        PRODUCT_SIDE,
        PRODUCTS,
        ceilings,
    )
    from dlbench.profile.triad import PASSES, Triad
    from dlbench.spec.workload import initial_weights

    numpy = plugins.load_adapter(plugins.adapter_target("numpy"))
    calls: dict[str, tuple[float, dict[str, Measure]]] = {}
    for rung in ceilings():
        plan = Plan("numpy", "cpu", rung.batch or 1, arguments.threads, scenario="infer")
        session = numpy.open(plan, rung.workload, initial_weights(rung.workload, 0))
        given = np.zeros((rung.batch or 1, *rung.workload.input_shape), np.float32)
        inputs = rung.inputs(given, None)
        batch = session.upload(inputs, rung.targets(np.zeros(len(given))))
        own: dict[str, Measure] = {
            "session": functools.partial(median_s, functools.partial(session.infer, batch))
        }
        out = np.empty_like(inputs)
        if rung.name == PRODUCTS:
            calls["product, GFLOP/s"][1]["several"] = own["session"]
            continue
        if rung.name == PRODUCT:
            other = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), np.float32)
            plain = functools.partial(np.matmul, inputs, other, out=out)
            own["numpy"] = functools.partial(median_s, plain)
            calls["product, GFLOP/s"] = 2.0 * PRODUCT_SIDE**3, own
            continue
        elements = inputs.size
        own["numpy"] = functools.partial(
            median_s, functools.partial(np.maximum, inputs, 0, out=out)
        )
        calls[f"copy of {8 * elements / 2**20:.3g} MiB, GB/s"] = 8.0 * elements, own
        host = Triad(elements, arguments.threads)
        moved = 4.0 * PASSES * elements * host.times
        triads: dict[str, Measure] = {
            "session": functools.partial(median_s, functools.partial(host.infer, None)),
            "numpy": PlainTriads(elements, host.threads, host.times).seconds,
        }
        calls[f"triad of {4 * PASSES * elements / 2**20:.3g} MiB, GB/s"] = moved, triads
    found: dict[str, dict[str, list[float]]] = {
        name: {who: [] for who in own} for name, (_, own) in calls.items()
    }
    end_s = time.monotonic() + arguments.seconds
    while time.monotonic() < end_s:
        for name, (_, own) in calls.items():
            for who, measure in own.items():
                time.sleep(REST_S)
                found[name][who].append(measure())
    apart = [name for name, times in found.items() if not shown(name, calls[name][0], times)]
    if apart:
        raise SystemExit(f"more than {MOST_APART:.0%} apart: {'; '.join(apart)}")
    print(f"products and triads agree within {MOST_APART:.0%}")


def shown(name: str, work: float, times: Mapping[str, Sequence[float]]) -> bool:
    """Prints a line of rates; whether the session's is NumPy's. Copies are not held against it: a session's relu has
    more threads."""
    from dlbench.profile.rungs import PRODUCTS_DEPTH

    rates = {who: [work / took / 1e9 for took in each] for who, each in times.items()}
    if "several" in times:
        both = zip(times["several"], times["session"], strict=True)
        beyond = [(PRODUCTS_DEPTH - 1) * work / (many - one) / 1e9 for many, one in both]
        rates = {"one network": rates["session"], "session": beyond, "numpy": rates["numpy"]}
    ratios = [one / other for one, other in zip(rates["session"], rates["numpy"], strict=True)]
    ratio = statistics.median(ratios)
    lower, _, upper = statistics.quantiles(ratios, n=4)
    told = ", ".join(f"{who} {statistics.median(each):.4g}" for who, each in rates.items())
    print(
        f"{name}: {told}; session / numpy {ratio:.3f} (quartiles {lower:.3f} to {upper:.3f}, {len(ratios)} turns)"
    )
    return name.startswith("copy") or abs(ratio - 1) <= MOST_APART


if __name__ == "__main__":
    main()
