"""What a GPU check measures, in which order: parts, each a run of its own with NumPy on the CPU as its baseline."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from dlbench.plan.backend_status import Found
from dlbench.plan.cases import plan
from dlbench.plan.request import ALL, PRECISIONS, Request
from dlbench.record.schema import Case, Header, Machine, Scenario
from dlbench.spec.suite import load_suite

BASELINE = "numpy"


@dataclasses.dataclass(frozen=True)
class Part:
    """One run: a suite at one or more batch sizes, every backend on the device that is its own.

    Attributes
    ----------
    suite : a name, or a suite's file.
    batches : several in one run show from which on the GPU is faster.
    precision : NumPy has fp32 only, so parts of other precisions are without it.
    scenarios : ``train``, ``infer``.
    """

    suite: str
    batches: tuple[int, ...]
    precision: str = PRECISIONS[0]
    scenarios: tuple[Scenario, ...] = ("train", "infer")

    @property
    def label(self) -> str:
        """What messages call it."""
        *others, last = map(str, self.batches)
        sizes = f"{', '.join(others)} and {last}" if others else last
        words = {"train": ", training", "infer": ", inference"}
        only = words[self.scenarios[0]] if len(self.scenarios) == 1 else ""
        beside = "" if self.precision == PRECISIONS[0] else f" in {self.precision}"
        return f"{Path(self.suite).stem} at batch {sizes}{beside}{only}"

    def is_of(self, header: Header) -> bool:
        """Whether a record is of this part."""
        ways = {(case.batch, case.precision, case.scenario) for case in header.cases}
        own = itertools.product(self.batches, [self.precision], self.scenarios)
        return header.suite == Path(self.suite).stem and ways == set(own)


PARTS = (
    # what the backends are judged by; small, so that even a slice of a few minutes completes it
    Part("cnn-mnist", (64,), scenarios=("train",)),
    # batch normalisation and depth, at the suite's own batch size
    Part("resnet-cifar10", (128,), scenarios=("train",)),
    # a sweep in one run, between what a launch costs and what arithmetic does
    Part("cnn-mnist", (1, 8, 64, 512)),
    # many small layers
    Part("cnn-cifar10", (32,), scenarios=("train",)),
    # tensor cores; a backend without it has a row that says so
    Part("cnn-mnist", (64,), "tf32", ("train",)),
    Part("vgg-cifar10", (128,), scenarios=("train",)),
    # where fewer backends leave room within the most cases
    Part("cnn-mnist", (512,), "tf32", ("train",)),
    Part("resnet-cifar10", (128,), scenarios=("infer",)),
    Part("cnn-cifar10", (32,), scenarios=("infer",)),
)
"""The most important first."""
_IN_FIRST_PARTS = {"cudnn": 2}
"""Backends that are measured in so many parts alone, since others need the time: what a row of cuDNN tells is where the
library stands between what uses it and what does not."""


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes
    ----------
    rounds : fresh processes a case.
    seconds : sampling time of each; three times the default is long enough for the energy counter and the utilisation.
    most_cases : in all.
    patience_s : time to wait, in each part, for a machine that others use; as of `dlbench run`.
    """

    rounds: int = 3
    seconds: float = 1.5
    most_cases: int = 68
    patience_s: float = 12.0


@dataclasses.dataclass(frozen=True)
class Planned:
    """A part with its request and the cases that it will come to."""

    part: Part
    request: Request
    cases: tuple[Case, ...]


def with_gpu(found: Mapping[str, Found]) -> list[str]:
    """The backends that have a CUDA device here, in their order."""
    return [
        name
        for name, seen in found.items()
        if seen.status == "ok" and seen.device("cuda") is not None
    ]


def planned(
    found: Mapping[str, Found],
    machine: Machine,
    cache_dir: Path,
    parts: Sequence[Part] = PARTS,
    extent: Extent = Extent(),
) -> list[Planned]:
    """The parts to run, given what was found about each backend: the most important first, within the most cases.

    A backend that cannot use a GPU here is asked for in the first part only, which so has a row of it on the CPU, or
    the reason why there is none. A part that would go beyond the most cases is left out; a smaller one behind it may
    still fit.

    Raises
    ------
    SuiteError : a part's suite is none.
    """
    on_gpu = with_gpu(found)
    everything = [BASELINE, *on_gpu, *(n for n in found if n != BASELINE and n not in on_gpu)]
    chosen: list[Planned] = []
    left = extent.most_cases
    for number, part in enumerate(parts):
        measured = [name for name in on_gpu if number < _IN_FIRST_PARTS.get(name, len(parts))]
        own = measured if part.precision != PRECISIONS[0] else [BASELINE, *measured]
        backends = own if number else everything
        request = Request(
            modes=(ALL,),
            suite=load_suite(part.suite),
            machine=machine,
            cache_dir=cache_dir,
            backends=tuple(backends),
            own_device=True,
            precisions=(part.precision,),
            batches=part.batches,
            scenarios=part.scenarios,
            rounds=extent.rounds,
            patience_s=extent.patience_s,
        )
        # the size of the training part matters to trainings alone, and there are none
        whole = plan(request, found, 0)
        if len(whole.cases) > left:
            continue
        left -= len(whole.cases)
        budget_s = extent.seconds * extent.rounds
        chosen.append(Planned(part, dataclasses.replace(request, budget_s=budget_s), whole.cases))
    return chosen
