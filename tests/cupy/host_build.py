"""Kernel sources compiled for the CPU: one library for each text, kept in a folder of the machine's own."""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HEADERS = Path(__file__).parent / "host"
_FLAGS = [
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-march=native",
    "-fvisibility=hidden",
    "-fcf-protection=none",
    "-fno-exceptions",
    "-fno-rtti",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-unused-variable",
]
MODES = {
    # for what takes long to run
    "fast": ["-O3", "-Werror=frame-larger-than=16384"],
    # for what takes longer to compile than to run
    "quick": ["-O1", "-Werror=frame-larger-than=16384"],
    # as on processors for which there is no switching of our own
    "portable": ["-O1", "-DHOST_UCONTEXT"],
    "sanitized": [
        "-O0",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize=vptr",
        "-fno-sanitize-recover=undefined",
        "-fsanitize-sections=dlshared",
    ],
}
_WORKERS = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
_KERNEL = re.compile(
    r"__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\((?P<bounds>[^()]*(?:\([^()]*\)[^()]*)*)\)\s*)?"
    r"(?:void\s+)?(?P<name>\w+)\s*\("
)


class SourceError(Exception):
    """The compiler refused a kernel's source; holds its words."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What a kernel takes at one place.

    Attributes
    ----------
    access : ``v`` by value, ``r`` a pointer to const, ``w`` a pointer.
    kind : NumPy's letter for the type, ``f``, ``i``, ``u``, or ``V`` for a structure.
    item_bytes : the size of the value, or of what is pointed to.
    """

    access: str
    kind: str
    item_bytes: int


@dataclasses.dataclass(frozen=True)
class HostKernel:
    """One kernel of a compiled text.

    Attributes
    ----------
    name : of the function.
    libraries : the same library, loaded once for each thread that runs blocks: its shared memory
        is static, so no two may run in one.
    parameters : in their order.
    most_threads : from ``__launch_bounds__``; a block on any device holds 1024.
    """

    name: str
    libraries: tuple[ctypes.CDLL, ...]
    parameters: tuple[Parameter, ...]
    most_threads: int

    def mutate(self, number: int) -> None:
        """Switches off what `mutants.switchable` numbered so; -1 for nothing."""
        for library in self.libraries:
            ctypes.c_int.in_dll(library, "host_mutant").value = number


def compiler() -> str | None:
    """The C++ compiler: $CXX, or the first that is found."""
    named = os.environ.get("CXX")
    return named or next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


@dataclasses.dataclass(frozen=True, eq=False)
class Pending:
    """A kernel that is being compiled while others are asked for."""

    name: str
    text: concurrent.futures.Future[dict[str, HostKernel]]

    @property
    def ready(self) -> HostKernel:
        """The kernel; waits for it.

        Raises
        ------
        SourceError : with the compiler's message.
        """
        found = self.text.result()
        if self.name not in found:
            raise SourceError(f"no __global__ function {self.name}; there are {', '.join(found)}")
        return found[self.name]


def start(text: str, name: str, mode: str, copies: int) -> Pending:
    """The kernel `name` of a text, with all others of it, compiled as `MODES` says and loaded `copies` times."""
    return Pending(name, _start(text, mode, copies))


@functools.cache
def _start(text: str, mode: str, copies: int) -> concurrent.futures.Future[dict[str, HostKernel]]:
    return _WORKERS.submit(_make, text, mode, copies)


def _make(text: str, mode: str, copies: int) -> dict[str, HostKernel]:
    found = [(match["name"], match["bounds"]) for match in _KERNEL.finditer(text)]
    path = _build(text, found, MODES[mode])
    libraries = tuple(_load(path, copy) for copy in range(copies))
    return {name: _describe(name, libraries) for name, _ in found}


def _describe(name: str, libraries: tuple[ctypes.CDLL, ...]) -> HostKernel:
    codes = (ctypes.c_int * 64)()
    count = getattr(libraries[0], f"host_describe_{name}")(codes)
    parameters = tuple(
        Parameter(chr(code >> 16), chr(code >> 8 & 255), code & 255) for code in codes[:count]
    )
    return HostKernel(name, libraries, parameters, getattr(libraries[0], f"host_bound_{name}")())


