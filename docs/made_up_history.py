"""Writes forty made-up records, a day apart, for the pages that show a history: PyTorch is exchanged on the 25th day
and trains 9 % slower from then on, one day's machine is slow, and on one PyTorch is not verified.

    python docs/made_up_history.py FOLDER

Nothing in them was measured. The same records come out every time.
"""

import datetime
import sys
from pathlib import Path

import numpy as np

from dlbench.record import schema
from dlbench.record.file import Writer

DAYS, EXCHANGED, SLOW, UNVERIFIED = 40, 25, 31, 12
STEP_S = {
    ("numpy", "train"): 0.0365,
    ("numpy", "infer"): 0.0091,
    ("torch", "train"): 0.0371,
    ("torch", "infer"): 0.0093,
}
CHECK = schema.Check("gradient", "conv2.bias", 0.0132, 0.0132, 1e-7, 2e-5, 1.0, passed=True)


def versions(day: int) -> dict[str, str]:
    """The frameworks of a day."""
    return {"numpy": "2.4.6", "torch": "2.12.1" if day < EXCHANGED else "2.13.0"}


def write(folder: Path, day: int) -> None:
    """The record of a day: two backends, training and inference, three processes each."""
    noise = np.random.default_rng(day)
    mode = {"numpy": "", "torch": "eager"}
    cases = tuple(
        schema.Case("cnn-mnist", step, backend, "cpu", 64, 2, "fp32", mode[backend])
        for backend, step in STEP_S
    )
    lines: list[schema.Line] = []
    for case in cases[::2]:
        is_right = (case.backend, day) != ("torch", UNVERIFIED)
        status, reason = ("ok", "") if is_right else ("unverified", "gradient of conv2.bias is 0")
        version = versions(day)[case.backend]
        lines.append(
            schema.Verification(
                case, status, reason, (CHECK,) if is_right else (), 1e-7, 0, version, {}, {}
            )
        )
        if not is_right:
            continue
        for step in ("train", "infer"):
            (timed,) = [c for c in cases if (c.backend, c.scenario) == (case.backend, step)]
            median_s = STEP_S[case.backend, step] * (1.15 if day == SLOW else 1.0)
            if (case.backend, step) == ("torch", "train") and day >= EXCHANGED:
                median_s *= 1.09
            for number in (1, 2, 3):
                steps_s = median_s * np.exp(noise.normal(0, 0.008) + noise.normal(0, 0.01, 20))
                timings_ns = tuple((steps_s * 1e9).astype(int).tolist())
                lines.append(
                    schema.Process(
                        timed, number, "ok", "", timings_ns, version=version, steady=True
                    )
                )
    machine = schema.Machine(
        "EPYC 9B45", 1, 2, 2, 24 * 2**30, (), "Linux 6.1", "3.11.2", versions(day)
    )
    created = datetime.datetime(2026, 10, 1, 6, tzinfo=datetime.UTC) + datetime.timedelta(day - 1)
    header = schema.Header(
        schema=schema.SCHEMA,
        created=created.isoformat(),
        dlbench="0.1.0",
        suite="cnn-mnist",
        description="made up",
        workload={},
        workload_digest="ab" * 32,
        parameter_count=1_199_882,
        forward_flops=23_900_000,
        training_flops=71_600_000,
        data=schema.Data("mnist", "made up", "cd" * 32, stand_in=True),
        seed=0,
        rounds=3,
        budget_s=24.0,
        machine=machine,
        cases=cases,
        titles={"numpy": "NumPy", "torch": "PyTorch"},
    )
    writer = Writer(folder / f"{day:02}.jsonl")
    for line in (header, *lines, schema.End("complete", 60.0, {}, 80.0)):
        writer.write(line)
    writer.close()


if __name__ == "__main__":
    made = Path(sys.argv[1])
    made.mkdir()
    for day in range(1, DAYS + 1):
        write(made, day)
