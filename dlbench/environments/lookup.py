"""Which interpreters a command uses: those that were named, and those of the environments that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlbench import paths, plugins
from dlbench.environments.installed import Store


def completed(pythons: Mapping[str, str] | None, backends: Iterable[str]) -> dict[str, str]:
    """Interpreters by backend, with those of environments for backends that have none; see `Store.complete`."""
    return Store(paths.environments_dir()).complete(pythons or {}, backends)


def everywhere(pythons: Mapping[str, str]) -> dict[str, str]:
    """The same for all installed backends and for every environment that there is."""
    made = [each.name for each in Store(paths.environments_dir()).all()]
    return completed(pythons, [*plugins.adapter_names(), *made])
