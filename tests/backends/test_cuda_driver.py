"""Which GPU a plan means, and what the CUDA driver says of those there are: asked through a stub of its library."""

import re
import shutil
import subprocess
import sys

import pytest
from dlbench.backends.shared import cuda_driver
from dlbench.backends.shared.cuda_driver import cudnn_name
from dlbench.backends.shared.cuda_index import cuda_index
from dlbench.backends.shared.framework import without_cuda

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused

ONE = "GPU-8f2c11d0-aaaa-bbbb-cccc-000000000001"
TWO = "GPU-8f2c99ff-aaaa-bbbb-cccc-000000000002"
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def nobody():
    raise AssertionError("nobody is to look for devices")


@pytest.mark.parametrize(
    ("device", "index"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), (f"cuda:{TWO}", 1), ("cuda:GPU-8F2C99", 1)],
)
def test_a_device_is_found_by_its_index_or_by_a_uuid_that_is_its_alone(device, index):
    assert index == cuda_index(device, lambda: [ONE, TWO])


def test_for_the_cpu_nobody_looks_for_gpus():
    assert cuda_index("cpu", nobody) is None


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cuda:-1", "cuda:1.5", "tpu:0"])
def test_a_word_that_names_no_device_is_refused_before_anybody_looks(device):
    with pytest.raises(PlanRefused, match=f"device '{device}' is unknown"):
        cuda_index(device, nobody)


@pytest.mark.parametrize(
    ("device", "there", "told"),
    [
        ("cuda", [], "no CUDA device$"),
        ("cuda:1", [ONE], "no CUDA device 1; cuda:0 is the only one"),
        ("cuda:7", [ONE, TWO], "no CUDA device 7; cuda:0 to cuda:1 are there"),
        ("cuda:GPU-0000", [ONE, TWO], f"no CUDA device GPU-0000; there are {ONE}, {TWO}"),
        ("cuda:GPU-8f2c", [ONE, TWO], "several CUDA devices are called GPU-8f2c"),
        (f"cuda:{ONE}", [None], "the UUIDs of the devices here cannot be read"),
    ],
)
def test_a_device_that_is_not_there_is_told_with_those_that_are(device, there, told):
    with pytest.raises(BackendUnavailable) as error:
        cuda_index(device, lambda: there)
    assert re.search(told, error.value.reason)


def test_versions_of_cudnn_are_written_as_people_write_them():
    assert ["9.10.2", "9.0.0", "8.9.7"] == [cudnn_name(n) for n in (91002, 90000, 8907)]


STUB = """
#include <stdlib.h>
#include <string.h>
static int has(const char *word) { char *s = getenv("STUB"); return s && strstr(s, word) != 0; }
int cuInit(unsigned flags) { return has("no-device") ? 100 : 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index + 40; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strcpy(name, has("mig") ? "NVIDIA A100 MIG 1g.5gb" : "NVIDIA H200");
    return 0;
}
static int uuid(unsigned char *out, int device) {
    if (has("refuses") && device == 41) return 999;
    for (int i = 0; i < 16; i++) out[i] = (unsigned char)(device == 40 ? 0x10 + i : 0xa0 + i);
    return 0;
}
#ifdef OLD
int cuDeviceGetUuid(unsigned char *out, int device) { return uuid(out, device); }
#else
int cuDeviceGetUuid(unsigned char *out, int device) { return 999; }
int cuDeviceGetUuid_v2(unsigned char *out, int device) { return uuid(out, device); }
#endif
"""
FIRST = "10111213-1415-1617-1819-1a1b1c1d1e1f"
SECOND = "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf"
ASK = "from dlbench.backends.shared.cuda_driver import device_uuids; print(*device_uuids())"


def compiled(folder, name, code, *flags):
    """A shared library."""
    source = folder / f"{name}.c"
    source.write_text(code)
    library = folder / name
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", *flags, "-o", str(library), str(source)], check=True
    )
    return library


def ask(folder, code=ASK, **environment):
    """What a fresh process with that folder's libraries says."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": str(folder), "PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with the stub of the driver's library."""
    folder = tmp_path_factory.mktemp("driver")
    compiled(folder, "libcuda.so.1", STUB)
    return folder


@needs_compiler
@pytest.mark.parametrize(
    ("stub", "found"),
    [
        ("", [f"GPU-{FIRST}", f"GPU-{SECOND}"]),
        ("mig", [f"MIG-{FIRST}", f"MIG-{SECOND}"]),
        ("no-device", []),
        ("refuses", []),
    ],
)
def test_the_driver_tells_the_uuids_in_its_own_order(driver, stub, found):
    assert found == ask(driver, STUB=stub)


@needs_compiler
def test_an_old_driver_is_asked_in_the_old_way(tmp_path):
    compiled(tmp_path, "libcuda.so.1", STUB, "-DOLD")
    assert [f"GPU-{FIRST}", f"GPU-{SECOND}"] == ask(tmp_path)


@needs_compiler
def test_a_library_that_is_no_driver_tells_nothing(tmp_path):
    compiled(tmp_path, "libcuda.so.1", "int nothing(void) { return 0; }")
    assert [] == ask(tmp_path)


HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder in the place of a machine's, on which no driver is."""
    monkeypatch.setattr(cuda_driver, "_NODES", (tmp_path / "nvidiactl", tmp_path / "dxg"))
    monkeypatch.setattr(cuda_driver, "_LIBRARY", str(tmp_path / "libcuda.so.1"))
    return tmp_path


def test_where_there_is_no_driver_nothing_is_hidden(machine):
    assert {} == without_cuda(Plan("", "cpu", 1, 1))


@pytest.mark.parametrize("node", ["nvidiactl", "dxg"])
def test_what_a_drivers_module_shows_is_hidden_from_the_cpu_alone(machine, node):
    (machine / node).touch()
    assert HIDDEN == without_cuda(Plan("", "cpu", 1, 1))
    assert {} == without_cuda(Plan("", "cuda:0", 1, 1))
    assert {} == without_cuda(Plan("", "", 1, 1)), "not decided yet"


@needs_compiler
def test_what_only_the_drivers_library_shows_is_hidden(machine):
    compiled(machine, "libcuda.so.1", STUB)
    assert HIDDEN == without_cuda(Plan("", "cpu", 1, 1))


@needs_compiler
def test_cudnns_version_is_that_of_the_library_that_was_loaded(tmp_path):
    library = compiled(
        tmp_path, "libcudnn.so.9", "unsigned long cudnnGetVersion(void) { return 91301; }"
    )
    code = "from dlbench.backends.shared.cuda_driver import loaded_cudnn; print(loaded_cudnn())"
    assert ["None"] == ask(tmp_path, code)
    assert ["9.13.1"] == ask(tmp_path, f"import ctypes; ctypes.CDLL({str(library)!r}); {code}")
