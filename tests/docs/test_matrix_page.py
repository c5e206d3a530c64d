"""The page of what each backend has, held against the backends that are installed."""

import re
from pathlib import Path

import pytest

from dlbench import plugins
from dlbench.cli.frameworks.offers import ask
from dlbench.plan.matrix import SECTIONS
from dlbench.spec.layers import KINDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backends.md").read_text("utf-8")
# to compile takes some minutes
QUICK = [section for section in SECTIONS if section != "mode"]


def tables(text):
    """What a page says: by section, backend and word; the numbers of footnotes differ between pages."""
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        section, _, rest = part.partition("\n")
        rows = [
            [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
            for line in rest.splitlines()
            if line.startswith("|")
        ]
        if section == "backends":
            continue
        (_, *backends), _, *lines = rows
        for word, *cells in lines:
            for backend, cell in zip(backends, cells, strict=True):
                found[section, backend, word] = re.sub(r" \(\d+\)$", "", cell)
    return found


def compared(backend, sections, cache_dir):
    asked = ask([backend], sections=sections, cache_dir=cache_dir)
    said = tables(plugins.text_of(asked, "markdown", plugins.MATRICES))
    on_page = tables(PAGE)
    assert said
    if backend == "torch" and not has_exact_integers():
        # the page is of processors with VNNI
        assert "fails" == said.pop(("precision", "torch", "int8"))
    return {key: (on_page.get(key), state) for key, state in said.items()}


def has_exact_integers():
    from dlbench.backends.torch import integers

    return integers._observed_sums() == "exact"


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_page_says_what_a_backend_says(backend, cache_dir):
    pytest.importorskip(backend)
    found = compared(backend, QUICK, cache_dir)
    assert {} == {key: pair for key, pair in found.items() if pair[0] != pair[1]}


@pytest.mark.soak
@pytest.mark.parametrize("backend", plugins.adapter_names())
def test_the_whole_page_says_what_every_backend_says(backend, cache_dir):
    asked = ask([backend], sections=["device"], cache_dir=cache_dir)
    if asked.columns[backend].absent:
        pytest.skip(asked.columns[backend].absent)
    found = compared(backend, SECTIONS, cache_dir)
    assert {} == {key: pair for key, pair in found.items() if pair[0] != pair[1]}


def test_the_page_has_every_backend_and_every_layer():
    said = tables(PAGE)
    assert set(plugins.adapter_names()) == {backend for _, backend, _ in said}
    assert set(KINDS) == {word for section, _, word in said if section == "layer"}
