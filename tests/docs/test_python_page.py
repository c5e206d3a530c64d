"""The page about Python and its notebook: everything in them is run."""

import re

import nbclient
import nbformat
import pytest

MOST_BYTES = 150_000


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, cache_dir):
    """An empty folder that is the current one, for this process and those that it starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))
    return tmp_path


def test_every_snippet_of_the_page_runs_in_order_and_prints_what_it_says(root, elsewhere, capsys):
    text = (root / "docs" / "python.md").read_text("utf-8")
    found = re.findall(
        r"^```python\n(.*?)^```$(?:\n\nprints\n\n^```\n(.*?)^```$)?", text, re.M | re.S
    )
    assert len(found) >= 11
    assert 2 == sum(bool(printed) for _, printed in found)
    names = {}
    for code, printed in found:
        exec(compile(code, "docs/python.md", "exec"), names)
        said = capsys.readouterr()
        assert "" == said.err
        if printed:
            assert printed == said.out


@pytest.fixture
def notebook(root):
    return nbformat.read(root / "docs" / "notebook.ipynb", as_version=4)


def test_the_notebook_runs_from_nothing_to_a_figure(notebook, elsewhere):
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(elsewhere)}}
    ).execute()
    kinds = [set(output.get("data", {})) for cell in codes(notebook) for output in cell.outputs]
    assert "image/svg+xml" in kinds[-1]
    assert any("text/html" in kind for kind in kinds)
    assert [] == [o for cell in codes(notebook) for o in cell.outputs if o.output_type == "error"]


def test_the_notebook_is_kept_with_the_outputs_of_one_run_and_is_small(root, notebook):
    counts = [cell.execution_count for cell in codes(notebook)]
    assert list(range(1, len(counts) + 1)) == counts
    outputs = [output for cell in codes(notebook) for output in cell.outputs]
    assert "image/svg+xml" in outputs[-1]["data"]
    assert (root / "docs" / "notebook.ipynb").stat().st_size < MOST_BYTES
    nbformat.validate(notebook)


def codes(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
