"""What the commands do, as functions: the same requests, carried out by the same code, with results as objects.

They print nothing. What is wrong with what was asked for is a `dlbench.DlbenchError`, in the words of the command
line; what goes wrong with a case is in the results. An interrupt (Ctrl-C, a notebook's stop button) keeps what was
measured and is raised as `Interrupted`. They may be called wherever Python code may, a running event loop included, and
block until the run has ended; backends run in processes of their own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench import paths
from dlbench.api.arguments import (
    Place,
    Words,
    asked,
    files,
    interpreters,
    place,
    selected,
    several,
    weights,
)
from dlbench.api.asking import request_of
from dlbench.api.carrying_out import Work, carry_out, new_run, rest_of
from dlbench.api.progress import Progress, Telling
from dlbench.api.reading import read_all
from dlbench.api.results import Results
from dlbench.errors import UsageError
from dlbench.execute.events import Observer
from dlbench.spec.scenarios import Load
from dlbench.spec.suite import Suite
from dlbench.text import plural

if TYPE_CHECKING:
    from dlbench.api.compared_sides import Comparison
    from dlbench.plan.request import Request

Listener = Callable[[Progress], Any]


class Interrupted(KeyboardInterrupt):
    """A run that was interrupted. What was measured until then is kept.

    Attributes
    ----------
    path : the record; None where nothing was measured.
    results : what it says; None where nothing was measured.
    """

    def __init__(self, message: str, path: Path | None = None, results: Results | None = None):
        super().__init__(message)
        self.path, self.results = path, results


def run(
    suite: str | os.PathLike[str] | Suite = "cnn-mnist",
    *,
    backends: Words = (),
    devices: Words = (),
    modes: Words = (),
    precisions: Words = (),
    scenarios: Words = (),
    batches: int | Iterable[int] = (),
    worlds: int | Iterable[int] = (),
    inputs: Words = (),
    best: bool = False,
    threads: int | None = None,
    seed: int = 0,
    data: str | None = None,
    data_dir: Place | None = None,
    init_weights: Place | None = None,
    save_weights: Place | None = None,
    rounds: int = 3,
    budget: float = 6.0,
    target_interval: float | None = None,
    epochs: int = 0,
    target: float | None = None,
    seeds: int = 3,
    profile: float = 0.0,
    max_wait: float | None = None,
    timeout: float | None = None,
    telemetry_period: float = 0.05,
    pythons: Mapping[str, Place] | None = None,
    baseline: str | None = None,
    rate: float | None = None,
    latency_bound: float | None = None,
    latency_percentile: int = 99,
    output: Place | None = None,
    progress: Listener | None = None,
) -> Results:
    """Verify and time the cases of a suite on every backend, as ``dlbench run`` does.

    Parameters
    ----------
    suite : the name of one that ships with dlbench, the path of a TOML file (it ends in .toml), or a `dlbench.Suite`.
    backends : names, or ``module:Class``; by default the suite's own, or all that are installed.
    devices : ``cpu``, ``cuda``, ``cuda:1`` or ``cuda:`` and a UUID; by default the suite's own that are there.
    modes : in the backends' own words, ``all`` for every one; by default each backend's first.
    precisions : ``fp32`` (the default), ``tf32``, ``bf16``, ``fp16``, ``int8``; ``all`` for all that a backend has.
    scenarios : ``train``, ``converge``, ``infer``, ``latency``, ``multi-stream``, ``server``, ``offline``
        (docs/scenarios.md); by default the suite's own.
    batches : samples a step; by default the suite's own. Several make a sweep.
    worlds : ranks that share each batch of a data-parallel training; by default 1.
    inputs : ``resident`` batches (the default), or ``streamed`` by the framework's own loader (docs/data.md).
    best : try every mode briefly, and measure in full the fastest of each backend that is right.
    threads : CPU threads of every backend; by default all cores.
    seed : of weights and batches.
    data : a data set in place of the suite's own: ``mnist``, ``fashion-mnist``, ``kmnist``, ``cifar10``, ``cifar100``,
        ``images``, ``digits``, ``stand-in``, ``noise``.
    data_dir : a folder with the data set's files.
    init_weights : a file of safetensors with the weights to begin with, in place of the seed's (docs/weights.md).
    save_weights : a folder for the weights that trainings end with, or a file for those of one.
    rounds : fresh processes a case.
    budget : time for sampling of each row (s), shared by its processes.
    target_interval : measure on until every interval is at most ± this share of its value, such as 0.05.
    epochs : train this long too: final loss, test accuracy.
    target : end a training with the first epoch after which this share of the validation part is right, such as 0.95.
    seeds : of the scenario ``converge``, trainings to the target.
    profile : say where the time of each row goes, too: time for its ladder (s), as for `profile`; 0 for none.
    max_wait : time to wait, in all, for a machine that others use (s); by default ``$DLBENCH_MAX_WAIT``, or 12.
    timeout : the longest that a worker may show no progress (s); by default ``$DLBENCH_TIMEOUT``, or 180.
    telemetry_period : time between samples of GPU and host beside the timing (s), 0.005 to 10; 0 for none.
    pythons : interpreters by backend, for workers that do not run under this one; a name with a label
        (``torch@old``) is a row of its own.
    baseline : the row that speed-ups refer to, like ``torch:cpu``; by default ``numpy:cpu``.
    rate : of the scenario ``server``, queries a second.
    latency_bound : of the scenario ``server`` in place of a rate: find the largest whose latencies stay within it (s),
        by their `latency_percentile` (50, 90 or 99).
    output : the record to write, a new file; by default ``results/<time>-<suite>.jsonl``.
    progress : called with each `dlbench.Progress`, in this thread; ``print`` will do. What it raises ends the run.

    Returns
    -------
    The results, one case a row. A case that failed is among them with its reason and raises nothing.

    Raises
    ------
    DlbenchError : the request cannot be carried out: `UsageError`, `SuiteError` or `DataError`.
    Interrupted : somebody interrupted it.
    """
    words = selected(
        backends, devices, modes, precisions, scenarios, batches, worlds, threads, seed, pythons
    )
    request = _request(
        suite,
        data,
        **words,
        **files(data_dir, timeout),
        **weights(init_weights, save_weights),
        inputs=several("inputs", inputs, str),
        best=bool(best),
        rounds=asked("rounds", rounds, int),
        budget_s=asked("budget", budget, float),
        target_interval=None
        if target_interval is None
        else asked("target_interval", target_interval, float),
        epochs=asked("epochs", epochs, int),
        target_accuracy=None if target is None else asked("target", target, float),
        seeds=asked("seeds", seeds, int),
        profile_s=asked("profile", profile, float),
        patience_s=paths.max_wait_s() if max_wait is None else asked("max_wait", max_wait, float),
        telemetry_period_s=asked("telemetry_period", telemetry_period, float),
        baseline=baseline,
        load=Load(
            None if rate is None else asked("rate", rate, float),
            None if latency_bound is None else asked("latency_bound", latency_bound, float),
            asked("latency_percentile", latency_percentile, int),
        ),
    )
    return _carried_out(request, output, progress)


def verify(
    suite: str | os.PathLike[str] | Suite = "cnn-mnist",
    *,
    backends: Words = (),
    devices: Words = (),
    modes: Words = (),
    precisions: Words = (),
    scenarios: Words = (),
    batches: int | Iterable[int] = (),
    worlds: int | Iterable[int] = (),
    threads: int | None = None,
    seed: int = 0,
    data: str | None = None,
    data_dir: Place | None = None,
    init_weights: Place | None = None,
    timeout: float | None = None,
    pythons: Mapping[str, Place] | None = None,
    output: Place | None = None,
    progress: Listener | None = None,
) -> Results:
    """Hold every backend against the float64 oracle and time nothing, as ``dlbench verify`` does.

    Parameters, errors : as for `run`.

    Returns
    -------
    The results: ``verified`` of each case, and in ``cells["max_relative_error"]`` the largest error / scale of all that
    was compared (a share; docs/how-it-measures.md says what rounding may cause).
    """
    words = selected(
        backends, devices, modes, precisions, scenarios, batches, worlds, threads, seed, pythons
    )
    words |= files(data_dir, timeout) | weights(init_weights)
    request = _request(suite, data, **words, rounds=0)
    return _carried_out(request, output, progress)


def profile(
    suite: str | os.PathLike[str] | Suite = "cnn-mnist",
    *,
    backends: Words = (),
    devices: Words = (),
    modes: Words = (),
    precisions: Words = (),
    scenarios: Words = (),
    batches: int | Iterable[int] = (),
    threads: int | None = None,
    seed: int = 0,
    data: str | None = None,
    data_dir: Place | None = None,
    budget: float = 9.0,
    inside: bool = False,
    timeout: float | None = None,
    pythons: Mapping[str, Place] | None = None,
    output: Place | None = None,
    progress: Listener | None = None,
) -> Results:
    """Say where the time of a step goes, layer by layer, as ``dlbench profile`` does.

    Parameters
    ----------
    budget : time for the ladder of each row (s), if 20 rounds take as long.
    inside : go through what residual and concat blocks hold, too.
    others, errors : as for `run`.

    Returns
    -------
    The results; ``to_pandas(per="layer")`` has a row for each layer, the loss and the optimizer.
    """
    words = selected(
        backends, devices, modes, precisions, scenarios, batches, (), threads, seed, pythons
    )
    ladder = {"profile_s": asked("budget", budget, float), "profile_inside": bool(inside)}
    request = _request(suite, data, **words, **files(data_dir, timeout), rounds=0, **ladder)
    return _carried_out(request, output, progress)


def resume(
    path: Place,
    *,
    suite: str | os.PathLike[str] | Suite | None = None,
    data_dir: Place | None = None,
    init_weights: Place | None = None,
    max_wait: float | None = None,
    pythons: Mapping[str, Place] | None = None,
    baseline: str | None = None,
    progress: Listener | None = None,
) -> Results:
    """Measure what a record lacks, and nothing else, as ``dlbench run --resume`` does; a complete one is only read.

    Parameters
    ----------
    path : a record of `run` or `verify` that was cut off; everything else is as it says.
    suite : the suite, where it is none that ships with dlbench.
    others, errors : as for `run`.
    """
    given: dict[str, Any] = {
        "suite": None if suite is None else _named(suite),
        "data_dir": None if data_dir is None else place("data_dir", data_dir),
        "pythons": interpreters(pythons),
        **weights(init_weights),
    }
    if max_wait is not None:
        given["patience_s"] = asked("max_wait", max_wait, float)
    where = place("path", path)
    with rest_of(where, given, baseline) as (record, work):
        if work is None:
            return Results(((str(where), record),), baseline)
        return _results(work, baseline, progress)


def load(*files: Place, baseline: str | None = None, cold_start: bool = False) -> Results:
    """Read the records of earlier runs, as ``dlbench report`` does; several stand side by side and are never pooled.

    Parameters
    ----------
    files : records, JSON lines; a file may hold several.
    baseline : the row that speed-ups refer to, like ``torch:cpu``; by default ``numpy:cpu``.
    cold_start : say what came before the steady steps too, and when it has paid off.

    Raises
    ------
    UsageError : a file is no record, or there is no such row.
    """
    if not files:
        raise UsageError("no record is named; like dlbench.load('results/run.jsonl')")
    wanted = dict.fromkeys(place("file", file) for file in files)
    records = [each for path in wanted for each in read_all(path)]
    return Results(tuple(records), baseline, cold_start)


def compare(base: Place | Results, new: Place | Results, threshold: float = 0.05) -> Comparison:
    """Judge the cases of something new against those of a base, as ``dlbench compare`` does: slower, faster, same, or
    not to be told.

    Parameters
    ----------
    base, new : records, files of pytest-benchmark, or results.
    threshold : the smallest difference that counts, as a share above 0.

    Raises
    ------
    UsageError : a file is none of these, or the threshold is no such share.
    """
    from dlbench.api.compared_sides import compared

    old, now = (
        each if isinstance(each, Results) else place(name, each)
        for name, each in (("base", base), ("new", new))
    )
    return compared(old, now, asked("threshold", threshold, float))


def _request(suite: str | os.PathLike[str] | Suite, data: str | None, **chosen: Any) -> Request:
    return request_of(_named(suite), data, **chosen)


def _named(suite: str | os.PathLike[str] | Suite) -> str | Suite:
    return suite if isinstance(suite, Suite) else str(place("suite", suite))


def _carried_out(request: Request, output: Place | None, progress: Listener | None) -> Results:
    where = None if output is None else place("output", output)
    return _results(new_run(request, where), request.baseline, progress)


def _results(work: Work, baseline: str | None, progress: Listener | None) -> Results:
    def say(text: str) -> None:
        if progress is not None:
            progress(Progress("message", text))

    try:
        finished = carry_out(work, _watching(progress), say, quiet=progress is None)
    except KeyboardInterrupt:
        if work.writer.wrote:
            # once more, while it was ending
            path = work.writer.path
            raise Interrupted(f"interrupted; what was measured is in {path}", path) from None
        finished = None
    if finished is None:
        raise Interrupted("interrupted before anything was measured")
    found = Results(
        ((str(finished.path), finished.record),), None if finished.interrupted else baseline
    )
    if finished.interrupted:
        kept = plural(sum(each.step is not None for each in found), "case")
        told = (
            f"interrupted; {kept} measured so far and kept; to see: dlbench.load({str(finished.path)!r});"
            f" to go on: dlbench.resume({str(finished.path)!r})"
        )
        raise Interrupted(told, finished.path, found)
    return found


@contextlib.contextmanager
def _watching(progress: Listener | None) -> Iterator[Observer]:
    yield Observer() if progress is None else Telling(progress)
