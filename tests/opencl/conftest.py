"""These tests run in processes of their own, which `tests/backends/test_alone.py` starts."""

import os

collect_ignore_glob = [] if os.environ.get("DLBENCH_TESTS_ALONE") else ["test_*.py"]
