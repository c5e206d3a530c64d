"""What the tests that need a GPU came to: a line of the record of a GPU check, so that the figures stand beside what
was seen to work on that device."""

from __future__ import annotations

import msgspec


class GpuTests(msgspec.Struct, frozen=True, tag="gpu_tests", tag_field="kind"):
    """How `pytest -m gpu` ended.

    `finished` is false where the tests were stopped, or could not be run; `reason` says why. `problems` names each
    test that failed, with the first line of what went wrong. A count is None where nothing is known. `sanitizer` is
    what compute-sanitizer said of the kernels written here, in a sentence; empty where it was not asked.
    """

    finished: bool
    reason: str = ""
    passed: int | None = None
    failed: int | None = None
    skipped: int | None = None
    seconds: float | None = None
    problems: tuple[str, ...] = ()
    sanitizer: str = ""

    @property
    def sentence(self) -> str:
        """What there is to say, in one line."""
        if self.passed is None:
            return f"The tests on the GPU say nothing: {self.reason}."
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        beside = "" if self.finished else f" (not finished: {self.reason})"
        return f"Tests on the GPU: {counts}{beside}. {self.sanitizer}".rstrip()
