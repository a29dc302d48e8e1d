"""The order of the tests, and what examples they are given."""

import pytest
from hypothesis import HealthCheck, settings

# What takes longest: begun last, it would keep one process busy while the other has nothing left to do.
FIRST = ("tests/e2e/", "tests/integration/trainer/", "tests/integration/embedder/")

# The same examples in every run, however slow the machine is at making them.
settings.register_profile("sure", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sure")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within them, and among the others, as they were found."""
    items.sort(key=lambda item: next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))
