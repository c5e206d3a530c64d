"""The page about Python: everything in it is run."""

import re

import pytest


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
    assert len(found) >= 9
    assert 1 == sum(bool(printed) for _, printed in found)
    names = {}
    for code, printed in found:
        exec(compile(code, "docs/python.md", "exec"), names)
        said = capsys.readouterr()
        assert "" == said.err
        if printed:
            assert printed == said.out
