"""Holds the ceilings of the NumPy backend against plain NumPy: products, copies and triads without a session, in turns.
The plain triads are made by as many threads, each on arrays of its own.

    python tools/check_ceilings.py [--seconds 60] [--threads 2]

Nothing else should run meanwhile. It ends with 1 where products or triads are more than 5 % apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Call = Callable[[], Any]
MOST_APART = 0.05
REST_S = 0.1
"""Behind a product, BLAS' threads wait for the next without sleeping, some ten milliseconds, and take a core of those
who come next: a product that found them took twice as long."""


def median_s(call: Call, least_s: float = 0.05) -> float:
    """The typical duration of a call."""
    call()
    took: list[float] = []
    end_s = time.perf_counter() + least_s
    while time.perf_counter() < end_s or len(took) < 3:
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def plain_triads(np: Any, elements: int, times: int, threads: int) -> Call:
    """STREAM's triad, so many times, by threads that wait for nothing but each other's end."""
    from dlbench.profile.triad import laid_out

    arrays = [laid_out(elements // threads) for _ in range(threads)]

    def work(a: Any, b: Any, c: Any) -> None:
        for _ in range(times):
            np.multiply(c, np.float32(3), out=a)
            np.add(b, a, out=a)

    def call() -> None:
        others = [threading.Thread(target=work, args=tuple(own)) for own in arrays[1:]]
        for other in others:
            other.start()
        work(*arrays[0])
        for other in others:
            other.join()

    return call


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
    calls: dict[str, tuple[float, dict[str, Call]]] = {}
    for rung in ceilings():
        plan = Plan("numpy", "cpu", rung.batch or 1, arguments.threads, scenario="infer")
        session = numpy.open(plan, rung.workload, initial_weights(rung.workload, 0))
        given = np.zeros((rung.batch or 1, *rung.workload.input_shape), np.float32)
        inputs = rung.inputs(given, None)
        batch = session.upload(inputs, rung.targets(np.zeros(len(given))))
        own: dict[str, Call] = {"session": lambda s=session, b=batch: s.infer(b)}  # type: ignore[misc]
        out = np.empty_like(inputs)
        if rung.name == PRODUCTS:
            calls["product, GFLOP/s"][1]["several"] = own["session"]
            continue
        if rung.name == PRODUCT:
            other = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), np.float32)
            own["numpy"] = lambda a=inputs, b=other, o=out: np.matmul(a, b, out=o)  # type: ignore[misc]
            calls["product, GFLOP/s"] = 2.0 * PRODUCT_SIDE**3, own
            continue
        elements = inputs.size
        own["numpy"] = lambda a=inputs, o=out: np.maximum(a, 0, out=o)  # type: ignore[misc]
        calls[f"copy of {8 * elements / 2**20:.3g} MiB, GB/s"] = 8.0 * elements, own
        host = Triad(elements, arguments.threads)
        moved = 4.0 * PASSES * elements * host.times
        triads: dict[str, Call] = {
            "session": lambda h=host: h.infer(None),  # type: ignore[misc]
            "numpy": plain_triads(np, elements, host.times, host.threads),
        }
        calls[f"triad of {4 * PASSES * elements / 2**20:.3g} MiB, GB/s"] = moved, triads
    found: dict[str, dict[str, list[float]]] = {
        name: {who: [] for who in own} for name, (_, own) in calls.items()
    }
    end_s = time.monotonic() + arguments.seconds
    while time.monotonic() < end_s:
        for name, (_, own) in calls.items():
            for who, call in own.items():
                time.sleep(REST_S)
                found[name][who].append(median_s(call))
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
