"""Downloads MNIST and its kin and CIFAR: mirrors are tried in turn, and a file counts only with the known SHA-256."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dlbench.errors import DataError, UsageError

Progress = Callable[[str, int, int | None], None]

MAX_BYTES = 1 << 28
_CHUNK_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Collection:
    """The files of a data set, as SHA-256 by name, and the mirrors: URLs of folders that hold all of them."""

    files: Mapping[str, str]
    mirrors: tuple[str, ...]


COLLECTIONS = {
    "mnist": Collection(
        files={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://azureopendatastorage.blob.core.windows.net/mnist/",
        ),
    ),
    "fashion-mnist": Collection(
        files={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        mirrors=("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",),
    ),
    "kmnist": Collection(
        files={
            "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
        mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    "cifar10": Collection(
        files={
            "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        },
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
        ),
    ),
    "cifar100": Collection(
        files={
            "cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
        },
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
        ),
    ),
}
"""What can be downloaded, by the name of its data set. The sums of KMNIST and CIFAR-100 are those that TensorFlow
Datasets checks, of Fashion-MNIST those that go with the MD5 sums in its repository."""


def fetch(
    name: str,
    *,
    cache_dir: Path,
    mirrors: Sequence[str] | None = None,
    on_progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> list[Path]:
    """Downloads a data set's files into `cache_dir`/<name>; those already there with the right SHA-256 are kept.

    A file appears under its name only when it is complete.

    Parameters
    ----------
    name : one of `COLLECTIONS`.
    cache_dir : the folder for downloaded files, created where it is missing.
    mirrors : URLs of folders to try, in order, in place of the known ones.
    on_progress : called with (file name, bytes so far, bytes in all or None) as bytes arrive.
    timeout_s : how long a connection may stay silent, in seconds, before the next mirror is tried.

    Returns
    -------
    The files' paths, in a fixed order.

    Raises
    ------
    UsageError : no such data set, or a mirror that is not an http or https URL.
    DataError : no mirror delivered a file with the right SHA-256; the message lists the reason of each. Or the
        folder cannot be written.
    """
    if name not in COLLECTIONS:
        raise UsageError(f"{name!r} cannot be fetched, expected one of {', '.join(COLLECTIONS)}")
    collection, folder = COLLECTIONS[name], cache_dir / name
    urls = [_folder_url(mirror) for mirror in mirrors or collection.mirrors]
    paths = []
    for file, sha256 in collection.files.items():
        try:
            failures = _download(file, sha256, folder, urls, on_progress, timeout_s)
        except OSError as error:
            # network errors are among the failures, so this one is the disk's
            raise DataError(f"{error.filename or folder}: {error.strerror or error}") from error
        if failures:
            names = ", ".join(collection.files)
            raise DataError(
                f"{file} could not be downloaded; tried{''.join(failures)}\n"
                f"check the network (and https_proxy); or download on another machine {names}"
                f" and copy to {folder}, or to any folder that --data-dir then names"
            )
        paths.append(folder / file)
    return paths


class _Bar:
    """What pooch shows progress with: passes it on, and stops a server that sends without end."""

    total = 0

    def __init__(self, file: str, on_progress: Progress | None) -> None:
        self._file, self._on_progress, self._done = file, on_progress, 0

    def update(self, size_bytes: int) -> None:
        """So many more bytes arrived; pooch counts the last chunk as a whole one."""
        self._done += size_bytes
        if self._done > MAX_BYTES + _CHUNK_BYTES:
            raise ValueError(f"sent more than {MAX_BYTES} bytes")
        if self._on_progress is not None:
            done = min(self._done, self.total or self._done)
            self._on_progress(self._file, done, self.total or None)

    def reset(self) -> None:
        """Counts from the start again."""
        self._done = 0

    def close(self) -> None:
        """All bytes arrived."""


def _download(
    file: str,
    sha256: str,
    folder: Path,
    urls: Sequence[str],
    on_progress: Progress | None,
    timeout_s: float,
) -> list[str]:
    """Has a file delivered by the first mirror that can; else why each could not."""
    # only here: what downloads nothing starts without them
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    failures = []
    for url in urls:
        downloader = pooch.HTTPDownloader(
            progressbar=_Bar(file, on_progress),
            chunk_size=_CHUNK_BYTES,
            timeout=timeout_s,
            headers={"User-Agent": "dlbench", "Accept-Encoding": "identity"},
        )
        source = pooch.create(folder, url, registry={file: sha256})
        try:
            source.fetch(file, downloader=downloader)
        except requests.Timeout:
            reason = f"no answer within {timeout_s:g} s"
        except requests.RequestException as error:
            found = re.search(r"\[Errno -?\d+\] ([^'\"()]+)", str(error))
            reason = found[1] if found else str(error)
        except ValueError as error:
            reason = str(error)
        else:
            return []
        failures.append(f"\n  {url}{file}: {reason}")
    return failures


def _folder_url(mirror: str) -> str:
    parts = urllib.parse.urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"mirror {mirror!r} is not the URL of a folder, expected https://…/")
    return f"{mirror.rstrip('/')}/"
