"""Makes, once for a run, everything that its workers need: weights, resident batches, and the parts for trainings.

All workers read the same files, so all backends get the same numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan
from dlbench.data import feed, npz
from dlbench.data.datasets import LYING_IN_FILES, load_dataset
from dlbench.data.noise import NAME as NOISE
from dlbench.data.noise import draw_noise
from dlbench.data.order import epoch_order
from dlbench.data.preprocessing import Recipe, input_shape
from dlbench.data.types import Dataset, Drawn
from dlbench.errors import PlanRefused, UsageError
from dlbench.host import memory
from dlbench.oracle.integers import calibrate
from dlbench.plan.request import ALL, Request
from dlbench.plan.sizes import RESIDENT_BATCHES
from dlbench.plugins import adapter_target
from dlbench.record import schema
from dlbench.record.case import STREAMED
from dlbench.spec.layers import Linear
from dlbench.spec.network import format_shape, walk
from dlbench.spec.quantization import SAMPLES
from dlbench.spec.training import CrossEntropy
from dlbench.spec.verification import SECTION, to_table
from dlbench.spec.workload import Weights, Workload, digest_of, initial_value, initial_weights
from dlbench.text import size
from dlbench.weights.tensors import read_weights

_ROWS = 256
"""Samples that are written at a time."""


def _silent(what: str) -> None:
    """What is made is told to nobody."""


@dataclasses.dataclass(frozen=True)
class Material:
    """What the workers of a run work on; the files lie in a folder that the caller owns.

    Attributes
    ----------
    workload : the network with its loss and optimizer.
    calibrated : the same with the scales that inference in integers needs; as it is where that is not asked for, or the
        network has layers that cannot be.
    recipe : how stored samples become inputs.
    data : which data it is.
    training_samples : size of the training part.
    cache_dir : where the oracle's results are kept.
    verification : at which smaller shape it is verified, as a table; None for the one at which it is timed.
    weights_digest : of the initial weights, where these came from a file; empty for those of the seed.
    """

    workload: Workload
    calibrated: Workload
    recipe: Recipe
    data: schema.Data
    training_samples: int
    cache_dir: Path
    _folder: Path
    _files: Mapping[str, str]
    _seed: int
    verification: Mapping[str, Any] | None = None
    weights_digest: str = ""

    @property
    def weights_file(self) -> str:
        """Where the initial weights lie."""
        return self._files["weights"]

    def trained_weights(self, case: schema.Case) -> Path:
        """Where the weights lie that the training of a case ended with, once it has ended."""
        digest = hashlib.sha256(repr(case).encode()).hexdigest()
        return self._folder / f"trained-{digest[:16]}.npz"

    def weights_from(self, seed: int) -> Path:
        """Where the weights lie that a training from a seed begins with: of every seed those of a file, where there is
        one."""
        if seed == self._seed or self.weights_digest:
            return Path(self._files["weights"])
        file = self._folder / f"weights-{seed}.npz"
        if not file.exists():
            _write_weights(file, self.workload, seed)
        return file

    def job(self, plan: Plan, adapter: str | None = None, **options: Any) -> dict[str, Any]:
        """What a worker needs to know to work by a plan; without an `adapter` (``module:Class``), by what the plan's
        backend names here."""
        files = dict(self._files)
        for name in ("batches", "held_out"):
            files[name] = str(_batch_file(self._folder, name, plan.batch))
        return {
            "adapter": adapter or adapter_target(plan.backend),
            "plan": dataclasses.asdict(plan),
            "workload": (self.calibrated if plan.precision == "int8" else self.workload).to_table(),
            "recipe": dataclasses.asdict(self.recipe),
            "files": files,
            "cache_dir": str(self.cache_dir),
            SECTION: self.verification,
            **options,
        }


def load(request: Request) -> tuple[Dataset, Recipe]:
    """The data of a request and what becomes of it, once it is known to fit the network and the batches.

    Raises
    ------
    UsageError : an unknown data set, or one that does not fit.
    DataError : files that are missing or damaged.
    """
    suite = request.suite
    with _making(f"{suite.path.name}: data.name: the data set"):
        dataset = _load(request)
    recipe = Recipe(suite.data.padding, suite.data.mean, suite.data.std, suite.data.augment)
    _check_fit(suite.workload, recipe, dataset, suite.name)
    for batch in request.chosen_batches:
        if batch > len(dataset.train):
            raise UsageError(
                f"batch {batch} is larger than the training part of {dataset.name},"
                f" {len(dataset.train):,} samples"
            )
    return dataset, recipe


def prepare(request: Request, folder: Path, tell: Callable[[str], None] = _silent) -> Material:
    """Loads the data and writes what workers need into `folder`.

    Parameters
    ----------
    tell : called with what is made, as it is begun.

    Raises
    ------
    UsageError : as for `load`, or there is not enough memory.
    DataError : files that are missing or damaged.
    """
    workload, file = request.suite.workload, request.suite.path.name
    dataset, recipe = load(request)
    for batch in request.chosen_batches:
        tell(f"batch {batch}")
        with _making(f"{file}: network.input: a batch of {batch}"):
            _write_batches(folder, dataset, recipe, batch, request.seed)
    files = {"weights": str(folder / "weights.npz")}
    given = _given_weights(request)
    with _making(f"{file}: network.layers"):
        _write_weights(Path(files["weights"]), workload, request.seed, tell, given)
    if STREAMED in request.inputs:
        tell("samples to stream")
        files["stream"] = str(folder / "stream.npz")
        with _making(f"{file}: data.name: the samples of the training part"):
            feed.write(Path(files["stream"]), dataset.train)
    calibrated = workload
    if {"int8", ALL} & set(request.chosen_precisions):
        tell("calibration")
        weights = given or initial_weights(workload, request.seed)
        calibrated = _calibrated(workload, dataset, recipe, weights)
    if request.epochs:
        tell("parts")
        files["parts"] = str(folder / "parts.npz")
        with _making(f"{file}: data.name: the samples of whole epochs"):
            _write_parts(Path(files["parts"]), dataset)
    return Material(
        workload=workload,
        calibrated=calibrated,
        recipe=recipe,
        data=schema.Data(
            name=dataset.name,
            source=dataset.source,
            fingerprint=dataset.fingerprint,
            stand_in=dataset.is_stand_in,
        ),
        training_samples=len(dataset.train),
        cache_dir=request.cache_dir,
        _folder=folder,
        _files=files,
        _seed=request.seed,
        verification=to_table(request.suite.verification),
        weights_digest=digest_of(given) if given else "",
    )


def _write_weights(
    file: Path,
    workload: Workload,
    seed: int,
    tell: Callable[[str], None] = _silent,
    given: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType({}),
) -> None:
    """The initial weights that a seed gives, or those that are `given`."""
    with npz.writing(file) as written:
        for parameter in workload.parameters:
            tell(parameter.name)
            value = given[parameter.name] if given else initial_value(parameter, seed)
            written.add(parameter.name, parameter.shape, np.float32, [value])


@contextmanager
def _making(what: str) -> Iterator[None]:
    """Says what there is not enough memory for."""
    try:
        yield
    except MemoryError as error:
        found = memory.available_bytes()
        left = "" if found is None else f", {size(found)} are left"
        raise UsageError(f"{what} does not fit in memory{left} ({error})") from None


def _load(request: Request) -> Dataset:
    suite, workload = request.suite, request.suite.workload
    name = request.data or suite.data.name
    if request.data_dir is not None and name not in LYING_IN_FILES:
        raise UsageError(
            f"--data-dir {request.data_dir}: the data set {name} reads no files; did you mean --data images?"
        )
    stored = workload.input_shape
    if len(stored) == 3:
        margin = 2 * suite.data.padding
        stored = (stored[0], stored[1] - margin, stored[2] - margin)
    if name != NOISE:
        return load_dataset(
            name, data_dir=request.data_dir, cache_dir=request.cache_dir, shape=stored
        )
    labels = isinstance(workload.loss, CrossEntropy)
    classes = workload.output_shape[0] if labels else 0
    return draw_noise(stored, classes, workload.output_shape)


def _check_fit(workload: Workload, recipe: Recipe, dataset: Dataset, suite: str) -> None:
    shape = input_shape(recipe, dataset.train.inputs.shape)
    if shape != workload.input_shape:
        raise UsageError(
            f"data set {dataset.name!r} gives inputs of {format_shape(shape)}, but suite {suite!r}"
            f" takes {format_shape(workload.input_shape)}"
        )
    targets = dataset.train.targets
    labels = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
    if labels != isinstance(workload.loss, CrossEntropy):
        kind = "labels" if labels else "values"
        raise UsageError(
            f"data set {dataset.name!r} has {kind} to learn, which suite {suite!r} cannot"
        )
    outputs = workload.output_shape
    if labels and dataset.classes > outputs[0]:
        raise UsageError(
            f"data set {dataset.name!r} has {dataset.classes} classes, but the network of suite"
            f" {suite!r} has {outputs[0]} outputs; {_remedy(workload, dataset.classes)}"
        )
    if not labels and targets.shape[1:] != outputs:
        raise UsageError(
            f"data set {dataset.name!r} has targets of {format_shape(targets.shape[1:])}, but the"
            f" network of suite {suite!r} gives {format_shape(outputs)}"
        )


def _remedy(workload: Workload, classes: int) -> str:
    """How a network gets an output for each class."""
    sized = [node for node in walk(workload.nodes) if node.parameters]
    if sized and isinstance(sized[-1].layer, Linear):
        return f"give its last linear layer out_features = {classes}"
    return f"make it end with {classes} outputs"


def _given_weights(request: Request) -> Weights:
    """The initial weights of a request's file; none where they are drawn."""
    if request.init_weights is None:
        return {}
    with _making(f"--init-weights {request.init_weights}"):
        return read_weights(request.init_weights, request.suite.workload)


