"""What is installed where a worker runs: a figure is one of the versions that it was measured with.

Read in the worker itself, since a backend may have an interpreter of its own. The whole list of packages is
told by a digest, which shows that two lists differ without telling what somebody has installed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence

from dlbench.record.facts import Environment

PACKAGES = ("dlbench", "numpy", "scipy", "pandas", "scikit-learn", "threadpoolctl", "nvidia-ml-py")
"""Distributions whose versions are recorded wherever they are installed, beside those that an adapter names."""


_ALLOCATOR = (
    *("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_"),
    *("MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_"),
)


def allocator_facts(environment: Mapping[str, str]) -> dict[str, str]:
    """What environment variables tell the C library's allocator, on which it depends how often a step has to ask the
    system for pages; and the names of libraries that are loaded before it, as other allocators are."""
    told = {name.lower(): environment[name] for name in _ALLOCATOR if name in environment}
    before = re.split(r"[\s:]+", environment.get("LD_PRELOAD", "").strip())
    names = " ".join(os.path.basename(each) for each in before if each)
    return told | ({"preloaded": names} if names else {})


def read(packages: Sequence[str] = ()) -> Environment:
    """This interpreter's environment, with the versions of `packages` too. The working folder does not belong to
    it."""
    # reading the metadata of a hundred packages takes a tenth of a second, and importing their reader too
    from importlib.metadata import distributions

    here = os.path.realpath(os.getcwd())
    # importing setuptools puts the copies that it brings for itself on the path: nobody installed them, and whether
    # they are seen would depend on what a process happened to import before
    places = (place for place in sys.path if os.path.basename(place) != "_vendor")
    folders = [place for place in places if place and os.path.realpath(place) != here]
    found: dict[str, str] = {}
    for each in distributions(path=folders):
        name = each.metadata["Name"]
        if name:
            # what lies first on the path is what is imported
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version)
    listed = "\n".join(f"{name}=={version}" for name, version in sorted(found.items()))
    return Environment(
        python=platform.python_version(),
        packages={name: found[name] for name in (*PACKAGES, *packages) if name in found},
        package_count=len(found),
        packages_digest=hashlib.sha256(listed.encode()).hexdigest(),
    )
