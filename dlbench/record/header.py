"""The lines of a record that say of what, when and where the others are: of a run, of a part that was merged in, of one
that was resumed."""

from __future__ import annotations

from typing import Any

import msgspec

from dlbench.record.bounded import Amount, Count, Seconds, Share
from dlbench.record.case import Case
from dlbench.record.facts import Environment
from dlbench.record.shards import Shard
from dlbench.spec.scenarios import Load


class Machine(msgspec.Struct, frozen=True):
    """Where it ran. A field that could not be read is None, never 0."""

    cpu: str | None
    physical_cores: Count | None
    logical_cores: Count | None
    usable_cores: Count
    memory_bytes: Count | None
    gpus: tuple[str, ...]
    system: str
    python: str
    packages: dict[str, str]


class Data(msgspec.Struct, frozen=True):
    """Which data was used; results on different fingerprints are never compared."""

    name: str
    source: str
    fingerprint: str
    stand_in: bool


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where what a run was of lay, as it was named, with the user's home as ``~``: the `suite`'s file and the
    folder of its data, the file that weights were taken from; the backends whose interpreters were named, and never
    where these are. Empty where none was named."""

    suite: str = ""
    data_dir: str = ""
    init_weights: str = ""
    pythons: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The options that name all but the suite."""
        named = (("--data-dir", self.data_dir), ("--init-weights", self.init_weights))
        pythons = [("--python", f"{name}=PATH") for name in self.pythons]
        return [word for option, value in (*named, *pythons) if value for word in (option, value)]


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="kind"):
    """First line of a record: what was to be run, and where; by backend `environments`, of those that could be asked,
    and `titles`, what people call them. `budget_s` is the time for sampling in all, `row_budget_s` that of each row,
    None in records of earlier versions, whose rows shared the whole. `baseline` is the row whose ratios
    `target_interval` is about, where one was named; `profile_s` the time for each ladder, 0 where there are none, and
    `profile_inside` whether these go through what blocks hold; `target_accuracy` the validation accuracy with which a
    training ends before its `epochs` are over, None for none; `seeds` from how many, `seed` and those that follow it, a
    case of the scenario ``converge`` is trained, 0 where there is none.
    `patience_s` and `telemetry_period_s` are None where an earlier version did not write them. With `best` the cases
    are all modes that were to be tried; see `Choice`. `shard` is the part of a run that the record is, `node` the
    machine by a digest that tells it from others and not which it is; empty in records of earlier versions. `load` is
    what the scenario ``server`` is asked, None where no case has it. `weights_digest` is of the weights that every row
    began with, where these came from a file; empty for those of the seed. `given` has nothing in records of earlier
    versions."""

    schema: int
    created: str
    dlbench: str
    suite: str
    description: str
    workload: dict[str, Any]
    workload_digest: str
    parameter_count: Count
    forward_flops: Count
    training_flops: Count
    data: Data
    seed: int
    rounds: Count
    budget_s: Seconds
    machine: Machine
    cases: tuple[Case, ...]
    epochs: Count = 0
    target_interval: Amount | None = None
    environments: dict[str, Environment] = {}
    titles: dict[str, str] = {}
    patience_s: Seconds | None = None
    telemetry_period_s: Seconds | None = None
    row_budget_s: Seconds | None = None
    baseline: str | None = None
    best: bool = False
    profile_s: Seconds = 0.0
    profile_inside: bool = False
    target_accuracy: Share | None = None
    seeds: Count = 0
    shard: Shard | None = None
    node: str = ""
    load: Load | None = None
    weights_digest: str = ""
    given: Given = Given()

    @property
    def suite_word(self) -> str:
        """What names the suite on a command line."""
        return self.given.suite or self.suite

    @property
    def source_words(self) -> list[str]:
        """The options that name the data, and the places of everything that is read."""
        name, has_word = self.data.name, self.data.name != "linear"
        if name.startswith("stand-in-") or (self.data.stand_in and name in ("mnist", "cifar10")):
            name = "stand-in"
        return [*(("--data", name) if has_word else ()), *self.given.words()]


class Part(msgspec.Struct, frozen=True, tag="part", tag_field="kind"):
    """Begins what another record brought into a merged one: which machine wrote it, when, and which shard it is. Its
    run was to have so many `rounds`, and their numbers have got `rounds_before` added, so that no two of different runs
    have the same."""

    node: str
    created: str
    machine: Machine
    shard: Shard | None = None
    rounds_before: Count = 0
    rounds: Count = 0


class Resumed(msgspec.Struct, frozen=True, tag="resumed", tag_field="kind"):
    """First line of what was added to a record that had been cut off."""

    created: str
    dlbench: str
