"""The options that name files of weights."""

from __future__ import annotations

import click

from dlbench.cli.options import Place

init_weights = click.option(
    "--init-weights",
    type=Place(exists=True, dir_okay=False),
    metavar="FILE.safetensors|FILE.h5",
    help="Begin with these weights, under dlbench's names or published ones, in place of the seed's.",
)
save_weights = click.option(
    "--save-weights",
    type=Place(),
    metavar="FOLDER|FILE.safetensors",
    help="Write the weights that trainings of --epochs end with.",
)
