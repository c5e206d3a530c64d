"""The page of histories shows what its made-up records give."""

import subprocess
import sys


def test_the_made_up_history_is_shown_as_the_page_says(root, dlbench, tmp_path):
    script = root / "docs" / "made_up_history.py"
    subprocess.run([sys.executable, script, "made-up"], cwd=tmp_path, check=True)
    files = sorted(each.relative_to(tmp_path) for each in (tmp_path / "made-up").iterdir())
    database = ("--database", "made-up.sqlite")
    added = dlbench("history", "add", *files, *database, cwd=tmp_path)
    assert 0 == added.returncode, added.stderr
    page = (root / "docs" / "history.md").read_text("utf-8")
    for words in ((), ("torch", "train")):
        shown = dlbench("history", "show", *words, *database, cwd=tmp_path, COLUMNS="140").stdout
        told = [line for line in shown.splitlines() if "since" in line or "10-24" in line]
        assert told
        for line in told:
            assert line in page
