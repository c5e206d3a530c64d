"""Environments, from a recipe of distributions that are made here, so that nothing is downloaded."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.utils import canonicalize_name

from dlbench import plugins
from dlbench.environments import installed, recipes
from dlbench.environments.installed import Store
from dlbench.environments.recipes import RECIPES, Recipe, name_of, read_word
from dlbench.errors import BackendUnavailable, UsageError

NEEDS_A_GPU = {"cupy", "cudnn"}
# nothing of it fits beside what the other tests run with
ALONE = {"mxnet"}


def write_wheel(folder, name, version):
    """A distribution with one module that says its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record.append(f"{path},sha256={digest.decode()},{len(text)}")
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder of distributions, the only place that the installer looks in."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, version in (("tallies", "2.0"), ("tallies", "1.0"), ("counters", "3.1")):
        write_wheel(folder, name, version)
    return folder


@pytest.fixture(params=["pip", "uv"])
def installer(request, shelf, monkeypatch):
    """Either installer, with a recipe for the backend ``numpy`` that needs no download."""
    if request.param == "uv":
        if shutil.which("uv") is None:
            pytest.skip("uv is not installed")
        monkeypatch.setenv("UV_FIND_LINKS", str(shelf))
        monkeypatch.setenv("UV_NO_INDEX", "1")
        monkeypatch.setenv("UV_OFFLINE", "1")
    else:
        which = shutil.which
        monkeypatch.setattr(
            installed.shutil, "which", lambda name: None if name == "uv" else which(name)
        )
        monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    recipe = Recipe("tallies==2.0", "tallies", ("counters==3.1",))
    monkeypatch.setitem(RECIPES, "numpy", recipe)
    return request.param


@pytest.fixture
def kept(tmp_path):
    return Store(tmp_path / "kept")


def test_an_environment_is_made_once_found_and_removed(installer, kept):
    steps, lines = [], []
    made, is_new = kept.create("numpy", on_step=steps.append, on_line=lines.append)
    assert ("numpy", True) == (made.name, is_new)
    assert {"tallies": "2.0", "counters": "3.1"} == made.packages
    assert made.size_bytes > 1000
    assert "installing tallies==2.0, counters==3.1" in steps
    assert lines
    ran = subprocess.run(
        [made.python, "-c", "import tallies; print(tallies.__version__)"], stdout=-1
    )
    assert b"2.0\n" == ran.stdout
    assert (made, False) == kept.create("numpy", on_step=pytest.fail)
    assert [made] == kept.all()
    kept.remove("numpy")
    assert [] == kept.all()
    assert not made.folder.exists()


def test_another_version_is_another_environment_beside_it(installer, kept):
    old, _ = kept.create("numpy==1.0")
    assert "numpy@1.0" == old.name
    assert "1.0" == old.packages["tallies"]
    assert str(old.python) == kept.complete({}, ["numpy@1.0"])["numpy@1.0"]


def test_a_version_that_there_is_none_of_leaves_nothing_behind(installer, kept):
    with pytest.raises(BackendUnavailable, match=r"failed:[\s\S]*tallies"):
        kept.create("numpy==7.7")
    assert [] == kept.all()
    assert not (kept.folder / "numpy@7.7").exists()


def half_made(kept, name="numpy"):
    place = kept.folder / name / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(sys.executable)
    return place


def test_what_is_of_no_use_or_was_interrupted_leaves_nothing_behind(installer, kept):
    if installer == "uv":
        pytest.skip("the same for both")

    def interrupted(name, python):
        assert python.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.create("numpy", check=interrupted)
    assert [".lock"] == os.listdir(kept.folder)


def test_what_a_killed_process_left_counts_for_nothing_and_goes(installer, kept):
    if installer == "uv":
        pytest.skip("the same for both")
    half_made(kept)
    assert [] == kept.all()
    assert {} == kept.complete({}, ["numpy"])
    _, is_new = kept.create("numpy")
    assert is_new


