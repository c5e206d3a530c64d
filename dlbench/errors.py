"""The errors dlbench raises on purpose: each message says what is wrong, where, and what would be
right.

Everything that reaches a user as one line (and an exit code) derives from `DlbenchError`; any other
exception that escapes is a defect of dlbench. Workers import this module, so it stays standard
library only.
"""

from __future__ import annotations

from dlbench.text import one_line, shortened


class DlbenchError(Exception):
    """Base of every error that a user can cause and mend."""


class UsageError(DlbenchError):
    """A command line or an argument that cannot be carried out (exit code 2)."""


class SuiteError(UsageError):
    """A suite file that cannot be carried out.

    The message names the file, the path of the field, the value, and what would be valid.
    """


class WorkloadError(UsageError):
    """A network, loss or optimizer that contradicts itself; `path` is the field that does.

    The suite reader adds the file's name; see `SuiteError`.
    """

    def __init__(self, path: str, problem: str) -> None:
        text = f"{path}{problem}" if problem.startswith((" ", ":")) else f"{path}: {problem}"
        # names and values are the file's, and may be anything
        super().__init__(shortened(one_line(text)))
        self.path = path


class DataError(DlbenchError):
    """A data set's file that is missing, damaged, or not what it says it is."""


class BackendUnavailable(DlbenchError):
    """A backend that cannot run here: why, and the command or part that would change that.

    Parameters
    ----------
    reason : what is missing, one sentence.
    remedy : how to get it, for example a ``pip install`` command; empty when nothing would help.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class PlanRefused(DlbenchError):
    """A plan that an adapter does not carry out (a precision, mode or device it has not got)."""


class ContractError(DlbenchError):
    """A backend that is not what `dlbench.contract` says: the member, what it is or gives, and what it should."""
