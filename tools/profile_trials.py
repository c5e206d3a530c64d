"""How well `dlbench explain` finds a delay of known length, and whether it blames a layer where there is none.

    python tools/profile_trials.py FOLDER [--same 10] [--planted 20] [--suite cnn-mnist] [--budget 6]

Profiles the NumPy backend as it is `--same` times, and all pairs of these are explained: no layer should be blamed.
Then profiles it `--planted` times with a delay of 5, 10 or 20 % of a step in one layer, forward or backward, and
explains each by one of the others: the layer should be blamed, and the delay should lie in its interval. Records stay
in FOLDER; what is there already is not made again. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlbench.profile.explanation import Explanation, explain
from dlbench.profile.layer_times import layer_times
from dlbench.record.file import read_record
from dlbench.record.schema import Profile
from dlbench.spec.workload import Workload, read_workload

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
SHARES = (0.05, 0.1, 0.2)


def profile(
    arguments: argparse.Namespace, path: Path, backend: str, delay: Mapping[str, str]
) -> None:
    """Writes the record of one profile, if it is not there yet."""
    if path.exists():
        return
    command = [sys.executable, "-c", "from dlbench.cli.main import main; main()", "profile"]
    command += ["--suite", arguments.suite, "--quiet"]
    command += ["--backend", backend, "--scenario", "train", "--budget", str(arguments.budget)]
    places = os.pathsep.join([str(FIXTURES), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **delay, "PYTHONPATH": places}
    subprocess.run(
        [*command, "--output", str(path)], check=True, stdout=subprocess.DEVNULL, env=environment
    )


def read(path: Path) -> tuple[Profile, Workload]:
    """The profile of a record, and what it is of."""
    record = read_record(path)
    [found] = [line for line in record.lines if isinstance(line, Profile)]
    return found, read_workload(record.header.workload)


def blamed(found: Explanation) -> list[str]:
    """The parts that are said to be slower."""
    return [part.name for part in found.parts if part.is_told and part.time.mean_s > 0]


def planted(
    arguments: argparse.Namespace, step_s: float, layers: list[str]
) -> Iterator[tuple[str, float, Path]]:
    """Profiles with a delay: the layer, the delay (s), and the record."""
    draw = random.Random(arguments.seed)
    for number in range(arguments.planted):
        layer, direction = draw.choice(layers), draw.choice(("FORWARD", "BACKWARD"))
        delay_s = draw.choice(SHARES) * step_s
        path = arguments.folder / f"planted-{number}.jsonl"
        variables = {"DLBENCH_TEST_LAYER": layer, f"DLBENCH_TEST_{direction}_S": str(delay_s)}
        profile(arguments, path, "slow_layers:Delayed", variables)
        yield layer, delay_s, path


def main() -> None:
    """Makes what is not there yet, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--same", type=int, default=10)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--suite", default="cnn-mnist")
    parser.add_argument("--budget", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    paths = [arguments.folder / f"same-{number}.jsonl" for number in range(arguments.same)]
    for path in paths:
        profile(arguments, path, "numpy", {})
    same = [read(path) for path in paths]
    workload = same[0][1]
    pairs = [
        explain(a, b, (workload, workload)) for (a, _), (b, _) in itertools.combinations(same, 2)
    ]
    wrong = [names for names in map(blamed, pairs) if names]
    print(f"same code: a part is blamed in {len(wrong)} of {len(pairs)} comparisons: {wrong}")
    step_s = layer_times(same[0][0], workload).whole.mean_s
    layers = [node.name for node in workload.nodes]
    found, inside, told = 0, 0, []
    for number, (layer, delay_s, path) in enumerate(planted(arguments, step_s, layers)):
        result = explain(read(path)[0], same[number % len(same)][0], (workload, workload))
        part = next(part for part in result.parts if part.name == layer)
        first = blamed(result)[:1]
        found += first == [layer]
        inside += part.time.low_s <= delay_s <= part.time.high_s
        told.append(f"{layer} {delay_s * 1e3:.2f} ms: {first}, {part.time.mean_s * 1e3:.2f}")
    print(
        f"planted: the right layer in {found} of {len(told)}, the delay in its interval in {inside}"
    )
    print("\n".join(told))


if __name__ == "__main__":
    main()