def test_a_framework_that_is_there_needs_no_environment(kept, monkeypatch):
    place = half_made(kept)
    (place.parent / "dlbench-environment.json").write_text(
        '{"python": "3.11", "packages": {}, "made": ""}'
    )
    assert {} == kept.complete({}, ["numpy"])
    gone = Recipe("no-such-thing==1", "no_such_thing_is_installed", ())
    monkeypatch.setitem(RECIPES, "numpy", gone)
    assert {"numpy": str(place / "python")} == kept.complete({}, ["numpy"])
    assert {"numpy": "mine"} == kept.complete({"numpy": "mine"}, ["numpy", "cupy", "a:B"])


def test_an_environment_whose_interpreter_is_gone_counts_for_nothing(kept):
    place = half_made(kept)
    (place.parent / "dlbench-environment.json").write_text(
        '{"python": "3.11", "packages": {}, "made": ""}'
    )
    assert ["numpy"] == [each.name for each in kept.all()]
    (place / "python").unlink()
    (place / "python").symlink_to("/no/such/python")
    assert [] == kept.all()


@pytest.mark.parametrize("told", ["", "{}", "[]", "null", '{"python": 3'])
def test_a_mark_that_is_not_one_makes_nothing_whole(kept, told):
    (half_made(kept).parent / "dlbench-environment.json").write_text(told)
    assert [] == kept.all()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "file" / "folder").create("numpy")


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("torch", ("torch", "")),
        ("torch==2.12", ("torch", "2.12")),
        ("torch@2.12", ("torch", "2.12")),
    ],
)
def test_a_word_names_a_backend_and_maybe_a_version(word, parts):
    assert parts == read_word(word)
    assert name_of(*parts) == word.replace("==", "@")


@pytest.mark.parametrize(
    "word",
    [
        "",
        "torhc",
        "torch==",
        "torch==../..",
        "torch@",
        "torch==2 --pre",
        "../x",
        "torch==-r",
        "torch>=2",
    ],
)
def test_a_word_of_another_form_is_refused(word):
    with pytest.raises(UsageError, match=r"no recipe|no version"):
        read_word(word)


def test_nothing_is_removed_that_is_not_there(kept):
    with pytest.raises(UsageError, match="there is no environment 'numpy@9'; there are: none"):
        kept.remove("numpy@9")


def test_every_backend_has_a_recipe_with_the_versions_that_the_tests_run_with(pytestconfig):
    lines = (pytestconfig.rootpath / "constraints.txt").read_text("utf-8").splitlines()
    pins = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines)}
    # plain NumPy is there wherever dlbench is
    assert set(plugins.adapter_names()) - NEEDS_A_GPU - {"numpy-plain"} <= RECIPES.keys()
    for recipe in (RECIPES[backend] for backend in RECIPES.keys() - ALONE):
        for each in (recipe.framework, *recipe.beside):
            name, _, version = each.partition("==")
            assert pins[canonicalize_name(name)] == version, name


def test_recipes_are_of_extras_of_the_project(pytestconfig):
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    assert RECIPES.keys() - {"numpy"} - ALONE <= project["optional-dependencies"].keys()


def test_a_recipe_for_an_older_python_needs_uv_to_bring_one(kept, monkeypatch):
    steps = []
    recipe = Recipe("tallies==2.0", "tallies", (), last_python="3.9")
    monkeypatch.setitem(RECIPES, "numpy", recipe)
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"for a Python after 3\.9, and this") as refused:
        kept.create("numpy", on_step=steps.append)
    assert "install uv" in refused.value.remedy
    assert [] == kept.all()
    monkeypatch.setattr(installed.shutil, "which", lambda name: "/no/such/uv")
    with pytest.raises(FileNotFoundError):
        kept.create("numpy", on_step=steps.append)
    assert ["making numpy for Python 3.9"] == steps
    assert (recipe.fits((3, 9)), recipe.fits((3, 10))) == (True, False)


def test_beside_another_version_the_rest_is_the_installers():
    recipe = recipes.RECIPES["onnxruntime"]
    assert all("==" in each for each in recipe.requirements())
    assert recipe.requirements() == recipe.requirements("1.32.0")
    assert ("onnxruntime==1.31.1", "onnx", "numpy") == recipe.requirements("1.31.1")
