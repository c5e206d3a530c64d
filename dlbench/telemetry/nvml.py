"""The driver's library, opened when it is first needed and asked in one way, so that every refusal has its reason.

Nothing here is imported before a run that has a GPU case, and nothing needs the driver to be there.
"""

from __future__ import annotations

from typing import Any

from dlbench.telemetry.log import Refused


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
        missing = {pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED}
        self.missing_codes = frozenset(missing)
        self.empty_codes = frozenset({pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA})
        self._passing_codes = self.empty_codes | {
            pynvml.NVML_ERROR_TIMEOUT,
            pynvml.NVML_ERROR_UNKNOWN,
            pynvml.NVML_ERROR_IN_USE,
            pynvml.NVML_ERROR_NOT_READY,
        }
        try:
            self.ask("nvmlInitWithFlags", 0)
        except Refused as refused:
            words = {
                pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver: libnvidia-ml.so.1 is not there",
                pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
            }
            raise Refused(words.get(refused.code or 0, refused.reason)) from None

    def ask(self, function: str, *arguments: Any) -> Any:
        """Calls a function of the library.

        Raises
        ------
        Refused : with the driver's words and the function.
        """
        try:
            return getattr(self.lib, function)(*arguments)
        except self.lib.NVMLError as error:
            raise self.refusal(error.value, function) from None

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
