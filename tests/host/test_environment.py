"""What a worker tells of the packages that are installed."""

import sys

from dlbench.host import environment


def installed(folder, name):
    """A distribution's metadata in a folder."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_what_a_package_brings_for_itself_is_not_installed(tmp_path, monkeypatch):
    before = environment.read()
    installed(tmp_path / "setuptools" / "_vendor", "brought")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "setuptools" / "_vendor")])
    assert before == environment.read()
    installed(tmp_path / "own", "theirs")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "own")])
    assert before.package_count + 1 == environment.read(["theirs"]).package_count
    assert "1.0" == environment.read(["theirs"]).packages["theirs"]


def test_what_the_allocator_is_told_is_known_without_whose_folders_it_comes_from():
    told = {"HOME": "/opt/me", "MALLOC_TRIM_THRESHOLD_": "1", "GLIBC_TUNABLES": "glibc.malloc.a=2"}
    facts = {"malloc_trim_threshold_": "1", "glibc_tunables": "glibc.malloc.a=2"}
    assert facts == environment.allocator_facts(told)
    several = {"LD_PRELOAD": "/opt/libjemalloc.so.2 /opt/libother.so"}
    assert {"preloaded": "libjemalloc.so.2 libother.so"} == environment.allocator_facts(several)
    assert {} == environment.allocator_facts({"LD_PRELOAD": ""})
