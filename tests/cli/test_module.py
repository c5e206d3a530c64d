"""``python -m dlbench``."""

import subprocess
import sys


def test_the_package_is_the_program():
    command = [sys.executable, "-m", "dlbench", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "dlbench" in ran.stdout
