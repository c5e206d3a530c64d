"""What runner and worker say to each other: one JSON object a line, over a private socket.

The runner sends a job and the worker answers with events, the last of which is a result or an error; then the runner
may send another. Neither side ever reads the worker's standard output, so a framework may print there what it likes. A
job and its answer are plain data, so that something other than a local process can carry them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

MAX_LINE_BYTES = 256 * 2**20
"""Longer lines are no message; a training's losses over many epochs take a few megabytes."""

MAX_TEXT_CHARS = 2**16
"""No name, fact or reason is longer."""
_MAX_NAME_CHARS = 400
"""No phase has a longer name, with its detail."""
_MAX_INTEGER = 2**63 - 1

EVENTS = ("phase", "epoch", "result", "error")
ERROR_KINDS = ("skipped", "failed", "out_of_memory")
ERROR_TEXTS = ("reason", "remedy", "missing", "trace")


class ProtocolError(Exception):
    """Something other than a message came."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as the line that carries it; dataclasses in it as objects, numbers that are not finite as NaN and
    Infinity.

    Raises
    ------
    TypeError : something in it is no data.
    """
    return json.dumps(message, separators=(",", ":"), default=_fields).encode() + b"\n"


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is no data")


def check_size(value: Any) -> None:
    """Refuses data with a text of more than `MAX_TEXT_CHARS`, an integer of more than 63 bits, or a number that is not
    finite.

    Raises
    ------
    ProtocolError : naming the first of these.
    """
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARS:
            raise ProtocolError(f"a text of {len(value):,} characters: {value[:40]!r}…")
    elif isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise ProtocolError("an integer of more than 63 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ProtocolError(f"{value} where a number should be")
    elif isinstance(value, dict):
        for name, each in value.items():
            check_size(name)
            check_size(each)
    elif isinstance(value, list):
        for each in value:
            check_size(each)


def decode(line: bytes) -> dict[str, Any]:
    """The message in a line.

    Raises
    ------
    ProtocolError : it is none.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a message: {line[:80]!r}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"not a message: {line[:80]!r}")
    return message


def decode_event(line: bytes) -> dict[str, Any]:
    """The event of a worker in a line.

    Raises
    ------
    ProtocolError : it is none, or lacks what its kind must have.
    """
    event = decode(line)
    kind = event.get("event")
    good = (
        (kind == "phase" and _is_name(event.get("phase")))
        or (kind == "epoch" and _is_epoch(event))
        or (kind == "result" and isinstance(event.get("result"), dict))
        or (
            kind == "error"
            and event.get("kind") in ERROR_KINDS
            and all(_is_text(event.get(key)) for key in ERROR_TEXTS)
        )
    )
    if not good:
        raise ProtocolError(f"not an event: {line[:80]!r}")
    return event


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_NAME_CHARS and value.isprintable()


def _is_epoch(event: Mapping[str, Any]) -> bool:
    accuracy, number = event.get("accuracy"), event.get("epoch")
    return (
        isinstance(number, int)
        and 1 <= number <= _MAX_INTEGER
        and (accuracy is None or (isinstance(accuracy, float | int) and 0 <= accuracy <= 1))
        and isinstance(event.get("train_s"), float)
        and 0 <= event["train_s"] < math.inf
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete with `data`.

        Raises
        ------
        ProtocolError : a line longer than any message.
        """
        self._rest += data
        if len(self._rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"not a message: {len(self._rest):,} bytes without an end")
        if b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            yield from lines

    @property
    def rest(self) -> bytes:
        """What came after the last complete line."""
        return bytes(self._rest)


def write(descriptor: int, line: bytes) -> None:
    """Writes an encoded message, waiting where the socket is full."""
    data = memoryview(line)
    while data:
        data = data[os.write(descriptor, data) :]


def messages(descriptor: int) -> Iterator[dict[str, Any]]:
    """The messages that come through a socket, until the other side is gone."""
    lines = Lines()
    while data := os.read(descriptor, 2**16):
        yield from map(decode, lines.feed(data))
