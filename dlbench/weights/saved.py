"""Where the weights go that trainings end with, and what their files say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlbench import __version__
from dlbench.errors import UsageError
from dlbench.helpers.refusals import require
from dlbench.record.case import Case
from dlbench.weights.tensors import REMEDY, SUFFIX


def place_of(place: Path, case: Case, seed: int) -> Path:
    """The file for the weights of a training: `place` itself where that names one, else a file in this folder named
    after the case, and after the seed where there are several."""
    if place.suffix == SUFFIX:
        return place
    which = "" if case.has_steps else f"-seed{seed}"
    return place / f"{case.label.replace(':', '-').replace('/', '-')}{which}{SUFFIX}"


def check_places(place: Path, trained: Sequence[tuple[Case, int]]) -> None:
    """Refuses, before anything is trained, places that the weights of these trainings, cases with seeds, could not be
    written to.

    Raises
    ------
    UsageError : nothing is trained, too much for one file, or a file is there already.
    BackendUnavailable : the package safetensors is not there.
    """
    require("safetensors", "safetensors", REMEDY)
    if not trained:
        raise UsageError("--save-weights: nothing is trained; add --scenario train")
    if place.suffix == SUFFIX and len(trained) > 1:
        raise UsageError(
            f"--save-weights {place} is one file, and {len(trained)} trainings end with one each; name a folder"
        )
    if place.suffix != SUFFIX and place.exists() and not place.is_dir():
        raise UsageError(f"--save-weights {place} is neither a folder nor ends with {SUFFIX}")
    for case, seed in trained:
        if (file := place_of(place, case, seed)).exists():
            raise UsageError(f"--save-weights: {file} is there already, and is not overwritten")


def facts_of(
    case: Case, *, workload_digest: str, steps: int, epochs: int, seed: int, began_with: str
) -> dict[str, str]:
    """What a file says of itself, as its metadata: of which network its weights are, and how they came about.

    Parameters
    ----------
    workload_digest : of the network with its loss and optimizer.
    began_with : a digest of the weights that the training began with; empty for those of the seed.
    """
    return {
        "suite": case.suite,
        "workload": workload_digest,
        "backend": case.backend,
        "case": case.label,
        "steps": str(steps),
        "epochs": str(epochs),
        "seed": str(seed),
        "dlbench": __version__,
        **({"began_with": began_with} if began_with else {}),
    }
