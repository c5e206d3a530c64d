"""A library's call as a program's work, among launches of kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from ..launches.device import Device
from ..launches.program import Program, Value, Work
from .algorithms import Search
from .handles import Libraries, Made


class LibraryDevice(Device, Protocol):
    """A CUDA device with the libraries."""

    libraries: Libraries
    search: Search

    def bind_call(self, function: Callable[..., None], args: Sequence[Any]) -> Callable[[], None]:
        """What calls a function with the addresses of the buffers among its arguments; what a `Pointer` points to is
        looked up at each call. The function queues its work on the device's stream."""


@dataclasses.dataclass(frozen=True)
class Call(Work):
    """A call of a function, whose `args` are what follows the library's handle."""

    name: str
    args: tuple[Any, ...]
    precision: str

    def bind(self, device: LibraryDevice) -> Callable[[], None]:
        """Holds descriptors for as long as it can be called."""
        library, handle = device.libraries.handle_of(self.name, self.precision)
        return device.bind_call(library.binding(self.name), (handle, *self.placed))


def device_of(program: Program) -> LibraryDevice:
    """The device that a program is for, which has the libraries."""
    return cast(LibraryDevice, program.device)


def libraries_of(program: Program) -> Libraries:
    """The libraries of the device that a program is for."""
    return device_of(program).libraries


def call(program: Program, name: str, *args: Any, precision: str = "fp32") -> None:
    """Appends a call."""
    program.launches.append(Call(name, args, precision))


def described(
    program: Program, value: Value, shape: Sequence[int], strides: Sequence[int] = ()
) -> Made:
    """A descriptor of a value whose samples are C×H×W of this shape, or features; the strides are a pixel's, where
    they are not those of dense samples."""
    channels, height, width = (*shape, 1, 1)[:3]
    inner = tuple(strides) or (height * width, width, 1)
    dims = (value.samples, channels, height, width)
    return libraries_of(program).tensor(dims, (value.stride, *inner))


def of_channels(program: Program, channels: int) -> Made:
    """A descriptor of one number for each channel."""
    return libraries_of(program).tensor((1, channels, 1, 1), (channels, 1, 1, 1))
