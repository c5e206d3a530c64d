"""Cases of a suite as benchmarks of pytest-benchmark.

A test marked ``dlbench`` that takes the fixture ``dlbench_case`` becomes one test for each case of
its suite. The cases are measured as by `dlbench run`, in fresh processes and in rounds over all that
were chosen, and what came of it is replayed to pytest-benchmark, so that its table, files and
comparisons hold dlbench's figures.

pytest loads this module wherever dlbench is installed, so nothing is imported until a test asks for
it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dlbench.analyse.outcomes import Outcome
    from dlbench.plan.request import Request
    from dlbench.record.case import Case

Found = tuple["Outcome | None", dict[str, Any]]
"""What became of a case, and what a benchmark's extra_info is to say of it."""

MARK = "dlbench"
FIXTURE = "dlbench_case"
OTHERS = ("suite", "threads", "seed", "data")
MEASURING = ("rounds", "budget_s")
_STORE = pytest.StashKey[dict[tuple["Settings", "Case | None"], "Mapping[Case, Found]"]]()
_HELP = (
    f"{MARK}(suite, backends=, devices=, modes=, precisions=, scenarios=, batches=, worlds=, inputs=, threads=,"
    f" seed=, data=, rounds=, budget_s=): measure the cases of a dlbench suite; the test takes the fixture {FIXTURE}"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What tests share that are measured together: the arguments of the mark but the selection."""

    suite: str
    threads: int | None = None
    seed: int = 0
    data: str | None = None
    rounds: int = 3
    budget_s: float = 6.0


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One case of a suite, as far as its file tells: what the test is parametrized with."""

    settings: Settings
    case: Case

    @property
    def label(self) -> str:
        """As in every report, without a mode where none is chosen: ``torch:cpu/train/64``."""
        return self.case.label


class Replay:
    """A timer that, read before and after each round, makes the rounds last what they lasted in the
    workers."""

    __name__ = "dlbench.replay"

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._now_s = 0.0
        self._inside = False

    def load(self, times_s: list[float]) -> None:
        """Sets the rounds to come (s)."""
        self._times_s, self._now_s, self._inside = list(times_s), 0.0, False

    def __call__(self) -> float:
        """The time that has passed (s)."""
        if self._inside:
            # counted from zero each round, so that no digits are lost to a growing sum
            self._now_s = self._times_s.pop(0)
        else:
            self._now_s = 0.0
        self._inside = not self._inside
        return self._now_s


def pytest_configure(config: pytest.Config) -> None:
    """Makes the mark known."""
    config.addinivalue_line("markers", _HELP)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case of the mark's suite."""
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is None:
        return
    where = metafunc.definition.nodeid
    if FIXTURE not in metafunc.fixturenames:
        raise pytest.Collector.CollectError(
            f"{where} is marked {MARK} but does not take the fixture {FIXTURE}, so nothing would be"
            f" measured: add {FIXTURE} to its arguments"
        )
    if not metafunc.config.pluginmanager.has_plugin("benchmark"):
        raise pytest.Collector.CollectError(
            f"{where} is marked {MARK}, which needs pytest-benchmark: pip install 'dlbench[pytest]'"
        )
    cases = parameters(where, mark)
    metafunc.parametrize(FIXTURE, cases, ids=[case.label for case in cases], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each case its timer and its group, where pytest-benchmark looks for them."""
    for item in items:
        case = _parameter(item)
        if case is None:
            continue
        own = item.get_closest_marker("benchmark")
        options: dict[str, Any] = {
            "group": f"{case.settings.suite} {case.case.scenario}, batch {case.case.batch}",
            **(own.kwargs if own else {}),
            "timer": Replay(),
        }
        item.add_marker(pytest.mark.benchmark(**options), append=False)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Names what an earlier file has and this session has not: pytest-benchmark compares what is
    there and says nothing of the rest."""
    for name in _vanished(config):
        terminalreporter.write_line(
            f"dlbench: {name} is in the earlier file and was not measured now: was it renamed?",
            yellow=True,
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A session that is to fail on slowdowns fails on what it could not compare, too."""
    if exitstatus == 0 and session.config.getoption("benchmark_compare_fail", None):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if _vanished(session.config) else 0


@pytest.fixture
def dlbench_case(request: pytest.FixtureRequest, benchmark: Any) -> Outcome:
    """What became of the case: `dlbench.analyse.outcomes.Outcome`, with the figures in seconds.

    The test fails when the case is not verified or went wrong, and is skipped, with what would help,
    when it cannot run here. With ``--benchmark-disable`` cases are verified and not timed.
    """
    case = getattr(request, "param", None)
    if not isinstance(case, Parameter):
        pytest.fail(
            f"{request.node.nodeid} takes the fixture {FIXTURE} but is not marked with a suite: add"
            f' @pytest.mark.{MARK}(suite="ci")',
            pytrace=False,
        )
    benchmark.params = {**(benchmark.params or {}), FIXTURE: case.label}
    # lest pytest-benchmark complain that it was not used, when there is no figure to use it for
    benchmark.skipped = True
    outcome, extra = _measured(request, case, timed=not benchmark.disabled)
    if outcome is None:
        pytest.fail(f"{case.label} was not measured", pytrace=False)
    if outcome.status == "skipped":
        from dlbench.text import why

        pytest.skip(f"{case.label}: {why(outcome.reason, outcome.remedy)}")
    if outcome.status != "ok":
        pytest.fail(f"{case.label} is {outcome.status}: {outcome.reason}", pytrace=False)
    benchmark.extra_info.update(extra)
    times_s = list(outcome.medians_s.values())
    if not times_s and not benchmark.disabled:
        pytest.fail(f"{case.label} has no timing: rounds is {case.settings.rounds}", pytrace=False)
    request.node.get_closest_marker("benchmark").kwargs["timer"].load(times_s)
    benchmark.pedantic(_nothing, rounds=len(times_s) or 1)
    return outcome


def parameters(where: str, mark: pytest.Mark) -> list[Parameter]:
    """The cases that a mark stands for, from the suite's file alone.

    Raises
    ------
    pytest.Collector.CollectError : the mark or the suite cannot be carried out.
    """
    from dlbench.errors import DlbenchError
    from dlbench.record.case import SELECTED, product
    from dlbench.spec.suite import load_suite

    given: dict[str, Any] = {**dict(zip(("suite",), mark.args, strict=False)), **mark.kwargs}
    selections = [axis.plural for axis in SELECTED]
    unknown = sorted(given.keys() - {*selections, *OTHERS, *MEASURING})
    if unknown or len(mark.args) > 1 or "suite" not in given:
        wrong = f"does not know {', '.join(unknown)}" if unknown else "needs a suite"
        raise pytest.Collector.CollectError(f"{where}: the mark {MARK} {wrong}: {_HELP}")
    selection = {name: given.pop(name) for name in selections if name in given}
    try:
        matrix = load_suite(given["suite"]).matrix
    except DlbenchError as error:
        raise pytest.Collector.CollectError(f"{where}: {error}") from None
    settings = Settings(**given)
    chosen: dict[str, Any] = {"suite": [settings.suite], "threads": [settings.threads or 0]}
    for axis in SELECTED:
        words = selection.get(axis.plural)
        if words is None:
            words = getattr(matrix, axis.plural, (axis.default,))
        if isinstance(words, str):
            raise pytest.Collector.CollectError(f"{where}: {axis.plural}={words!r} must be a list")
        if not words:
            text = f"{where}: {axis.plural} is empty, so there is no case"
            raise pytest.Collector.CollectError(text)
        chosen[axis.name] = words
    return [Parameter(settings, case) for case in product(chosen)]


def _vanished(config: pytest.Config) -> list[str]:
    """Cases of dlbench in the earlier files of ``--benchmark-compare`` that are not in this
    session."""
    benchmarks: Any = config.pluginmanager.get_plugin("pytest-benchmark")
    if benchmarks is None:
        return []
    now = {benchmark.fullname for benchmark in benchmarks.benchmarks}
    earlier = [
        name
        for file in (benchmarks.compared_mapping or {}).values()
        for name, found in file.items()
        if MARK in (found.get("extra_info") or {})
    ]
    return [name for name in dict.fromkeys(earlier) if name not in now]


def _parameter(item: pytest.Item) -> Parameter | None:
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get(FIXTURE) if callspec else None
    return case if isinstance(case, Parameter) else None


def _measured(request: pytest.FixtureRequest, case: Parameter, timed: bool) -> Found:
    """What became of a case; the first test that asks has all chosen cases measured, together."""
    from dlbench.errors import UsageError
    from dlbench.record.case import find_case

    session, shared = request.session, hasattr(request.config, "workerinput")
    if timed and shared:
        # pytest-benchmark disables itself there, so that this is not reached unless it ceases to
        pytest.fail(
            "dlbench measures in one process at a time: -n 0, or -p no:xdist", pytrace=False
        )
    store = session.stash.setdefault(_STORE, {})
    # of the processes of pytest-xdist each has all tests, but carries out its own
    key = (case.settings, case.case if shared else None)
    if key not in store:
        found = (each for each in map(_parameter, session.items) if each)
        alike = dict.fromkeys(each.case for each in found if each.settings == case.settings)
        chosen = [case.case] if shared else list(alike)
        store[key] = dict(_run(chosen, case.settings, timed))
    measured = store[key]
    try:
        return measured[find_case(case.label, measured, "choose with modes=")]
    except UsageError as error:
        pytest.fail(f"{case.label}: {error}", pytrace=False)


def _run(cases: list[Case], settings: Settings, timed: bool) -> Iterator[tuple[Case, Found]]:
    from dlbench.analyse.outcomes import outcomes
    from dlbench.compare.from_pytest_benchmark import extra_info
    from dlbench.errors import DlbenchError
    from dlbench.execute.runner import run
    from dlbench.host.scratch import scratch
    from dlbench.record.file import Writer, read_record

    with scratch() as folder:
        path = folder / "record.jsonl"
        writer = Writer(path)
        try:
            end = run(_request(cases, settings, timed), writer)
        except DlbenchError as error:
            pytest.fail(f"dlbench: {error}", pytrace=False)
        finally:
            writer.close()
        if end.status == "interrupted":
            raise KeyboardInterrupt
        record = read_record(path)
        for outcome in outcomes(record):
            extra = extra_info(outcome, record.header) if outcome.medians_s else {}
            yield outcome.case, (outcome, extra)


def _request(cases: list[Case], settings: Settings, timed: bool) -> Request:
    from dlbench.host.machine import look
    from dlbench.paths import cache_dir, max_wait_s, timeout_s
    from dlbench.plan.request import Request
    from dlbench.record.case import SELECTED
    from dlbench.spec.suite import load_suite
    from dlbench.telemetry.device import gpu_names

    chosen: dict[str, Any] = {
        axis.plural: tuple(
            dict.fromkeys(filter(None, (getattr(case, axis.name) for case in cases)))
        )
        for axis in SELECTED
    }
    return Request(
        suite=load_suite(settings.suite),
        machine=look(gpu_names()),
        cache_dir=cache_dir(),
        **chosen,
        threads=settings.threads,
        seed=settings.seed,
        data=settings.data,
        rounds=settings.rounds if timed else 0,
        budget_s=settings.budget_s,
        patience_s=max_wait_s(),
        limit_s=timeout_s(),
    )


def _nothing() -> None:
    """What pytest-benchmark calls while the replayed time passes."""
