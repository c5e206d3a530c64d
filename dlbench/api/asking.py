"""From the words of a command, or the arguments of a call, to the request that a run carries out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from dlbench import paths
from dlbench.environments.lookup import completed
from dlbench.errors import UsageError
from dlbench.plan.request import Request
from dlbench.record.shards import shard_of
from dlbench.spec.suite import Suite, load_suite


def request_of(
    suite: str | Suite, data: str | None, shard: str | None = None, **chosen: Any
) -> Request:
    """The request that was asked for, on this machine.

    Parameters
    ----------
    suite : the name of one that ships with dlbench, the path of a TOML file, or a suite itself.
    data : a word of ``--data``; None for the suite's own data set.
    shard : a word of ``--shard``: a part of the run, whose request has the batch sizes of that part; none of them where
        the run has fewer rounds than parts.
    chosen : the rest, by the names of `Request`.

    Raises
    ------
    UsageError : there is no such suite, or a mistake in it; or a stand-in for data that has none.
    """
    from dlbench.data.datasets import data_set_of
    from dlbench.host.machine import look, node
    from dlbench.telemetry.device import gpu_names

    loaded = load_suite(suite) if isinstance(suite, str) else suite
    request = Request(
        suite=loaded,
        machine=look(gpu_names()),
        node=node(),
        cache_dir=paths.cache_dir(),
        data=data_set_of(data, loaded.data.name),
        **chosen,
    )
    pythons = completed(request.pythons, request.chosen_backends)
    request = dataclasses.replace(request, pythons=pythons)
    if shard is None:
        return request
    if len({request.batches_of(each) for each in request.chosen_scenarios}) > 1:
        # a part has the same batch sizes for all scenarios
        raise UsageError(
            "--shard deals out batch sizes, and these scenarios have different ones: name them with --batch"
        )
    part = shard_of(shard, request.chosen_batches)
    own = part.own_batches(request.rounds)
    return dataclasses.replace(request, shard=part, batches=own)


def warnings_of(request: Request) -> Iterator[str]:
    """What should be said before a run begins: that threads which nobody chose share cores, and that others use the
    machine, for which it is watched for a moment."""
    from dlbench.execute.readiness import sharing, warn
    from dlbench.host.machine import usable_physical_cores

    if request.threads is None and (
        note := sharing(request.chosen_threads, usable_physical_cores())
    ):
        yield note
    if warning := warn(request.chosen_threads):
        yield warning
