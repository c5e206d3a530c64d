"""`dlbench export SUITE`: the suite's network as a file that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench.cli import options
from dlbench.cli.exit_codes import tell
from dlbench.cli.output import answer
from dlbench.errors import UsageError
from dlbench.paths import write_new
from dlbench.text import plural

if TYPE_CHECKING:
    from dlbench.spec.suite import Suite

_MOST_BYTES = 2**31 - 1
"""Of a message of protobuf, which an ONNX file is."""


@click.command("export")
@click.argument("suite", metavar="NAME|FILE.toml")
@click.option("--format", "form", type=click.Choice(["onnx"]), default="onnx", show_default=True)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE.onnx",
    help="File to write; a new one.  [default: the suite's name, here]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 2**31 - 1),
    help="Samples of the input.  [default: left open]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the weights, as of a run.",
)
def export_command(
    suite: str, form: str, output: Path | None, batch: int | None, seed: int
) -> None:
    """Write the network of a suite, at the weights that a run begins with, as an ONNX model."""
    from dlbench.spec.suite import load_suite

    loaded = load_suite(suite)
    path = output or Path(f"{loaded.name}.{form}")
    if path.exists():
        raise UsageError(f"{path} is there already; choose another with --output, or move it away")
    contents = _model(loaded, batch, seed)
    write_new(path, contents)
    answer(str(path))
    workload = loaded.workload
    shapes = (
        " × ".join(map(str, (batch or "batch", *shape)))
        for shape in (workload.input_shape, workload.output_shape)
    )
    tell(
        f"{plural(workload.parameter_count, 'parameter')}, {len(contents) / 1e6:,.2f} MB;"
        f" {' to '.join(shapes)}, float32; checked by ONNX's own checker"
    )


def _model(suite: Suite, batch: int | None, seed: int) -> bytes:
    """A checked model as the bytes of its file.

    Raises
    ------
    UsageError : the weights are more than such a file can hold.
    BackendUnavailable : the package onnx is not there.
    """
    from dlbench import __version__
    from dlbench.helpers.onnx_graph import onnx_model, require_onnx
    from dlbench.spec.workload import initial_weights

    workload = suite.workload
    size = 4 * sum(parameter.size for parameter in workload.parameters)
    if size > _MOST_BYTES:
        raise UsageError(
            f"the weights of {suite.name} are {size / 1e9:,.1f} GB, and an ONNX file holds 2 GB"
        )
    onnx = require_onnx()
    model: Any = onnx_model(workload, initial_weights(workload, seed), batch, suite.name)
    model.producer_version = __version__
    facts = {"suite": suite.name, "workload": workload.digest, "seed": str(seed)}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
