"""A Python that lacks what dlbench needs gets it from wheels in a folder, beside it and without a network."""

import base64
import hashlib
import importlib
import os
import subprocess
import sys
import zipfile

import pytest

from .conftest import ROOT


@pytest.fixture(scope="module")
def tool():
    """The program as a module."""
    return importlib.import_module("gpu_check.bootstrap")


@pytest.fixture
def wheels(tmp_path):
    """A folder with one tiny wheel."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    files = {
        "carried.py": "ANSWER = 42\n",
        "carried-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n",
        "carried-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "carried-1.0-py3-none-any.whl", "w") as wheel:
        listed = ""
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            listed += f"{name},sha256={digest.decode().rstrip('=')},{len(text)}\n"
        wheel.writestr("carried-1.0.dist-info/RECORD", f"{listed}carried-1.0.dist-info/RECORD,,\n")
    return folder


def test_wheels_are_installed_beside_and_nothing_is_asked_of_a_network(tool, wheels, tmp_path):
    site = tmp_path / "site"
    environment = os.environ | {"PYTHONPATH": str(site), "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    assert "" == tool.install([str(next(wheels.glob("*.whl")))], site, environment)
    code = "import carried; print(carried.ANSWER, carried.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert f"42 {site}/carried.py" == done.stdout.strip()
    wanted = ["carried>=1", "carried>=2", "nowhere-at-all<3", "nowhere-else; python_version<'3'"]
    assert ["carried>=2", "nowhere-at-all<3"] == tool.look(wanted, environment)[0]


def test_a_folder_without_wheels_and_a_broken_wheel_are_told(tool, tmp_path):
    assert tool.bring(tmp_path, tmp_path / "site", dict(os.environ)).startswith("no wheels in ")
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    told = tool.bring(tmp_path, tmp_path / "site", dict(os.environ))
    assert "cannot be installed" in told
    assert "broken" in told


def test_what_is_missing_is_named_with_the_words_that_get_it(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "requirements", lambda to_build=False: ["numpy", "nowhere-at-all<3"])
    told = tool.bring(None, tmp_path / "site", dict(os.environ))
    assert "lacks nowhere-at-all<3;" in told
    assert "pip download -d wheels 'nowhere-at-all<3'; then here:" in told
    assert "make gpu-check WHEELS=wheels" in told


def test_what_a_requirement_requires_in_turn_is_looked_for_too(tool, wheels, tmp_path):
    (wheel,) = wheels.glob("*.whl")
    needy = tmp_path / "site" / "needy-1.0.dist-info"
    needy.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", "Name: needy", "Version: 1.0", "Requires-Dist: carried>=1"]
    (needy / "METADATA").write_text("\n".join([*lines, "Requires-Dist: more; extra == 'all'"]))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    assert ["carried>=1"] == tool.look(["needy"], environment)[0]
    assert "" == tool.install([str(wheel)], tmp_path / "site", environment)
    assert [] == tool.look(["needy"], environment)[0]


def test_only_wheels_of_what_is_missing_are_installed(tool, wheels, tmp_path):
    # a package that is there already is left as it is, whatever version was carried along
    (wheels / "click-99.0-py3-none-any.whl").write_text("no wheel")
    site = tmp_path / "site"
    environment = os.environ | {"PYTHONPATH": str(site)}
    assert "" == tool.install_missing(sorted(wheels.glob("*.whl")), site, environment)
    assert (site / "carried.py").exists()
    assert not (site / "click").exists()


def test_what_only_downloads_need_is_not_asked_for(tool):
    assert "pooch" not in map(tool.package, tool.requirements())


def test_this_project_lacks_nothing_where_its_tests_run(tool):
    assert [] == tool.look(tool.requirements(), dict(os.environ))[0]


def test_a_checkout_that_is_installed_already_is_not_installed_again(tool, tmp_path):
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    assert "" == tool.bring(None, tmp_path / "site", environment)
    assert not (tmp_path / "site").exists()


def test_dlbench_itself_is_built_from_the_checkout_and_finds_its_backends(
    tool, wheels, monkeypatch, tmp_path
):
    site = tmp_path / "site"
    # as if what is installed were another checkout's
    monkeypatch.setattr(tool, "look", lambda wanted, environment: ([], ""))
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    assert "" == tool.bring(None, site, environment)
    code = (
        "import dlbench; from dlbench.plugins import adapter_names, adapter_target\n"
        "import dlbench.backends.numpy.adapter\n"
        "print(dlbench.__file__, 'numpy' in adapter_names())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert f"{site}/dlbench/__init__.py True" == done.stdout.strip(), done.stderr

    # what has not changed is not installed again, and what has changed is
    asked = []
    monkeypatch.setattr(tool, "install", lambda what, *rest: asked.append(what) or "")
    assert "" == tool.bring(None, site, environment)
    assert [] == asked
    assert "" == tool.bring(wheels, site, environment)
    assert 1 == len(asked)


def test_a_python_without_pip_is_told_in_one_sentence(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    bare = tmp_path / "bare" / "bin" / "python"
    command = [
        bare,
        ROOT / "tools" / "gpu_check" / "bootstrap.py",
        "--site",
        tmp_path / "site",
        "--plan",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (2, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert f"{bare} has no pip: {bare} -m ensurepip, or name another" in done.stderr


def test_a_python_that_cannot_say_what_it_has_is_told(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "LOOK", "raise ModuleNotFoundError('No module named x')")
    with pytest.raises(
        tool.LookFailed, match="has installed: ModuleNotFoundError: No module named x"
    ):
        tool.bring(None, tmp_path / "site", dict(os.environ))
