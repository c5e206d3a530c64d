"""How well `dlbench explain` finds a delay of known length, and whether it blames a layer where there is none.

    python tools/profile_trials.py FOLDER [--same 40] [--planted 20] [--minutes 20] [--suite cnn-mnist] [--budget 12]

Five rows of the same code are profiled in turns, and the ten pairs of them explained: no layer should be blamed. Five
rows with a delay of 5, 10 or 20 % of a step in one layer, forward or backward, are profiled in turns with one without,
and explained by that: the layer should be blamed and no other, and the delay should lie in its interval. Such groups
take turns until there are `--same` comparisons and `--planted` delays, without those that others of the machine
disturbed, or until another group would end behind `--minutes`. Profiles stay in FOLDER: the same command goes on where
it ended. Nothing else should run meanwhile. It ends with 1 where fewer than 19 in 20 delays were found, or lay in their
intervals, or where a layer was blamed in rows of the same code.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dlbench.api.asking import request_of
from dlbench.execute.ladder_turns import profile
from dlbench.execute.materialise import prepare
from dlbench.host.scratch import scratch
from dlbench.profile.explanation import Difference, Explanation, explain
from dlbench.record.schema import Case, Profile
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import Workload
from dlbench.worker.launch import launch_of

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
SHARES = (0.05, 0.1, 0.2)
AT_ONCE = 5
"""Rows that are profiled in turns, beside one without a delay where they have one."""
LEAST_FOUND = 0.95
PLAIN = "slow_layers:same_0"


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
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(found))
    partial.replace(path)
    return found


@dataclasses.dataclass(frozen=True)
class Same:
    """Two rows of the same code."""

    name: str
    found: Explanation

    @property
    def told(self) -> list[Difference]:
        """Parts that are called different, of which there should be none."""
        return [part for part in self.found.parts if part.is_told]

    def line(self) -> str:
        """What is wrong with it."""
        return f"{self.name}: {', '.join(map(shown, self.told))}"


@dataclasses.dataclass(frozen=True)
class Planted:
    """A row with a delay, and one without."""

    name: str
    found: Explanation

    @property
    def delay_s(self) -> float:
        """How long it is."""
        return int(self.name.rpartition("_")[2]) * 1e-6

    @property
    def layer(self) -> str:
        """Where it is."""
        return self.name.partition(":")[2].rsplit("_", 2)[0]

    @property
    def blamed(self) -> list[str]:
        """The parts that are said to be slower."""
        return [p.name for p in self.found.parts if p.is_told and p.time.mean_s > 0]

    @property
    def is_right(self) -> bool:
        """Whether the layer is blamed, and no other."""
        return self.blamed == [self.layer]

    @property
    def part(self) -> Difference:
        """That layer."""
        [part] = [part for part in self.found.parts if part.name == self.layer]
        return part

    @property
    def is_inside(self) -> bool:
        """Whether the delay lies in the interval."""
        return self.part.time.low_s <= self.delay_s <= self.part.time.high_s

    def line(self) -> str:
        """What was planted and what was found."""
        share = self.delay_s / self.found.second_time.mean_s
        words = [] if self.is_right else [f"blamed: {', '.join(self.blamed) or 'none'}"]
        if not self.is_inside:
            words.append("outside the interval")
        return (
            f"{self.name} ({share:.1%} of a step), found {shown(self.part)}"
            f"{': ' if words else ''}{', '.join(words)}"
        )


def shown(part: Difference) -> str:
    """A part, with its difference in ms and, where there is one, that of the layer alone."""
    told = f"{part.name} {milliseconds(part.time)}"
    return told if part.alone is None else f"{told}, alone {milliseconds(part.alone)}"


def milliseconds(found: object) -> str:
    """A time and its interval."""
    mean_s, low_s, high_s = dataclasses.astuple(found)  # type: ignore[call-overload]
    return f"{mean_s * 1e3:.2f} ms [{low_s * 1e3:.2f}, {high_s * 1e3:.2f}]"


def delayed(seed: int, number: int, layers: Sequence[str], step_s: float) -> list[str]:
    """The backends with a delay of a group: the same whenever it is asked."""
    draw = random.Random(f"{seed} {number}")
    found: dict[str, None] = {}
    while len(found) < AT_ONCE:
        layer, way = draw.choice(layers), draw.choice(("forward", "backward"))
        found[f"slow_layers:{layer}_{way}_{draw.choice(SHARES) * step_s * 1e6:.0f}"] = None
    return list(found)


class Trials:
    """What was made, and what is made next."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.same: list[Same] = []
        self.planted: list[Planted] = []
        self.disturbed = 0
        self.is_over = False
        self._arguments = arguments
        self._workload = load_suite(arguments.suite).workload
        self._end_s = time.monotonic() + arguments.minutes * 60
        self._longest_s = self._step_s = 0.0

    def make(self) -> None:
        """Groups of both kinds by turns, until there are enough or the time is over."""
        wanted = self._arguments
        for number in itertools.count(1):
            # the length of the delays is that of a step of the first
            if number == 1 or len(self.same) < wanted.same:
                self._make_same(number)
            if len(self.planted) < wanted.planted:
                self._make_planted(number)
            if self.is_over or (
                len(self.same) >= wanted.same and len(self.planted) >= wanted.planted
            ):
                return

    def _make_same(self, number: int) -> None:
        names = [f"slow_layers:same_{number * AT_ONCE + place}" for place in range(AT_ONCE)]
        found = self._profiles(f"same-{number}", names)
        for one, other in itertools.combinations(found, 2):
            result = self._explained(found[one], found[other])
            if result is not None and len(self.same) < self._arguments.same:
                self.same.append(Same(f"{one} against {other}", result))
        if found and not self._step_s:
            self._step_s = explain(found[names[0]], found[names[1]], self._both).first_time.mean_s

    def _make_planted(self, number: int) -> None:
        layers = [node.name for node in self._workload.nodes]
        names = delayed(self._arguments.seed, number, layers, self._step_s)
        found = self._profiles(f"planted-{number}", [PLAIN, *names])
        for name in names if found else ():
            result = self._explained(found[name], found[PLAIN])
            if result is not None and len(self.planted) < self._arguments.planted:
                self.planted.append(Planted(name, result))

    @property
    def _both(self) -> tuple[Workload, Workload]:
        return self._workload, self._workload

    def _explained(self, one: Profile, other: Profile) -> Explanation | None:
        """None where nothing can be concluded."""
        found = explain(one, other, self._both)
        if found.disturbed:
            self.disturbed += 1
            return None
        return found

    def _profiles(self, name: str, backends: Sequence[str]) -> dict[str, Profile]:
        """Those of a group; none where they would end too late."""
        path = self._arguments.folder / f"{name}.json"
        begin_s = time.monotonic()
        is_late = begin_s + self._longest_s > self._end_s
        if self.is_over or (is_late and not path.exists()):
            self.is_over = True
            return {}
        found = profiles(self._arguments, path, backends)
        took_s = time.monotonic() - begin_s
        self._longest_s = max(self._longest_s, took_s)
        print(f"{name}: {len(found)} rows, {took_s:.0f} s", flush=True)
        return found

    def tell(self) -> bool:
        """Prints what was found; whether it is as it should be."""
        wrong = [each for each in self.same if each.told]
        missed = [each for each in self.planted if not each.is_right]
        outside = [each for each in self.planted if not each.is_inside]
        count, wanted = len(self.planted), self._arguments
        print()
        for each in self.planted:
            print(each.line())
        for pair in wrong:
            print(pair.line())
        print(
            f"\nsame code: a part is called different in {len(wrong)} of {len(self.same)} comparisons"
            f" ({wanted.same} wanted, none of them)\n"
            f"planted: the right layer alone in {count - len(missed)} of {count},"
            f" the delay in its interval in {count - len(outside)} of {count} ({wanted.planted} wanted,"
            f" {LEAST_FOUND:.0%} of each)\n"
            f"disturbed, and not counted: {self.disturbed}"
        )
        most_missed = math.floor((1 - LEAST_FOUND) * count + 1e-9)
        is_whole = len(self.same) >= wanted.same and count >= wanted.planted
        is_right = not wrong and max(len(missed), len(outside)) <= most_missed
        print(
            "as it should be"
            if is_right and is_whole
            else "not as it should be"
            if not is_right
            else "so far as it should be, but not all were made: the same command goes on"
        )
        return is_right and is_whole


def main() -> None:
    """Makes what is not there yet, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="where profiles stay")
    parser.add_argument("--same", type=int, default=40, help="comparisons of the same code")
    parser.add_argument("--planted", type=int, default=20, help="delays")
    parser.add_argument("--minutes", type=float, default=20.0, help="the most that it may take")
    parser.add_argument("--suite", default="cnn-mnist")
    parser.add_argument("--budget", type=float, default=12.0, help="seconds for a row's ladder")
    parser.add_argument("--seed", type=int, default=0, help="what delays are drawn from")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(FIXTURES))
    trials = Trials(arguments)
    trials.make()
    if not trials.tell():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
