"""What every test shares: which tests run by default, how hypothesis draws, and the stub of NVIDIA's library."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

pytest_plugins = ["record_makers", "tiny_runs"]
NVML_STUB = Path(__file__).resolve().parent / "telemetry" / "nvml_stub.c"

# No deadline: a slow machine is not a defect. The default profile draws the same examples every
# time, so that a failure is the change's doing; `make soak` looks for new examples.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "searching",
    parent=settings.get_profile("repeatable"),
    derandomize=False,
    max_examples=1000,
    # what was found once is tried first, and can be made again from what is printed
    database=DirectoryBasedExampleDatabase(
        Path(__file__).resolve().parents[1] / ".hypothesis/examples"
    ),
    print_blob=True,
)
# What a shell starts in the background ignores Ctrl-C, what `nohup` starts the end of its terminal, and so would all
# that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A pytest that a test starts is none of the processes that share these tests.
os.environ.pop("PYTEST_XDIST_WORKER", None)
# Whatever the width of the terminal from which tests are started; pytest-xdist sets one of its own.
os.environ.pop("COLUMNS", None)
# Networks this small are slower on several threads, far slower where several tests run at once.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# Nobody waits for a quiet machine in tests.
os.environ.setdefault("DLBENCH_PATIENCE", "0")
settings.load_profile(os.environ.get("DLBENCH_HYPOTHESIS", "repeatable"))


@pytest.fixture(scope="session", autouse=True)
def _one_cache(cache_dir: Path) -> None:
    """What the oracle has computed is there for every program that a test starts, unless it names another cache."""
    os.environ["DLBENCH_CACHE_DIR"] = str(cache_dir)
    # kernels are compiled once for all tests, and leave nothing behind
    os.environ["POCL_CACHE_DIR"] = str(cache_dir / "pocl")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what times something, so that `-m "not benchmark"` leaves it out."""
    for item in items:
        if "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker("benchmark")


@pytest.fixture(scope="session")
def nvml_stub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with what stands in for libnvidia-ml.so.1: of a ``new`` driver, and of an ``old`` one."""
    if shutil.which("gcc") is None:
        pytest.fail("gcc is not there: the stub of libnvidia-ml.so.1 cannot be compiled without it")
    folders = {}
    for kind, flags in (("new", []), ("old", ["-DOLD_DRIVER"])):
        folders[kind] = tmp_path_factory.mktemp(f"nvml-{kind}")
        command = ["gcc", "-O1", "-Wall", "-shared", "-fPIC", *flags]
        command += ["-Wl,-soname,libnvidia-ml.so.1", str(NVML_STUB)]
        command += ["-o", str(folders[kind] / "libnvidia-ml.so.1")]
        built = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert 0 == built.returncode, built.stderr
    return folders
