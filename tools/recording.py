"""Reads the step times of processes that all ran the same code: a record of `dlbench gate --calibrate`, or a CSV file
as they were recorded before there was one."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlbench.errors import DlbenchError
from dlbench.gate import schema
from dlbench.gate.pairs import summary


def read_timings(path: Path) -> list[npt.NDArray[np.float64]]:
    """The step times of a recording's processes, in the order in which they ran.

    Parameters
    ----------
    path : a calibration's record, or a CSV file, gzipped where it is called ``.gz``: a header line, then one row a
        process, its number and its step times in any one unit.

    Raises
    ------
    DlbenchError : the file is not of this form.
    """
    if schema.is_one(path):
        halves = (line for line in schema.read(path).lines if isinstance(line, schema.Half))
        return [np.array(half.process.timings_ns, np.float64) for half in halves]
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt") as file:
            rows = [row[1:] for row in csv.reader(file)][1:]
        timings = [np.array([float(time) for time in row]) for row in rows]
        for each in timings:
            summary(each)
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise DlbenchError(
            f"{path}: not a recording of processes (number, then step times): {error}"
        ) from None
    return timings


def read_stream(path: Path) -> npt.NDArray[np.float64]:
    """The summaries of a recording's processes; see `read_timings`."""
    return np.array([summary(timings) for timings in read_timings(path)])
