"""Getting MNIST and CIFAR-10 over a network that may be slow, broken, absent or lying.

Mirrors are tried in turn; what one has delivered the next one completes. A file counts only when
its SHA-256 is the known one, and appears under its name only then.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlbench.data.download import (
    InterruptedTransferError,
    Progress,
    RefusedTransferError,
    Transfer,
    sha256_of,
)
from dlbench.errors import DataError, UsageError

_TRIES_PER_MIRROR = 3


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its name, the same on every mirror, and its SHA-256 in hexadecimal."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Collection:
    """The files of a data set and the folders (URLs that end in a slash) that have them all."""

    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]


COLLECTIONS = {
    "mnist": Collection(
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://azureopendatastorage.blob.core.windows.net/mnist/",
        ),
    ),
    "cifar10": Collection(
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
        ),
    ),
}
"""What can be fetched, by the name of its data set."""


def fetch(
    name: str,
    *,
    cache_dir: Path,
    mirrors: Sequence[str] | None = None,
    on_progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> list[Path]:
    """Fetch a data set's files into `cache_dir`/<name>; those already there and sound are kept.

    Parameters
    ----------
    name : `mnist` or `cifar10`.
    cache_dir : the folder for fetched files, made where it is missing.
    mirrors : URLs of folders to try, in order, in place of the known ones.
    on_progress : called with (file name, bytes so far, bytes in all or None) as bytes arrive.
    timeout_s : how long a connection may stay silent, in seconds, before the next mirror's turn.

    Returns
    -------
    The files' paths, in a fixed order.

    Raises
    ------
    UsageError : no such data set, or a mirror that is not an http or https URL.
    DataError : no mirror delivered a sound file; the message lists what each one did. Or the
        folder cannot be written.
    """
    if name not in COLLECTIONS:
        raise UsageError(f"{name!r} cannot be fetched, expected {' or '.join(COLLECTIONS)}")
    collection = COLLECTIONS[name]
    return [
        download(
            file,
            cache_dir / name,
            mirrors=collection.mirrors if mirrors is None else mirrors,
            on_progress=on_progress,
            timeout_s=timeout_s,
        )
        for file in collection.files
    ]


def download(
    file: RemoteFile,
    folder: Path,
    *,
    mirrors: Sequence[str],
    on_progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> Path:
    """Download one file into a folder, resuming what an earlier try left there.

    Parameters and errors are those of `fetch`.

    Returns
    -------
    The file's path; its SHA-256 has been checked.
    """
    urls = [_url(mirror, file) for mirror in mirrors]
    target = folder / file.name
    part = folder / f"{file.name}.part"
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sha256_of(target) == file.sha256:
            return target
        for url in urls:
            failure = _complete(Transfer(url, part, on_progress, timeout_s), file.sha256)
            if failure is None:
                os.replace(part, target)
                return target
            failures.append(f"\n  {url}: {failure}")
    except OSError as error:
        # Network errors are failures by here, so this one is the disk's.
        raise DataError(f"{error.filename or folder}: {error.strerror or error}") from error
    raise DataError(
        f"{file.name} could not be fetched; tried{''.join(failures) or ' no mirror'}\n"
        "check the network (and https_proxy); or get the file on another machine and give the "
        "folder it is in as --data-dir"
    )


def _complete(transfer: Transfer, sha256: str) -> str | None:
    """Bring a transfer's .part file to the known sum; returns what went wrong, or None."""
    part = transfer.part
    failure = ""
    for _ in range(_TRIES_PER_MIRROR):
        resumed = part.exists()
        # An earlier run may have been stopped between the last byte and the renaming.
        if resumed and sha256_of(part) == sha256:
            return None
        try:
            transfer.run()
        except InterruptedTransferError as error:
            failure = str(error)
            continue
        except RefusedTransferError as error:
            return str(error)
        found = sha256_of(part)
        if found == sha256:
            return None
        part.unlink()
        failure = f"SHA-256 {found}, expected {sha256}: deleted"
        if not resumed:
            break
        # The bad bytes may be another mirror's: this one gets a try from the first byte.
    return failure


def _url(mirror: str, file: RemoteFile) -> str:
    parts = urllib.parse.urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"mirror {mirror!r} is no URL of a folder, expected https://…/")
    return f"{mirror.rstrip('/')}/{file.name}"
