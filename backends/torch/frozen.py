"""Which layers of an imported module are frozen, by ``requires_grad = False`` of all their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from dlbench.errors import UsageError
from dlbench.text import plural

from .structure import Table

_NAMED = 3
"""Of several layers, how many are told by name."""


def freeze(layers: Sequence[Table], source: str, module: nn.Module) -> tuple[str, ...]:
    """Adds ``freeze`` to the tables of layers of which nothing is trained.

    Parameters
    ----------
    source : the key of a table under which the module's names of its arrays stand.
    module : in training, so that a batch normalisation that evaluates all the same can be seen.

    Returns
    -------
    In words, what a training of the suite does otherwise than one of the module.

    Raises
    ------
    UsageError : a batch normalisation whose statistics are kept and whose scale and shift are trained.
    """
    trained = {name: each.requires_grad for name, each in module.named_parameters()}
    parts = dict(module.named_modules())
    in_part, with_statistics = [], []
    for layer in _each(layers):
        names = [name for name in layer.get(source, ()) if name in trained]
        if not names:
            continue
        place = names[0].rpartition(".")[0]
        updates = layer["type"] == "batch_norm" and parts[place].training
        evaluates = layer["type"] == "batch_norm" and not parts[place].training
        kept = [name for name in names if not trained[name]]
        if kept == names:
            layer["freeze"] = True
            with_statistics += [place] * updates
        elif evaluates:
            raise UsageError(
                f"{place}: normalises by running statistics in training, and its scale and shift are trained; dlbench"
                " freezes both or neither: set requires_grad = False for them, or leave the layer in training"
            )
        else:
            in_part += kept
    notes = []
    if in_part:
        notes.append(
            f"{_some(in_part, 'array')} of requires_grad = False in layers of which other parameters are trained:"
            " dlbench freezes whole layers, so that they are trained too"
        )
    if with_statistics:
        notes.append(
            f"{_some(with_statistics, 'batch normalisation')} frozen with running statistics, which normalise in"
            " training too; PyTorch would go on with each batch's"
        )
    return tuple(notes)


def _some(names: Sequence[str], what: str) -> str:
    more = ", …" if len(names) > _NAMED else ""
    return f"{plural(len(names), what)} ({', '.join(names[:_NAMED])}{more})"


def _each(layers: Sequence[Table]) -> Iterator[Table]:
    """All tables, those inside others too."""
    for layer in layers:
        yield layer
        for body in (layer.get("body"), layer.get("shortcut"), *layer.get("bodies", ())):
            yield from _each(body or ())
