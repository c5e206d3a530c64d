"""What the tests of the functions share: a folder to run in, and a run of the tiny suite."""

import pytest

import dlbench


@pytest.fixture
def here(tmp_path, monkeypatch, cache_dir):
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))
    return tmp_path


@pytest.fixture(scope="session")
def ran(tiny, tmp_path_factory, cache_dir):
    """A run of the tiny suite with a progress callback: its results, and what it told."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("ran"))
        patch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))
        results = dlbench.run(
            tiny,
            budget=0.2,
            rounds=2,
            threads=1,
            max_wait=0,
            output=folder / "tiny.jsonl",
            progress=told.append,
        )
    return results, told
