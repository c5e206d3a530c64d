"""What a worker's process has imported before it knows whose code it is to run."""

import subprocess
import sys


def test_nothing_but_the_standard_library_is_there_before_a_versions_own_folder_is_put_first():
    script = "import sys, dlbench.worker.entry; print('numpy' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "False" == told.stdout.strip()
