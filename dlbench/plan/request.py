"""What a run is asked for: a suite, and what is chosen of it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dlbench import plugins
from dlbench.plan.rounds import LEAST_PROCESSES
from dlbench.plan.sizes import swept_batches
from dlbench.record.case import AXES
from dlbench.record.schema import Machine
from dlbench.record.shards import Shard
from dlbench.spec.precision import POLICIES
from dlbench.spec.scenarios import KINDS, NO_LOAD, Load, Scenario
from dlbench.spec.suite import Suite
from dlbench.worker.interpreters import labelled

PRECISIONS = tuple(POLICIES)
"""The first is what is asked for where nothing is said."""

ALL = "all"
"""Asks for every mode, or every precision, of each backend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be run. An empty selection stands for the suite's own.

    Attributes
    ----------
    suite : the suite.
    machine : where this runs; its usable cores are the default number of threads.
    cache_dir : where fetched data and the oracle's results are kept.
    backends : names, or ``module:Class``.
    devices : ``cpu``, ``cuda``, ``cuda:N`` or ``cuda:`` and a UUID.
    own_device : each backend on one device alone, a GPU where it has one, whatever `devices` and the suite say.
    modes : in the backends' own words, `ALL` for every one; empty for each backend's first.
    best : of these modes, or of all where none is named, only the fastest that is right is measured in full, chosen by
        a short trial of each; see `dlbench.execute.stages.choosing`.
    precisions : in the backends' own words, `ALL` for every one; empty for ``fp32``.
    worlds : numbers of ranks that share each batch of a training; empty for one process.
    inputs : where the batches of trainings come from, ``resident`` or ``streamed``; empty for ``resident``.
    scenarios, batches, threads, seed : the rest of the selection.
    rounds : measuring processes a case; 0 verifies only.
    target_interval : measure on until every interval is at most ± this share of its value; None for just the
        rounds.
    budget_s : time for sampling of each row, shared by its processes.
    patience_s : time to wait in all for a machine that others use.
    epochs : length of trainings from the initial weights; 0 for none.
    target_accuracy : the share of right answers on the validation part with which a training ends before; None for
        none.
    seeds : of the scenario ``converge``, from how many seeds it is trained: `seed` and those that follow it.
    profile_s : time for the ladder of each row, which tells what each layer costs; 0 for none.
    profile_inside : whether the ladder goes through what residual and concat blocks hold.
    init_weights : a file of safetensors with the weights that every row begins with; None for those of the seed.
    save_weights : a folder for the weights that trainings end with, or a file for those of one; None for none.
    data : a data set instead of the suite's.
    data_dir : a folder with the data set's files.
    baseline : the ``backend:device`` that speed-ups are to refer to, which must be among the cases; None for
        any.
    pythons : interpreters of backends that do not run under this one; a name with a label is a backend to run.
    limit_s : the longest a worker may go without progress, on top of its share of the budget; a phase with progress
        may take ten times as long.
    telemetry_period_s : time between two samples of device and host while a case is timed; 0 for none.
    energy : whether the energy of trainings is to be told; where that cannot be, nothing is run.
    load : what the scenario ``server`` is asked.
    shard : the part of the run that is to be measured, whose batch sizes are then all that `batches` names; None for
        all of it. node : the machine, by a digest that tells it from others.
    """

    suite: Suite
    machine: Machine
    cache_dir: Path
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    own_device: bool = False
    modes: tuple[str, ...] = ()
    best: bool = False
    precisions: tuple[str, ...] = ()
    worlds: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    batches: tuple[int, ...] = ()
    threads: int | None = None
    seed: int = 0
    rounds: int = 3
    target_interval: float | None = None
    budget_s: float = 6.0
    patience_s: float = 12.0
    epochs: int = 0
    target_accuracy: float | None = None
    seeds: int = 3
    profile_s: float = 0.0
    profile_inside: bool = False
    init_weights: Path | None = None
    save_weights: Path | None = None
    data: str | None = None
    data_dir: Path | None = None
    baseline: str | None = None
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit_s: float = 180.0
    telemetry_period_s: float = 0.05
    energy: bool = False
    shard: Shard | None = None
    node: str = ""
    load: Load = NO_LOAD

    @property
    def all_rounds(self) -> int:
        """Rounds over all cases; intervals that are to be narrow need some processes."""
        return max(self.rounds, LEAST_PROCESSES) if self.target_interval else self.rounds

    @property
    def chosen_threads(self) -> int:
        """CPU threads of every case."""
        return self.threads or self.machine.usable_cores

    @property
    def chosen_backends(self) -> tuple[str, ...]:
        """The backends to run, each once."""
        named = self.backends or self.suite.matrix.backends or plugins.adapter_names()
        return tuple(dict.fromkeys((*named, *labelled(self.pythons))))

    def batches_of(self, scenario: Scenario) -> tuple[int, ...]:
        """The batch sizes of a scenario, each once."""
        kind = KINDS[scenario]
        if self.batches:
            return tuple(dict.fromkeys(self.batches))
        if kind.sweeps:
            return self._swept
        return (kind.batch,) if kind.batch else tuple(dict.fromkeys(self.suite.matrix.batches))

    @functools.cached_property
    def _swept(self) -> tuple[int, ...]:
        return swept_batches(self.suite.workload, self.machine.memory_bytes)

    @property
    def chosen_scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios to run."""
        return self.scenarios or cast(tuple[Scenario, ...], self.suite.matrix.scenarios)

    @property
    def converges(self) -> bool:
        """Whether something is trained to a target."""
        return not all(KINDS[each].has_steps for each in self.chosen_scenarios)

    @property
    def chosen_precisions(self) -> tuple[str, ...]:
        """The arithmetic to run in."""
        return self.precisions or PRECISIONS[:1]

    def selections(self) -> Iterator[tuple[str, dict[str, Sequence[Any]]]]:
        """What is chosen of each axis, for one batch size and backend after the other, in the order of the run."""
        chosen: dict[str, Sequence[Any]] = {
            axis.name: getattr(self, axis.plural)
            or getattr(self.suite.matrix, axis.plural, ())
            or (axis.default,)
            for axis in AXES
            if axis.plural
        }
        chosen |= {"suite": (self.suite.name,), "threads": (self.chosen_threads,)}
        for batch, backend in itertools.product(self.chosen_batches, self.chosen_backends):
            having = [each for each in self.chosen_scenarios if batch in self.batches_of(each)]
            own = {"batch": (batch,), "backend": (backend,), "scenario": having}
            yield backend, {**chosen, **own}

    @property
    def chosen_batches(self) -> tuple[int, ...]:
        """The batch sizes to run, each once: those of all scenarios."""
        own = map(self.batches_of, self.chosen_scenarios)
        return tuple(dict.fromkeys(itertools.chain(*own)))