def _build(text: str, found: list[tuple[str, str | None]], mode: list[str]) -> Path:
    program = compiler()
    if program is None:
        raise SourceError("no C++ compiler: install g++, or name one in CXX")
    flags = [*_FLAGS, *mode]
    # Between defines, the expression in __launch_bounds__ means the same at the end of the text.
    exports = [
        f"HOST_EXPORT({name}, (({(bounds or '1024').partition(',')[0]})))" for name, bounds in found
    ]
    folder = _folder()
    name = hashlib.sha256(
        "\0".join([text, *flags, *exports, _surroundings()]).encode()
    ).hexdigest()[:24]
    target = folder / f"{name}.so"
    source = folder / f"{name}.cu"
    with source.open("a") as held:
        # of several processes that want it one compiles
        fcntl.flock(held, fcntl.LOCK_EX)
        if not target.exists():
            source.write_text(text, "utf-8")
            _compile(program, flags, exports, source, target)
    return target


def _compile(
    program: str, flags: list[str], exports: list[str], source: Path, target: Path
) -> None:
    # In a namespace without a name everything is local to the library, templates' shared arrays too.
    kernel = ["namespace {", f'#include "{source}"', "}"]
    lines = ['#include "cuda_host.h"', '#include "launch.h"', *kernel, *exports, ""]
    with tempfile.TemporaryDirectory(dir=target.parent) as private:
        main = Path(private) / "main.cpp"
        main.write_text("\n".join(lines), "utf-8")
        made = Path(private) / "made.so"
        folders = [f"-I{folder}" for folder in (_headers(program, tuple(flags)), HEADERS)]
        command = [program, *flags, *folders, "-o", str(made), str(main)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            raise SourceError(told.stderr.replace(str(source), "kernel.cu"))
        made.replace(target)


@functools.cache
def _headers(program: str, flags: tuple[str, ...]) -> Path:
    """A folder in which the compiler finds the headers compiled ahead: they take it as long as most kernels do.

    It takes what is there only for the very flags with which it was made, and reads the headers themselves otherwise.
    """
    name = hashlib.sha256("\0".join([*flags, _surroundings()]).encode()).hexdigest()[:24]
    folder = _folder() / f"headers-{name}"
    folder.mkdir(exist_ok=True)
    made = folder / "cuda_host.h.gch"
    with (folder / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists():
            private = folder / "private"
            command = [program, *flags, "-x", "c++-header", f"-I{HEADERS}", "-o", str(private)]
            words = [*command, str(HEADERS / "cuda_host.h")]
            done = subprocess.run(words, capture_output=True, check=False)
            if done.returncode == 0:
                private.replace(made)
    return folder


def _load(path: Path, copy: int) -> ctypes.CDLL:
    """The loader gives one and the same library for a path, so each further one is a copy of the file."""
    if copy:
        copied = path.with_name(f"{path.stem}-{copy}.so")
        if not copied.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(path.read_bytes())
            Path(file.name).replace(copied)
        path = copied
    library = ctypes.CDLL(str(path))
    library.host_run.restype = None
    library.host_run.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    return library


@functools.cache
def _surroundings() -> str:
    """What a library depends on besides its text: the headers, the compiler, and the CPU."""
    headers = [path.read_text("utf-8") for path in sorted(HEADERS.glob("*.h"))]
    version = subprocess.run(
        [compiler() or "", "--version"], capture_output=True, text=True, check=True
    ).stdout
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.exists() else []
    cpu = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return "\0".join([*headers, version, cpu])


@functools.cache
def _folder() -> Path:
    """Kept from run to run, and readable by this user only, since what lies there is loaded and run."""
    folder = Path(tempfile.gettempdir()) / f"dlbench-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
        return Path(tempfile.mkdtemp(prefix="dlbench-kernels-"))
    return folder
