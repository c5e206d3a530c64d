"""What importing dlbench costs, and that its functions stay what they are whatever else is imported."""

import subprocess
import sys

import pytest

import dlbench

HEAVY = {"numpy", "scipy", "pandas", "msgspec", "click", "rich", "torch", "tensorflow", "cupy"}
ROOMS = ("verify", "compare", "profile")


def modules_after(code):
    """The top-level packages that a fresh interpreter has loaded then."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_it_loads_nothing_that_is_heavy():
    assert set() == modules_after("import dlbench; dir(dlbench)") & HEAVY


@pytest.mark.parametrize("name", ["run", "load", "Results", "Suite", "Progress"])
def test_what_is_named_loads_no_framework_and_no_pandas(name):
    loaded = modules_after(f"import dlbench; dlbench.{name}")
    assert "dlbench" in loaded
    assert set() == loaded & {"pandas", "torch", "tensorflow", "cupy", "click", "rich"}


@pytest.mark.parametrize(
    "first", ["", "import dlbench.verify.check, dlbench.compare, dlbench.profile"]
)
def test_functions_that_are_called_as_rooms_are_functions_whatever_is_imported_first(first):
    calls = "; ".join(f"assert callable(dlbench.{name})" for name in ROOMS)
    modules_after(f"{first}\nimport dlbench; {calls}")
    modules_after(f"import dlbench; {calls}\n{first}\n{calls}")


def test_all_that_is_offered_is_there_has_a_docstring_and_is_listed():
    for name in dir(dlbench):
        if not name.startswith("_"):
            assert getattr(dlbench, name).__doc__, name
    assert {"run", "load", "Suite", "__version__"} <= set(dir(dlbench))
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = dlbench.rum
