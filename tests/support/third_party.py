"""Installs distributions of third parties as `pip install --target` leaves them: modules with their metadata."""

import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "third_party"


def install(folder, *modules, name="abacus-backend", version="1.0", entry_points=""):
    """Puts modules of the fixtures into a folder for the search path, as one distribution with these entry points."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules:
        shutil.copy(FOLDER / f"{module}.py", folder)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    (info / "INSTALLER").write_text("pip\n")
    return folder


def install_abacus(folder):
    """The backend ``abacus``, and the framework whose version it says counts."""
    install(folder, name="abacus-kit", version="3.1")
    points = "[dlbench.backends]\nabacus = abacus_backend:Adapter\n"
    return install(folder, "abacus_backend", entry_points=points)
