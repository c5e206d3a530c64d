"""The driver's library, opened when it is first needed and asked in one way, so that every refusal has its reason.

Nothing needs the driver to be there. What answers to ``import pynvml`` may be an older module of that name, which
lacks functions and gives bytes for text; what needs them is refused then, with the reason.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dlbench.telemetry.log import Refused

T = TypeVar("T")

PATIENCE_S = 5.0
"""How long the driver may take to answer."""


class Hung(Refused):
    """The driver did not come back; whoever asks it again waits again."""


def answered(ask: Callable[[], T]) -> T:
    """What `ask` gives, called in a thread that is left behind where the driver does not come back.

    Raises
    ------
    Hung : it did not within `PATIENCE_S` seconds.
    Exception : whatever `ask` raises.
    """
    answers: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

    def call() -> None:
        try:
            answer = ask()
        except Exception as error:
            answers.put(_raising(error))
        else:
            answers.put(lambda: answer)

    threading.Thread(target=call, name="dlbench-driver", daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE_S)
    except queue.Empty:
        raise Hung(f"the NVIDIA driver did not answer for {PATIENCE_S:.0f} s") from None
    return answer()


@contextmanager
def opened() -> Iterator[Nvml]:
    """The library for as long as a context lasts; one that has hung is left alone.

    Raises
    ------
    Refused : see `Nvml`; `Hung` where the driver does not come back.
    """
    nvml, hung = answered(Nvml), False
    try:
        yield nvml
    except Hung:
        hung = True
        raise
    finally:
        if not hung:
            answered(nvml.close)


def _raising(error: Exception) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again


class Nvml:
    """The library, initialised.

    Raises
    ------
    Refused : there is no nvidia-ml-py, no driver, or it does not answer.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError:
            raise Refused("nvidia-ml-py is not installed: pip install nvidia-ml-py") from None
        self.lib: Any = pynvml
        self.missing_codes = self._codes("FUNCTION_NOT_FOUND", "NOT_SUPPORTED")
        self.empty_codes = self._codes("NOT_FOUND", "NO_DATA")
        self._passing_codes = self.empty_codes | self._codes(
            "TIMEOUT", "UNKNOWN", "IN_USE", "NOT_READY"
        )
        try:
            self.ask("nvmlInitWithFlags", 0)
        except Refused as refused:
            words = {
                pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver: libnvidia-ml.so.1 is not there",
                pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
            }
            raise Refused(words.get(refused.code or 0, refused.reason)) from None

    def ask(self, function: str, *arguments: Any) -> Any:
        """Calls a function of the library; text comes as such.

        Raises
        ------
        Refused : with the driver's words and the function.
        """
        call = getattr(self.lib, function, None)
        if call is None:
            raise self.refusal(self.lib.NVML_ERROR_FUNCTION_NOT_FOUND, function)
        try:
            found = call(*arguments)
        except self.lib.NVMLError as error:
            raise self.refusal(error.value, function) from None
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found

    def refusal(self, code: int, function: str) -> Refused:
        """What a return code says."""
        words = f"{self.lib.NVMLError(code)} ({function})"
        if code == self.lib.NVML_ERROR_GPU_IS_LOST:
            # whatever was asked for
            words = "the device went away (GPU is lost)"
        return Refused(words, for_good=code not in self._passing_codes, code=code)

    def close(self) -> None:
        """Gives the library back."""
        try:
            self.ask("nvmlShutdown")
        except Refused:
            # nothing depends on it any more
            return

    def _codes(self, *names: str) -> frozenset[int]:
        """Return codes by name; an older module has not got them all."""
        found = (getattr(self.lib, f"NVML_ERROR_{name}", None) for name in names)
        return frozenset(code for code in found if code is not None)
