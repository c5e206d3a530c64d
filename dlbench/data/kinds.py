"""The real data sets that lie in files: how each is called, found and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data import synthetic
from dlbench.data.files import seen
from dlbench.data.formats import cifar, mnist

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

_CLASSES = 10


@dataclass(frozen=True)
class StandIn:
    """What takes the place of a real data set: `fingerprint` is the one of its contents, as a test computes it; a run
    draws only what it uses."""

    drawn: synthetic.StandIn
    sizes: tuple[int, int]
    fingerprint: str


@dataclass(frozen=True)
class Kind:
    """How one real data set is called, found, read, split, and what stands in for it.

    `seen` says what lies there and cannot be used; `known` are SHA-256 of files that are the data set, besides
    those of a fetch; in folders that nobody named it is looked for below `subfolders` alone unless it `lies_bare`.
    """

    title: str
    find: Callable[[Sequence[Path]], Sequence[Path]]
    read: Callable[[Sequence[Path]], tuple[Samples, Samples]]
    missing: Callable[[Sequence[Path]], str]
    seen: Callable[[Sequence[Path]], tuple[Path, str] | None]
    known: frozenset[str]
    subfolders: tuple[str, ...]
    validation_share: int
    stand_in: StandIn | None = None
    classes: int = _CLASSES
    lies_bare: bool = True


def _idx_kind(
    title: str,
    zips: Sequence[str],
    one_file: str,
    subfolders: tuple[str, ...],
    known: frozenset[str] = frozenset(),
    **options: Any,
) -> Kind:
    expected = (one_file, *zips, *mnist.EXPECTED)
    return Kind(
        title=title,
        find=lambda folders: mnist.find_mnist(folders, zips, one_file),
        read=mnist.read_mnist,
        missing=mnist.missing_mnist,
        seen=lambda folders: seen(folders, expected, mnist.UNREAD),
        known=known,
        subfolders=subfolders,
        validation_share=12,
        **options,
    )


def _cifar_kind(
    title: str,
    forms: Sequence[cifar.Form],
    known: frozenset[str],
    subfolders: tuple[str, ...],
    **options: Any,
) -> Kind:
    def find(folders: Sequence[Path]) -> Sequence[Path]:
        place = cifar.find_cifar(forms, folders)
        return () if place is None else (place,)

    expected = cifar.expected(forms)
    return Kind(
        title=title,
        find=find,
        read=lambda files: cifar.read_cifar(forms, files[0]),
        missing=lambda folders: cifar.missing_cifar(forms, folders),
        seen=lambda folders: seen(folders, expected, cifar.UNREAD),
        known=known,
        subfolders=subfolders,
        validation_share=10,
        **options,
    )


KINDS = {
    "mnist": _idx_kind(
        "MNIST",
        mnist.ZIPS,
        "mnist.npz",
        ("mnist", "MNIST", "MNIST/raw", "raw"),
        mnist.KNOWN,
        stand_in=StandIn(
            synthetic.MNIST,
            (60_000, 10_000),
            "1916cb98979fc94d9d15e35f8ca326a4e355e0799afe756402b5df3d57249838",
        ),
    ),
    "fashion-mnist": _idx_kind(
        "Fashion-MNIST",
        mnist.FASHION_ZIPS,
        "fashion-mnist.npz",
        ("fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw", "data/fashion"),
        lies_bare=False,
    ),
    "kmnist": _idx_kind(
        "KMNIST",
        mnist.KMNIST_ZIPS,
        "kmnist.npz",
        ("kmnist", "KMNIST", "KMNIST/raw"),
        lies_bare=False,
    ),
    "cifar10": _cifar_kind(
        "CIFAR-10",
        cifar.CIFAR10,
        cifar.KNOWN,
        ("cifar10", "CIFAR10"),
        stand_in=StandIn(
            synthetic.CIFAR10,
            (50_000, 10_000),
            "632e990472db71548040d81a05b6ad2e1d7b94db5cea11988fd25d1bfcb15c8e",
        ),
    ),
    "cifar100": _cifar_kind(
        "CIFAR-100", cifar.CIFAR100, cifar.KNOWN_100, ("cifar100", "CIFAR100"), classes=100
    ),
}
"""The data sets by name."""
