"""dlbench: one CNN workload, several backends, proved to compute the same, timed honestly.

From Python (docs/python.md):

>>> import dlbench
>>> results = dlbench.run("smoke", backends=["numpy", "torch"])
>>> results["torch:cpu/train/16"].speedup
>>> results.to_pandas()

Importing this loads nothing else: what is used is loaded then.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_OFFERED = {
    "run": "dlbench.api.functions",
    "verify": "dlbench.api.functions",
    "profile": "dlbench.api.functions",
    "resume": "dlbench.api.functions",
    "load": "dlbench.api.functions",
    "compare": "dlbench.api.functions",
    "portability": "dlbench.api.carried_weights",
    "Interrupted": "dlbench.api.functions",
    "Results": "dlbench.api.results",
    "CaseResult": "dlbench.api.case_result",
    "Figure": "dlbench.api.case_result",
    "Comparison": "dlbench.api.compared_sides",
    "Portability": "dlbench.api.carried_weights",
    "Progress": "dlbench.api.progress",
    "Suite": "dlbench.spec.suite",
    "parts": "dlbench.api",
    "DlbenchError": "dlbench.errors",
    "UsageError": "dlbench.errors",
    "SuiteError": "dlbench.errors",
    "DataError": "dlbench.errors",
}
"""What there is for users, and where it is."""

if TYPE_CHECKING:
    from dlbench.api import parts as parts
    from dlbench.api.carried_weights import Portability as Portability
    from dlbench.api.carried_weights import portability as portability
    from dlbench.api.case_result import CaseResult as CaseResult
    from dlbench.api.case_result import Figure as Figure
    from dlbench.api.compared_sides import Comparison as Comparison
    from dlbench.api.functions import Interrupted as Interrupted
    from dlbench.api.functions import compare as compare
    from dlbench.api.functions import load as load
    from dlbench.api.functions import profile as profile
    from dlbench.api.functions import resume as resume
    from dlbench.api.functions import run as run
    from dlbench.api.functions import verify as verify
    from dlbench.api.progress import Progress as Progress
    from dlbench.api.results import Results as Results
    from dlbench.errors import DataError as DataError
    from dlbench.errors import DlbenchError as DlbenchError
    from dlbench.errors import SuiteError as SuiteError
    from dlbench.errors import UsageError as UsageError
    from dlbench.spec.suite import Suite as Suite


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # some functions are called as rooms of the package are, which an import of one would put in their place
        if not (name in _OFFERED and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _OFFERED[name]
    found = getattr(importlib.import_module(place), name, None)
    if found is None:
        found = importlib.import_module(f"{place}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*_OFFERED, *(name for name in globals() if name.startswith("__"))]
