"""``.npz`` files: written piece by piece, so that no more is held in memory than one piece, and read without believing
what their headers announce."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dlbench.data.files import open_regular, read_at_most
from dlbench.errors import DataError
from dlbench.text import shortened

Pieces = Iterable[npt.NDArray[Any]]


class Writer:
    """A file that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, pieces: Pieces) -> None:
        """Writes an array of `shape` and `dtype` from `pieces` of it, in row-major order.

        Raises
        ------
        ValueError : the pieces are of another type, or not as many elements as the shape has.
        """
        written, kind = 0, np.dtype(dtype)
        header = {"descr": kind.str, "fortran_order": False, "shape": shape}
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for piece in pieces:
                if piece.dtype != kind:
                    raise ValueError(f"{name}: a piece of {piece.dtype} for an array of {kind}")
                # bytes by the view, since a buffer's length counts its first axis
                member.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
                written += piece.size
        if written != math.prod(shape):
            raise ValueError(f"{name}: pieces of {written} elements for an array of {shape}")


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A new file at `path`, which is complete when the context ends."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        yield Writer(archive)


def read_npz(path: Path, wanted: Mapping[str, int], max_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """Reads arrays of whole numbers from a file that may come from anybody.

    Parameters
    ----------
    wanted : the arrays by name, each with how many dimensions it must have; others are not looked at.
    max_bytes : the most that one of them may announce.

    Raises
    ------
    DataError : the file cannot be read or is damaged, or an array is missing, too large, or of another kind.
    """
    found = {}
    with open_regular(path) as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                for name, dimensions in wanted.items():
                    if f"{name}.npy" not in archive.namelist():
                        there = ", ".join(archive.namelist()[:8]) or "nothing"
                        raise DataError(
                            f"{path}: {name} is not in it, found {shortened(there, 200)}"
                        )
                    with archive.open(f"{name}.npy") as member:
                        where = f"{path}: {name}"
                        found[name] = _array(where, member, dimensions, max_bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
            # RuntimeError: encrypted, or packed in a way that is not known
            raise DataError(
                f"{path}: damaged or no .npz file ({shortened(str(error), 200)})"
            ) from error
    return found


def _array(where: str, member: IO[bytes], dimensions: int, max_bytes: int) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(member)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise DataError(f"{where}: version {version} of .npy is not read, expected 1.0 or 2.0")
    try:
        shape, is_fortran, kind = read_header(member)
    except Exception as error:
        # it is read as Python, of which anything may come
        raise DataError(f"{where}: its header is damaged ({shortened(str(error), 200)})") from error
    if kind.hasobject or kind.kind not in "iu":
        raise DataError(f"{where}: found values of type {kind}, expected whole numbers")
    if len(shape) != dimensions or any(size < 0 for size in shape):
        raise DataError(f"{where}: found shape {shape}, expected {dimensions} dimensions")
    expected = math.prod(shape) * kind.itemsize
    if expected > max_bytes:
        raise DataError(f"{where}: announces {expected} bytes, expected at most {max_bytes}")
    content = read_at_most(member, expected)
    if len(content) != expected:
        less = "less" if len(content) < expected else "more"
        raise DataError(f"{where}: holds {less} than the {expected} bytes that it announces")
    array = np.frombuffer(content, kind)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
