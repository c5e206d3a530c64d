"""Synthetic records: what a run of the main job writes, with times that are made up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dlbench.gate import schema as gate
from dlbench.gate.design import Design
from dlbench.record import schema as r
from dlbench.record.file import Writer

STEP_S = {"numpy": 0.036, "torch": 0.037, "tensorflow": 0.020, "cupy": 0.002, "acme": 0.010}
VERSIONS = {"numpy": "2.4.6", "torch": "2.13.0", "tensorflow": "2.21.0", "cupy": "", "acme": "0.1"}
GPU_FACTS = {
    "device": "cuda:0",
    "device_name": "NVIDIA H200",
    "device_uuid": "GPU-8f2c11d0-aaaa-bbbb-cccc-000000000001",
    "tf32": "off",
    "cudnn": "9.10.2",
    "cudnn_benchmark": "off",
    "peak_device_memory_bytes": 3 * 2**28,
}
TITLES = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "cupy": "CuPy"}
TRAINING_FLOPS = 71_600_000


def make_case(
    backend: str = "numpy", device: str = "cpu", scenario: Any = "train", **changes: Any
) -> r.Case:
    """A case of the suite cnn-mnist at batch 64."""
    mode = {"torch": "eager", "tensorflow": "graph"}.get(backend, "")
    fields: dict[str, Any] = {
        "suite": "cnn-mnist",
        "batch": 64,
        "threads": 2,
        "precision": "fp32",
        "mode": mode,
    }
    return r.Case(scenario=scenario, backend=backend, device=device, **(fields | changes))


def make_header(cases: Sequence[r.Case] = (), **changes: Any) -> r.Header:
    """The header of a run on a stand-in data set."""
    machine = r.Machine(
        cpu="EPYC 9B45",
        physical_cores=1,
        logical_cores=2,
        usable_cores=2,
        memory_bytes=24 * 2**30,
        gpus=(),
        system="Linux 6.1",
        python="3.11.2",
        packages={"numpy": "2.4.6"},
    )
    fields: dict[str, Any] = {
        "schema": r.SCHEMA,
        "created": "2026-11-20T14:05:00Z",
        "dlbench": "0.1.0",
        "suite": "cnn-mnist",
        "description": "two convolutions",
        "workload": {},
        "workload_digest": "ab" * 32,
        "parameter_count": 1_199_882,
        "forward_flops": TRAINING_FLOPS // 3,
        "training_flops": TRAINING_FLOPS,
        "data": r.Data(
            "mnist", "stand-in (no MNIST found: dlbench data fetch mnist)", "cd" * 32, True
        ),
        "seed": 0,
        "rounds": 3,
        "budget_s": 24.0,
        "machine": machine,
        "cases": tuple(cases),
        "titles": TITLES,
    }
    return r.Header(**(fields | changes))


def make_gate_header(cases: Sequence[r.Case], **changes: Any) -> gate.Header:
    """The header of a gate of the suite ci."""
    fields: dict[str, Any] = {
        "schema": gate.SCHEMA,
        "created": "2026-11-20T12:00:00Z",
        "dlbench": "0.1.0",
        "base": "main (abc)",
        "new": "working tree",
        "suite": "ci",
        "workload_digest": "",
        "data": r.Data("mnist", "", "", True),
        "seed": 0,
        "threads": 1,
        "budget_s": 60.0,
        "share_s": 0.15,
        "design": Design(),
        "machine": r.Machine(None, None, None, 2, None, (), "Linux", "3.11", {}),
        "cases": tuple(cases),
    }
    return gate.Header(**(fields | changes))


def make_check(passed: bool = True, error: float | None = 1e-7) -> r.Check:
    """A comparison of one gradient with the oracle."""
    return r.Check("gradient", "conv2.bias", 0.0132, 0.0132, error, 2e-5, 1.0, passed)


def make_verification(
    case: r.Case, status: Any = "ok", reason: str = "", **changes: Any
) -> r.Verification:
    """What a verifying process found."""
    fields: dict[str, Any] = {
        "checks": (make_check(),),
        "max_relative_error": 3.1e-7,
        "ambiguous_branches": 4,
        "version": VERSIONS.get(case.backend, ""),
        "facts": {},
        "seconds": {},
    }
    return r.Verification(case=case, status=status, reason=reason, **(fields | changes))


def make_process(
    case: r.Case, number: int, median_s: float | None = None, **changes: Any
) -> r.Process:
    """A process whose 21 timings have the given median."""
    middle = STEP_S.get(case.backend, 0.01) if median_s is None else median_s
    timings = tuple(round_ns(middle * (1 + (i - 10) * 1e-3)) for i in range(21))
    fields: dict[str, Any] = {
        "status": "ok",
        "reason": "",
        "timings_ns": timings,
        "warmup_ns": timings[:3],
        "first_step_ns": 3 * timings[0],
        "started_ns": 10**9,
        "upload_ns": (60_000,) * 5,
        "download_ns": (30_000,) * 5,
        "steady": True,
        "version": VERSIONS.get(case.backend, ""),
        "facts": {"threads": case.threads},
    }
    if case.device.startswith("cuda"):
        fields["facts"] = GPU_FACTS
        fields["device_ns"] = (round_ns(0.8 * middle),) * 5
    return r.Process(case=case, round=number, **(fields | changes))


def make_turns(case: r.Case, number: int, blocks_s: Sequence[float], **changes: Any) -> r.Process:
    """A process that took turns with others: blocks of three steps of the given lengths, a second apart."""
    timings = tuple(round_ns(block_s) for block_s in blocks_s for _ in range(3))
    starts = tuple((1 + place) * 10**9 for place in range(len(blocks_s)))
    fields: dict[str, Any] = {
        "timings_ns": timings,
        "block_steps": (3,) * len(blocks_s),
        "block_started_ns": starts,
        "block_ended_ns": tuple(start + 10**8 for start in starts),
    }
    return make_process(case, number, **(fields | changes))


def round_ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return math.floor(seconds * 1e9 + 0.5)


def make_record(
    backends: Sequence[str] = ("numpy", "torch", "tensorflow"),
    scenarios: Sequence[Any] = ("train", "infer"),
    epochs: int = 0,
    seed: int = 1,
) -> r.Record:
    """A complete run of three rounds, with an acme that is wrong and a cupy that is not there."""
    noise = np.random.default_rng(seed)
    good = [make_case(b, scenario=s) for b in backends for s in scenarios]
    wrong = [make_case("acme", scenario=s) for s in scenarios]
    absent = [make_case("cupy", "cuda", scenario=s) for s in scenarios]
    lines: list[r.Line] = [
        r.Skip(c, "no CUDA device: this row needs an NVIDIA GPU", "pip install 'dlbench[cupy]'")
        for c in absent
    ]
    lines += [make_verification(make_case(b)) for b in backends]
    lines.append(
        make_verification(
            make_case("acme"),
            "unverified",
            "gradient of conv2.bias is 0, should be 0.0132 (tolerance 2e-5)",
            checks=(make_check(passed=False, error=0.0132),),
            max_relative_error=0.0132,
        )
    )
    for number in range(3):
        lines.append(r.Peak(number, 2, (1.3e11, 1.31e11)))
        for case in good:
            speed = STEP_S[case.backend] * (1.0 if case.scenario == "train" else 0.3)
            lines.append(make_process(case, number, speed * math.exp(noise.normal(0, 0.004))))
    if epochs:
        for case in good:
            if case.scenario == "train":
                lines.append(
                    r.Training(
                        case,
                        "ok",
                        "",
                        epochs,
                        (2.3, 1.1, 0.5, 0.3) * epochs,
                        (0.9,),
                        0.9712,
                        0.1,
                        12.0,
                    )
                )
    spent = {"import": 9.0, "verify": 6.0, "warm-up": 5.0, "measured": 20.0, "waiting": 1.0}
    lines.append(r.End("complete", 41.2, spent, 600.0))
    return r.Record(make_header([*good, *wrong, *absent]), tuple(lines))


class Make:
    """The makers above, for tests to call."""

    case = staticmethod(make_case)
    header = staticmethod(make_header)
    check = staticmethod(make_check)
    verification = staticmethod(make_verification)
    process = staticmethod(make_process)
    turns = staticmethod(make_turns)
    record = staticmethod(make_record)

    @staticmethod
    def measured(cases: Sequence[r.Case], lines: Sequence[r.Line], **header: Any) -> r.Record:
        """A complete record of these cases and lines."""
        end = r.End("complete", 10.0, {"measured": 10.0}, 500.0)
        return r.Record(make_header(cases, **header), (*lines, end))


@pytest.fixture(scope="session")
def make() -> type[Make]:
    """Makers of cases, lines and records."""
    return Make


@pytest.fixture(scope="session")
def write_record() -> Callable[[Any, r.Record], Any]:
    """Writes a record to a path as a run would."""

    def write(path: Any, whole: r.Record) -> Any:
        writer = Writer(path)
        for line in (whole.header, *whole.lines):
            writer.write(line)
        writer.close()
        return path

    return write