def _calibrated(workload: Workload, dataset: Dataset, recipe: Recipe, weights: Weights) -> Workload:
    """The workload with scales from its initial weights and the first training samples, as inference sees them."""
    samples = dataset.train.inputs[np.arange(min(SAMPLES, len(dataset.train)))]
    try:
        return calibrate(workload, weights, recipe.inputs(samples))
    except PlanRefused:
        # backends refuse it themselves
        return workload


def _write_batches(folder: Path, dataset: Dataset, recipe: Recipe, batch: int, seed: int) -> None:
    training, held_out = dataset.train, dataset.validation
    shape = (batch, *input_shape(recipe, training.inputs.shape))
    indices = _resident_indices(len(training), batch, seed)
    inputs = (recipe.training_inputs(training.inputs, each, seed, 0) for each in indices)
    with npz.writing(_batch_file(folder, "batches", batch)) as written:
        written.add("inputs", (len(indices), *shape), np.float32, inputs)
        _add_rows(written, "targets", training.targets, indices.shape, indices)
    # an array of the plan's size even where the part is smaller
    some = np.arange(batch) % len(held_out)
    with npz.writing(_batch_file(folder, "held_out", batch)) as written:
        written.add("inputs", shape, np.float32, [recipe.inputs(held_out.inputs[some])])
        _add_rows(written, "targets", held_out.targets, (batch,), [some])


