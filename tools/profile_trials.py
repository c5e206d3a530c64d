"""How well `dlbench explain` finds a delay of known length, and whether it blames a layer where there is none.

    python tools/profile_trials.py FOLDER [--same 20] [--planted 20] [--suite cnn-mnist] [--budget 12]

Profiles `--same` rows of the same code, five at a time in turns, and all pairs of five are explained: no layer should
be blamed. Then profiles `--planted` rows, five at a time beside one without a delay, each with a delay of 5, 10 or 20 %
of a step in one layer, forward or backward, and explains each by the one without: the layer should be blamed, and the
delay should lie in its interval. Profiles stay in FOLDER; what is there already is not made again. Nothing else should
run meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dlbench.api.asking import request_of
from dlbench.execute.ladder_turns import profile
from dlbench.execute.materialise import prepare
from dlbench.host.scratch import scratch
from dlbench.profile.explanation import Explanation, explain
from dlbench.record.schema import Case, Profile
from dlbench.spec.suite import load_suite
from dlbench.worker.launch import launch_of

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
SHARES = (0.05, 0.1, 0.2)
AT_ONCE = 5
"""Rows that are profiled in turns, beside one without a delay where they have one."""


def profiles(
    arguments: argparse.Namespace, path: Path, backends: Sequence[str]
) -> dict[str, Profile]:
    """The profiles of training of backends that took turns, made if they are not in `path` yet. They are not verified:
    all are the NumPy backend."""
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Profile])
    request = request_of(arguments.suite, "stand-in", scenarios=("train",))
    [batch] = request.chosen_batches
    case = Case(request.suite.name, "train", "numpy", "cpu", batch, request.chosen_threads)
    with scratch() as folder:
        material = prepare(request, folder)
        jobs, launches = {}, {}
        for name in backends:
            plan = msgspec.structs.replace(case, backend=name).plan(request.seed)
            jobs[name] = material.job(plan, inside=False)
            launches[name] = launch_of(name, case.threads, request.limit_s)
        found = profile(case, launches, jobs, arguments.budget)
    for name, each in found.items():
        if each.status != "ok":
            raise SystemExit(f"{name}: {each.reason}")
    path.write_bytes(msgspec.json.encode(found))
    return found


def batched(names: Sequence[str]) -> list[Sequence[str]]:
    """So many at a time as are profiled in turns."""
    return [names[begin : begin + AT_ONCE] for begin in range(0, len(names), AT_ONCE)]


def blamed(found: Explanation) -> list[str]:
    """The parts that are said to be slower."""
    return [part.name for part in found.parts if part.is_told and part.time.mean_s > 0]


def planted(arguments: argparse.Namespace, step_s: float, layers: Sequence[str]) -> list[str]:
    """Backends with a delay."""
    draw = random.Random(arguments.seed)
    return [
        f"slow_layers:{draw.choice(layers)}_{draw.choice(('forward', 'backward'))}"
        f"_{draw.choice(SHARES) * step_s * 1e6:.0f}"
        for _ in range(arguments.planted)
    ]


def main() -> None:
    """Makes what is not there yet, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--same", type=int, default=20)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--suite", default="cnn-mnist")
    parser.add_argument("--budget", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(FIXTURES))
    workload = load_suite(arguments.suite).workload
    both = workload, workload
    alike = [f"slow_layers:same_{number + 1}" for number in range(arguments.same)]
    pairs: list[Explanation] = []
    for number, some in enumerate(batched(alike)):
        path = arguments.folder / f"same-{number + 1}.json"
        same = profiles(arguments, path, some)
        pairs += [explain(*pair, both) for pair in itertools.combinations(same.values(), 2)]
    quiet = [pair for pair in pairs if not pair.disturbed]
    told = [[part.name for part in pair.parts if part.is_told] for pair in quiet]
    wrong = [names for names in told if names]
    print(
        f"same code: a part is blamed in {len(wrong)} of {len(quiet)} comparisons: {wrong};"
        f" {len(pairs) - len(quiet)} more were disturbed, and nothing is concluded from them"
    )
    step_s = pairs[0].first_time.mean_s
    delayed = planted(arguments, step_s, [node.name for node in workload.nodes])
    right, inside, disturbed, lines = 0, 0, 0, []
    for number, some in enumerate(batched(delayed)):
        path = arguments.folder / f"planted-{number + 1}.json"
        found = profiles(arguments, path, ["slow_layers:same_0", *dict.fromkeys(some)])
        for name in some:
            layer, _, delay_us = name.partition(":")[2].split("_")
            delay_s = int(delay_us) * 1e-6
            result = explain(found[name], found["slow_layers:same_0"], both)
            if result.disturbed:
                disturbed += 1
                continue
            [part] = [part for part in result.parts if part.name == layer]
            right += blamed(result) == [layer]
            inside += part.time.low_s <= delay_s <= part.time.high_s
            low_ms, high_ms = part.time.low_s * 1e3, part.time.high_s * 1e3
            lines.append(f"{name}: {blamed(result)}, {low_ms:.2f} to {high_ms:.2f} ms")
    print(
        f"planted: the right layer alone in {right} of {len(lines)}, the delay in its interval in {inside};"
        f" {disturbed} more were disturbed"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
