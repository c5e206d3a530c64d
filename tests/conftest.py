"""What every test shares: which tests run by default, and how hypothesis draws its examples."""

import os

import pytest
from hypothesis import HealthCheck, settings

# No deadline: a slow machine is not a defect. The default profile draws the same examples every
# time, so that a failure is the change's doing; `make soak` looks for new examples.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "searching", parent=settings.get_profile("repeatable"), derandomize=False, max_examples=1000
)
# Nobody waits for a quiet machine in tests.
os.environ.setdefault("DLBENCH_PATIENCE", "0")
settings.load_profile(os.environ.get("DLBENCH_HYPOTHESIS", "repeatable"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what times something, so that `-m "not benchmark"` leaves it out."""
    for item in items:
        if "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker("benchmark")
