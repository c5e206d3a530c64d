"""In what two records differ, so that figures of unlike runs are neither pooled nor compared unsaid: the one place
that knows which values make two machines, data sets, environments or samplings alike.

A difference names both values, because that is what lets a person undo it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlbench.record.facts import Environment
from dlbench.record.schema import Case, Data, Header, Machine
from dlbench.spec.scenarios import NO_LOAD
from dlbench.text import one_line, plural, seconds

MACHINE = ("cpu", "physical cores", "logical cores", "usable cores", "memory")
"""Facts of a machine: where one side knows another than none, they may be two machines."""
LISTED = "all packages"
"""How the versions begin that stand for whole lists of packages."""
SAMPLED_FACTOR = 2
"""How many times as long one side may be sampled without a word about it."""
_UNKNOWN = "unknown"
_CALLED = {"cpu": "the CPU", "memory": "memory", "gpus": "the GPU"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """A field in which two sides are unlike, a record and now, or the base and the new one of a comparison; `case` is
    empty when it concerns all."""

    field: str
    base: str
    new: str
    case: str = ""

    def __str__(self) -> str:
        return self.between("the record", "now")

    def between(self, base: str, new: str) -> str:
        """The difference in words, with the names of the two sides."""
        where = new if new == "now" else f"in {new}"
        return f"{self.field} is {self.base} in {base} and {self.new} {where}"


@dataclasses.dataclass(frozen=True)
class Sampled:
    """How much of a case was timed: processes, and seconds in all of them."""

    processes: int
    seconds: float

    def __str__(self) -> str:
        return f"{seconds(self.seconds)} in {plural(self.processes, 'process')}"

    def alike(self, other: Sampled) -> bool:
        """Whether two samplings are alike enough to say nothing."""
        low, high = sorted((self.seconds, other.seconds))
        return self.processes == other.processes and high <= SAMPLED_FACTOR * low


def sampling_note(pairs: Sequence[tuple[str, Sampled, Sampled]], base: str, new: str) -> str:
    """That cases, by label, were not sampled alike on two sides, with the figures of the one that differs most; empty
    when all were."""
    unlike = [each for each in pairs if not each[1].alike(each[2])]
    if not unlike:
        return ""
    label, was, now = max(unlike, key=_apart)
    return (
        f"not sampled alike in {len(unlike)} of {plural(len(pairs), 'case')}: {label} {was} in {base}, {now} in {new};"
        " short samples end before clocks and caches settle"
    )


def between(what: str, recorded: Any, now: Any) -> list[Difference]:
    """The difference between two values that can be shown as they are; none when they are equal."""
    return [] if recorded == now else [Difference(what, _shown(recorded), _shown(now))]


def differing(base: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    """The fields that both sides know and in which they differ."""
    return [
        Difference(field, was, new[field])
        for field, was in base.items()
        if new.get(field, was) != was
    ]


def unlike(base: Header, new: Header) -> list[Difference]:
    """In which facts two records differ, so that their figures are not to be compared."""
    loads = (_load(each) if each.load else {} for each in (base, new))
    return [*differing(_facts(base), _facts(new)), *differing(*loads)]


def facts_of(header: Header) -> dict[str, str]:
    """What must be alike in two records: machine, data, workload and seed, as far as it is known."""
    return {field: fact for field, fact in _facts(header).items() if fact != _UNKNOWN}


def workload_fact(suite: str, digest: str) -> str:
    """A workload as `facts_of` tells it: ``cnn-mnist 0123456789ab``."""
    return one_line(f"{suite} {digest[:12]}")


def facts_of_case(header: Header, case: Case) -> dict[str, str]:
    """What must be alike of a case besides: of a server what it was asked, of a training to a target which."""
    if not case.has_steps:
        return {"target accuracy": str(header.target_accuracy)}
    return _load(header) if case.scenario == "server" else {}


def versions_of(header: Header) -> dict[str, str]:
    """Versions of packages, Python and the kernel; of a backend with an interpreter of its own, under its name."""
    machine = header.machine
    versions = {"system": machine.system, "python": machine.python} | machine.packages
    for backend, found in header.environments.items():
        there = {"python": found.python, LISTED: package_list(found)} | found.packages
        # what contradicts nothing is the runner's own, where each backend names other packages
        alike = all(versions.get(name, version) == version for name, version in there.items())
        which = "" if alike else f" of {backend}"
        versions |= {f"{name}{which}": version for name, version in there.items()}
    return versions


def machines(recorded: Machine, now: Machine) -> list[Difference]:
    """In what two machines differ, with the versions of the packages that are installed there."""
    found = [
        dataclasses.replace(each, field=_CALLED.get(each.field, f"the number of {each.field}"))
        for each in differing(_hardware(recorded), _hardware(now))
    ]
    found += between("the system", recorded.system, now.system)
    found += between("Python", recorded.python, now.python)
    return [*found, *_packages(recorded, now)]


def environments(backend: str, recorded: Environment, now: Environment) -> list[Difference]:
    """In what the environments of a backend's workers differ. Their lists of packages are named where no package
    with a recorded version tells them apart."""
    found = [
        *between(f"the Python of {backend}", recorded.python, now.python),
        *_packages(recorded, now, f" of {backend}"),
    ]
    if found or recorded.packages_digest == now.packages_digest:
        return found
    return [
        Difference(f"the list of packages of {backend}", package_list(recorded), package_list(now))
    ]


def package_list(environment: Environment) -> str:
    """A list of packages as its number and the beginning of its digest: ``84 packages (3f2a91c0)``."""
    return f"{plural(environment.package_count, 'package')} ({environment.packages_digest[:8]})"


def data(recorded: Data, now: Data) -> list[Difference]:
    """Whether two data sets have the same contents."""
    if recorded.fingerprint == now.fingerprint:
        return []
    return [Difference("the data", _contents(recorded), _contents(now))]


def weights(recorded: str, now: str) -> list[Difference]:
    """Whether rows begin with the same weights, by their digests; an empty one stands for those of the seed."""
    told = (digest[:12] or "drawn from the seed" for digest in (recorded, now))
    return [] if recorded == now else between("what the weights begin with", *told)


def sentence(differences: Iterable[Difference]) -> str:
    """All of them, one after the other."""
    return "; ".join(map(str, differences))


def _apart(pair: tuple[str, Sampled, Sampled]) -> float:
    low, high = sorted((pair[1].seconds, pair[2].seconds))
    return high / max(low, 1e-9)


def _facts(header: Header) -> dict[str, str]:
    return _hardware(header.machine) | {
        "data": one_line(f"{header.data.name} {header.data.fingerprint[:12]}"),
        "workload": workload_fact(header.suite, header.workload_digest),
        # also the weights that rows began with: those of the seed, unless they came from a file
        "seed": f"{header.seed}{began_with(header)}",
    }


def began_with(header: Header) -> str:
    """The weights from a file that rows began with, as it follows the seed; empty for those of the seed."""
    digest = one_line(header.weights_digest[:12])
    return f" from the weights {digest}" if digest else ""


def _load(header: Header) -> dict[str, str]:
    load = header.load or NO_LOAD
    rate = None if load.rate_per_s is None else f"{load.rate_per_s:g} queries/s"
    bound = None if load.bound_s is None else f"p{load.percent} within {seconds(load.bound_s)}"
    return {"load": ", ".join(filter(None, (rate, bound)))}


def _hardware(machine: Machine) -> dict[str, str]:
    """A machine by what its figures depend on; memory in whole GiB, since the kernel keeps a part that is not the same
    after each start."""
    memory_bytes = machine.memory_bytes
    known = {
        "cpu": machine.cpu,
        "physical cores": machine.physical_cores,
        "logical cores": machine.logical_cores,
        "usable cores": machine.usable_cores,
        "memory": None if memory_bytes is None else f"{memory_bytes / 2**30:.0f} GiB",
        "gpus": ", ".join(machine.gpus) or "none",
    }
    return {field: one_line(_shown(value)) for field, value in known.items()}


def _contents(data: Data) -> str:
    return f"{data.source or data.name} ({data.fingerprint[:12]})"


def _packages(
    recorded: Machine | Environment, now: Machine | Environment, of: str = ""
) -> list[Difference]:
    found: list[Difference] = []
    # what is in the record alone may be a package that nobody looks for any more; a list's digest tells the rest
    for name in sorted(now.packages):
        versions = (where.packages.get(name, "not installed") for where in (recorded, now))
        found += between(f"the package {name}{of}", *versions)
    return found


def _shown(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)
