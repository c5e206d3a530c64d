"""``dlbench prune``: a smaller network out of a suite's, and on a backend what that costs and gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench.cli import options
from dlbench.cli.exit_codes import INTERRUPTED, exit_code, tell
from dlbench.cli.output import answer
from dlbench.cli.varying.watching import Watching, new_folder
from dlbench.errors import UsageError
from dlbench.paths import write_new
from dlbench.text import plural, seconds, si

if TYPE_CHECKING:
    from dlbench.pruning.before_and_after import Trial
    from dlbench.pruning.channels import Left
    from dlbench.spec.suite import Suite
    from dlbench.spec.workload import Weights


@click.command("prune")
@click.option("--suite", required=True, metavar="NAME|FILE.toml", help="What to prune.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of each layer's channels, how many go; with --unstructured of each layer's weights.",
)
@click.option(
    "--weights",
    type=options.Place(dir_okay=False),
    metavar="FILE.safetensors",
    help="Weights of the suite.  [default: with --backend trained before, else those of the seed]",
)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="NEW.toml",
    help="Suite to write; a new file.",
)
@click.option(
    "--output-weights",
    type=options.Place(dir_okay=False),
    metavar="NEW.safetensors",
    help="Weights to write, with --fine-tune those that it ends with; a new file.",
)
@click.option(
    "--unstructured",
    is_flag=True,
    help="Set the smallest weights to zero and leave the network as it is.",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="Show accuracy and time before and after, on this backend.",
)
@click.option("--device", metavar="KIND[:N|:UUID]", help="Its device.")
@click.option("--mode", metavar="WORD", help="Its mode.")
@click.option(
    "--batch", type=click.IntRange(min=1), help="Samples a step.  [default: the suite's first]"
)
@click.option(
    "--threads", type=click.IntRange(1, 65_536), help="CPU threads.  [default: all cores]"
)
@options.source
@options.pythons
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Train the whole network this long first, without --weights.  [default: the suite's own]",
)
@click.option(
    "--fine-tune",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Train what is left this long, with --backend.",
)
@options.rounds
@options.budget
@options.max_wait
@options.timeout
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the result is written to stdout.",
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def prune_command(
    suite: str,
    share: float,
    weights: Path | None,
    output: Path | None,
    output_weights: Path | None,
    unstructured: bool,
    backend: str | None,
    epochs: int | None,
    fine_tune: int,
    form: str,
    quiet: bool,
    seed: int,
    **chosen: Any,
) -> int:
    """Leave out the channels of the smallest magnitude: a smaller suite, and its weights."""
    from dlbench.pruning.channels import Left, find
    from dlbench.spec.suite import load_suite
    from dlbench.spec.workload import initial_weights
    from dlbench.weights.tensors import read_weights, write_weights

    whole = load_suite(suite)
    _check(output, output_weights, unstructured=unstructured, on_backend=backend is not None)
    own = None if weights is None else read_weights(weights, whole.workload)
    name = output.stem if output is not None else f"{whole.name}-pruned"

    def change(loaded: Suite, values: Weights) -> tuple[Suite, Weights]:
        return _smaller(loaded, values, share, name, unstructured)

    found: Trial | None = None
    if backend is None:
        begun = initial_weights(whole.workload, seed) if own is None else own
        smaller, left = change(whole, begun)
    else:
        try:
            found = _trial(whole, own, change, backend, epochs, fine_tune, quiet, seed, chosen)
        except KeyboardInterrupt:
            return INTERRUPTED
        smaller, left = found.suites["pruned"], found.weights
    if output is not None:
        write_new(output, smaller.to_toml().encode())
    if output_weights is not None:
        facts = {"suite": smaller.name, "workload": smaller.workload.digest}
        write_weights(output_weights, left, facts)
    alone = [each for each in find(whole.workload.nodes) if isinstance(each, Left)]
    if form == "json":
        answer(json.dumps(_data(whole, smaller, () if unstructured else alone, found), indent=2))
    else:
        answer("\n".join(_lines(whole, smaller, () if unstructured else alone, found)))
    if found is None:
        return 0
    kinds = [found.outcome(name, each) for name in found.records for each in ("train", "infer")]
    return exit_code(each.status for each in kinds if each is not None)


def _check(
    output: Path | None, weights: Path | None, *, unstructured: bool, on_backend: bool
) -> None:
    if unstructured and output is not None:
        raise UsageError("--unstructured leaves the suite as it is: leave out --output")
    if output is None and weights is None and not on_backend:
        raise UsageError(
            "say what to write with --output and --output-weights, or try it on a --backend"
        )
    for option, place in (("--output", output), ("--output-weights", weights)):
        if place is not None and place.exists():
            raise UsageError(f"{option} {place} is there already, and is not overwritten")


def _smaller(
    suite: Suite, weights: Weights, share: float, name: str, unstructured: bool
) -> tuple[Suite, Weights]:
    from dlbench.pruning.structured import prune, suite_of
    from dlbench.pruning.unstructured import zeroed

    if unstructured:
        return suite, zeroed(suite.workload, weights, share)
    pruned = prune(suite.workload, weights, share)
    return suite_of(suite, pruned.workload, name, share), pruned.weights


def _trial(
    whole: Suite,
    own: Weights | None,
    change: Any,
    backend: str,
    epochs: int | None,
    fine_tune: int,
    quiet: bool,
    seed: int,
    chosen: dict[str, Any],
) -> Trial:
    from dlbench.api.asking import request_of
    from dlbench.pruning.before_and_after import trial

    device, mode, batch = (chosen.pop(name) for name in ("device", "mode", "batch"))
    request = request_of(
        whole,
        backends=(backend,),
        devices=(device,) if device else (),
        modes=(mode,) if mode else (),
        batches=(batch or whole.matrix.batches[0],),
        seed=seed,
        own_device=not device,
        **chosen,
    )
    folder = new_folder(whole.name, "prune")

    def say(text: str) -> None:
        if not quiet:
            tell(text)

    return trial(
        request, own, change, epochs or whole.epochs, fine_tune, folder, Watching(quiet), say
    )


def _lines(
    whole: Suite, smaller: Suite, alone: Sequence[Left], found: Trial | None
) -> Iterator[str]:
    before, after = whole.workload, smaller.workload
    if before.digest != after.digest:
        yield (
            f"{smaller.name}: {after.parameter_count:,} of {plural(before.parameter_count, 'parameter')},"
            f" {si(after.forward_flops)}FLOP of {si(before.forward_flops)}FLOP a sample"
        )
    for each in alone:
        yield f"  left as it is: {each.maker.name}: {each.reason}"
    if found is None:
        return
    cells: list[tuple[str, ...]] = [("", "test accuracy", "inference", "training")]
    for name, share in found.accuracies.items():
        bounds = f"[{100 * share.low:.2f}, {100 * share.high:.2f}]"
        timed = [
            ""
            if name == "pruned" and "fine-tuned" in found.accuracies
            else _step(found, name, each)
            for each in ("infer", "train")
        ]
        cells.append((name, f"{100 * share.value:.2f} % {bounds}", *timed))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
    yield "[ ] accuracies: over test samples (Wilson); times of a step: over fresh processes, 95 %"


def _step(found: Trial, name: str, scenario: str) -> str:
    from dlbench.analyse.statistics import case_estimate, units

    row = found.outcome("whole" if name == "whole" else "pruned", scenario)
    if row is None or not row.timed:
        return "" if row is None else row.problem
    told = case_estimate(units(row.timed.values()))
    bounds = () if told.interval is None else (told.interval.low, told.interval.high)
    disturbed = " (disturbed)" if row.disturbed else ""
    return f"{seconds(told.value, *bounds)}{disturbed}"


def _data(
    whole: Suite, smaller: Suite, alone: Sequence[Left], found: Trial | None
) -> dict[str, Any]:
    data: dict[str, Any] = {
        name: {
            "suite": suite.name,
            "parameters": suite.workload.parameter_count,
            "forward_flops": suite.workload.forward_flops,
        }
        for name, suite in (("whole", whole), ("pruned", smaller))
    }
    data["left"] = {each.maker.name: each.reason for each in alone}
    if found is not None:
        data["test_accuracy"] = {
            name: {"value": each.value, "low": each.low, "high": each.high}
            for name, each in found.accuracies.items()
        }
        rows = {(n, s): found.outcome(n, s) for n in found.records for s in ("infer", "train")}
        data["rows"] = [
            {
                "network": name,
                "scenario": scenario,
                "status": row.status,
                "processes_s": list(row.medians_s.values()),
                "reason": row.reason,
            }
            for (name, scenario), row in rows.items()
            if row is not None
        ]
    return data