def _resident_indices(samples: int, batch: int, seed: int) -> npt.NDArray[np.int64]:
    """Samples of the resident batches, `RESIDENT_BATCHES` × batch: the drawn order of as many epochs as it takes."""
    wanted = RESIDENT_BATCHES * batch
    orders: list[npt.NDArray[np.int64]] = []
    while len(orders) * samples < wanted:
        orders.append(epoch_order(samples, seed, len(orders)))
    return np.concatenate(orders)[:wanted].reshape(RESIDENT_BATCHES, batch)


def _write_parts(file: Path, dataset: Dataset) -> None:
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    with npz.writing(file) as written:
        for name, part in parts.items():
            rows = np.array_split(np.arange(len(part)), -(-len(part) // _ROWS))
            _add_rows(written, f"{name}_samples", part.inputs, (len(part),), rows)
            _add_rows(written, f"{name}_targets", part.targets, (len(part),), rows)


def _add_rows(
    written: npz.Writer,
    name: str,
    array: npt.NDArray[Any] | Drawn,
    places: tuple[int, ...],
    rows: Iterable[npt.NDArray[np.int64]],
) -> None:
    """Writes the rows of an array that each piece of `rows` names, which fill these `places`."""
    pieces = (array[each] for each in rows)
    written.add(name, (*places, *array.shape[1:]), array.dtype, pieces)


def _batch_file(folder: Path, name: str, batch: int) -> Path:
    return folder / f"{name}-{batch}.npz"
