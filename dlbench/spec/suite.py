"""Suite files: one TOML file says the network, how it is trained, on which data, and what to run.

Nothing else has to be read to know what is measured. Reading touches no device, network or
environment; every mistake is refused with the file, the field, the value, and what would be valid.
"""

from __future__ import annotations

import codecs
import dataclasses
import os
import re
import stat
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dlbench.errors import SuiteError, WorkloadError
from dlbench.spec.decode import array, at_least, decode, nearest, shown, table
from dlbench.spec.network import format_shape
from dlbench.spec.scenarios import SCENARIOS, STEPS
from dlbench.spec.suite_table import table_of, with_short_lists
from dlbench.spec.verification import SECTION, Verification, read_verification
from dlbench.spec.workload import Workload, read_workload
from dlbench.text import one_line, shortened

MOST_EPOCHS = 1_000_000
_MOST_BYTES = 1 << 20
_LONGEST_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9_][\w.+-]{{0,{_LONGEST_NAME - 1}}}", re.ASCII)
_UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
_SECTIONS = {
    "network": {"input", "layers"},
    "training": {"loss", "optimizer", "schedule", "epochs"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Which data feeds the network, and how raw bytes become float32 inputs.

    Images are zero-padded by `padding` pixels on each side, divided by 255, and normalised per channel with `mean` and
    `std`; `augment` draws the standard crop (4 pixels) and flip for training samples.
    """

    name: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    padding: int = at_least(0, 0)
    augment: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """What a suite runs when nothing is chosen: the product of these. No backends stand for all that are installed."""

    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    scenarios: tuple[str, ...] = STEPS
    batches: tuple[int, ...] = at_least(1, (64,))


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Suite:
    """What is measured: a network, how it is trained, on which data, and what is run.

    `load` has those that ship with dlbench and those in files, `build` makes one in code, `from_toml` and `to_toml` are
    its text. Two suites are equal when they say the same, wherever they come from.

    Attributes
    ----------
    name, description : what it is called, and what it is for.
    path : the file that it was read from, or its name.
    workload : the network with its loss, optimizer and schedule.
    data : which data feeds it.
    matrix : what is run when nothing is chosen.
    epochs : its own length of training.
    tables : what its file says, to the letter.
    verification : at which smaller shape it is verified; None where that is the one at which it is timed.
    """

    name: str
    description: str
    path: Path = dataclasses.field(compare=False)
    workload: Workload
    data: DataChoice
    matrix: Matrix
    epochs: int
    tables: Mapping[str, Any] = dataclasses.field(compare=False)
    verification: Verification | None = None

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Suite:
        """A suite by the name of one that ships with dlbench, or by the path of a TOML file.

        Raises
        ------
        SuiteError : no such suite, or a mistake in it.
        """
        return load_suite(os.fspath(name))

    @classmethod
    def from_toml(cls, text: str, name: str = "suite") -> Suite:
        """A suite from the text of a file.

        Raises
        ------
        SuiteError : the text is no TOML, or says something that cannot be carried out.
        """
        return parse_suite(text, Path(_checked(name)))

    @classmethod
    def build(
        cls,
        name: str,
        *,
        input: Sequence[int],
        layers: Sequence[Mapping[str, Any]],
        optimizer: Mapping[str, Any],
        loss: str | Mapping[str, Any] = "cross_entropy",
        schedule: Mapping[str, Any] | None = None,
        epochs: int = 1,
        data: str | Mapping[str, Any] = "noise",
        backends: Sequence[str] = (),
        devices: Sequence[str] = (),
        scenarios: Sequence[str] = (),
        batches: Sequence[int] = (),
        verification: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> Suite:
        """A suite made in code, of what a file would say; `dlbench.parts` makes layers, optimizers and schedules.

        Parameters
        ----------
        name : letters, digits and ``._+-``; the record is named after it.
        input : the shape of a sample: channels, height, width; or features.
        layers, optimizer, schedule : tables as in a file, each with its ``type``.
        loss : ``cross_entropy`` or ``mean_squared_error``, or a table of one with its options.
        data : a data set, or the table ``[data]``: ``name``, ``mean``, ``std``, ``padding``, ``augment``.
        backends, devices, scenarios, batches : what is run when nothing is chosen; see `Matrix` for what stands for
            none.
        verification : the table ``[verification]``: ``input``, ``batch``.

        Raises
        ------
        SuiteError : with the field, its value, and what would be valid.
        """
        chosen = {
            "backends": list(backends),
            "devices": list(devices),
            "scenarios": list(scenarios),
            "batches": list(batches),
        }
        training = {"loss": loss, "optimizer": optimizer, "epochs": epochs}
        given: dict[str, Any] = {
            "description": description,
            "network": {"input": input, "layers": layers},
            "training": training if schedule is None else {**training, "schedule": schedule},
            "data": {"name": data} if isinstance(data, str) else data,
            "matrix": {key: each for key, each in chosen.items() if each},
        }
        if verification is not None:
            given[SECTION] = verification
        try:
            return suite_of(given, Path(_checked(name)))
        except WorkloadError as error:
            raise SuiteError(f"{name}: {error}") from None

    def to_toml(self) -> str:
        """The text of a file that says the same; what has a default is left out."""
        import tomli_w

        return with_short_lists(tomli_w.dumps(table_of(self)))

    def __repr__(self) -> str:
        shape, parameters = format_shape(self.workload.input_shape), self.workload.parameter_count
        batches = ", ".join(map(str, self.matrix.batches))
        return (
            f"<Suite {self.name!r}: {parameters:,} parameters, input {shape}, data {self.data.name},"
            f" batch {batches}>"
        )


def list_suites() -> list[tuple[str, str]]:
    """Name and one-line description of each suite that ships with dlbench."""
    suites = []
    for file in sorted(_folder().glob("*.toml")):
        suites.append(
            (file.stem, str(tomllib.loads(file.read_text("utf-8")).get("description", "")))
        )
    return suites


def load_suite(name: str) -> Suite:
    """A suite by the name of one that ships with dlbench, or by the path of a TOML file.

    Raises
    ------
    SuiteError : no such suite, or a mistake in it.
    """
    if name.lower().endswith(".toml"):
        path = Path(os.path.expanduser(name))
        return _read(path, shortened(path.name))
    known = [file.stem for file in _folder().glob("*.toml")]
    if name not in known:
        raise SuiteError(
            f"suite {shown(name)} is unknown; {nearest(name, known)} (a file's name ends in .toml)"
        )
    path = _folder() / f"{name}.toml"
    return _read(path, path.name)


def parse_suite(text: str, path: Path) -> Suite:
    """A suite from the text of its file; `path` is for messages and the suite's name.

    Raises
    ------
    SuiteError : the text is no TOML, or says something that cannot be carried out.
    """
    name = shortened(path.name)
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SuiteError(f"{name}: not valid TOML: {shortened(one_line(str(error)))}") from None
    except ValueError:
        # Python reads no longer numbers, and its error says neither where nor in words of TOML
        where = re.search(rf"[0-9_]{{{sys.get_int_max_str_digits()}}}", text)
        line = text.count("\n", 0, where.start()) + 1 if where else "?"
        raise SuiteError(f"{name}: line {line}: a number of too many digits") from None
    try:
        return suite_of(given, path)
    except WorkloadError as error:
        raise SuiteError(f"{name}: {error}") from None


def _folder() -> Path:
    return Path(str(resources.files("dlbench.suites")))


def _read(path: Path, name: str) -> Suite:
    try:
        encoded = _bytes(path)
    except OSError as error:
        raise SuiteError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SuiteError(f"{name}: {error}") from None
    if encoded.startswith(_UTF_16):
        raise SuiteError(f"{name}: not UTF-8 text, as TOML is, but UTF-16: save it as UTF-8")
    try:
        # Windows' editors begin a file with a mark
        text = encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    return parse_suite(text, path)


def _bytes(path: Path) -> bytes:
    """What a regular file holds.

    Raises
    ------
    OSError : it cannot be read.
    ValueError : it is no regular file, reading from which may wait for ever, or is too large to be a suite.
    """
    # without waiting for whoever writes into a pipe
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is no regular file")
        encoded = file.read(_MOST_BYTES + 1)
    if len(encoded) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES // 2**10:,} KiB; a suite has a few")
    return encoded


def suite_of(given: Mapping[str, Any], path: Path) -> Suite:
    """A suite from the tables of its file; `path` is for its name.

    Raises
    ------
    WorkloadError : naming the field, its value, and what would be valid.
    """
    known = {"description", "network", "training", "data", "matrix", SECTION}
    _only(given, known, "")
    for section in ("network", "training", "data"):
        if section not in given:
            raise WorkloadError(section, ": this section is missing")
    network, training = (table(given[section], section) for section in ("network", "training"))
    _only(network, _SECTIONS["network"], "network.")
    _only(training, _SECTIONS["training"], "training.")
    workload = read_workload(
        {
            "input_shape": network.get("input"),
            "layers": network.get("layers"),
            "loss": training.get("loss", "cross_entropy"),
            "optimizer": training.get("optimizer"),
            "schedule": training.get("schedule", {"type": "constant"}),
        },
        {
            "input_shape": "network.input",
            "layers": "network.layers",
            "loss": "training.loss",
            "optimizer": "training.optimizer",
            "schedule": "training.schedule",
        },
    )
    epochs = training.get("epochs", 1)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 1 <= epochs <= MOST_EPOCHS:
        raise WorkloadError(
            "training.epochs", f" = {shown(epochs)} must be an integer of 1 to {MOST_EPOCHS:,}"
        )
    data = decode(DataChoice, given["data"], "data")
    chosen = given.get("matrix", {})
    matrix = decode(Matrix, chosen, "matrix")
    _check_data(data, workload)
    _check_matrix(matrix, chosen)
    description = given.get("description", "")
    if not isinstance(description, str):
        raise WorkloadError("description", f" = {shown(description)} must be a string")
    verification = read_verification(given[SECTION], workload) if SECTION in given else None
    return Suite(
        name=path.stem if path.suffix.lower() == ".toml" else path.name,
        description=description,
        path=path,
        workload=workload,
        data=data,
        matrix=matrix,
        epochs=epochs,
        tables=given,
        verification=verification,
    )


def check_training(workload: Workload, batch: int) -> None:
    """Refuses a batch size that a workload cannot be trained with.

    Raises
    ------
    WorkloadError : naming the layer that would have one value per channel or feature to normalise.
    """
    node = workload.untrainable(batch)
    if node is not None:
        kind = "channel" if len(node.input_shape) == 3 else "feature"
        raise WorkloadError(
            node.path,
            f": at batch {batch} batch_norm gets one value per {kind}, on which it cannot be trained;"
            " a larger batch, or scenario infer alone",
        )


def _checked(name: str) -> str:
    given: Any = name
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise SuiteError(
            f"the suite's name = {shown(name)} must be letters, digits and ._+-, at most {_LONGEST_NAME}"
        )
    return name


def _only(given: Mapping[str, Any], known: set[str], prefix: str) -> None:
    for key in given:
        if key not in known:
            raise WorkloadError(
                f"{prefix}{key}", f" is not a known key; {nearest(key, sorted(known))}"
            )


def _check_data(data: DataChoice, workload: Workload) -> None:
    shape = workload.input_shape
    for key, values in (("mean", data.mean), ("std", data.std)):
        if values and (len(shape) != 3 or len(values) != shape[0]):
            raise WorkloadError(
                f"data.{key}",
                f" = {shown(list(values))} needs one number for each of the input's channels ({shape[0]})",
            )
    if any(value <= 0 for value in data.std):
        raise WorkloadError("data.std", f" = {shown(list(data.std))} must be greater than 0")
    if bool(data.mean) != bool(data.std):
        raise WorkloadError("data", ": mean and std belong together; one of them is missing")
    if len(shape) == 3 and 2 * data.padding >= min(shape[1:]):
        raise WorkloadError(
            "data.padding", f" = {data.padding} leaves nothing of the input's {format_shape(shape)}"
        )


def _check_matrix(matrix: Matrix, given: Mapping[str, Any]) -> None:
    for key in ("backends", "devices", "scenarios", "batches"):
        values: Sequence[Any] = array(getattr(matrix, key), f"matrix.{key}")
        if not values and (key in given or key != "backends"):
            raise WorkloadError(f"matrix.{key}", " is empty: the suite has nothing to run")
        if len(set(values)) < len(values):
            raise WorkloadError(f"matrix.{key}", f" = {shown(list(values))} names one twice")
    for scenario in matrix.scenarios:
        if scenario not in SCENARIOS:
            raise WorkloadError(
                "matrix.scenarios",
                f" = {shown(scenario)} is unknown; {nearest(scenario, SCENARIOS)}",
            )
