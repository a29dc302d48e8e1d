"""The order of the tests, and the settings of Hypothesis."""

import pytest
from hypothesis import HealthCheck, settings

# The slowest tests run first, so that parallel processes end at about the same time.
FIRST = ("tests/e2e/", "tests/integration/trainer/", "tests/integration/embedder/")

# Every run uses the same examples, and slow examples do not fail a test.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest tests first, and otherwise keep the order."""
    items.sort(key=lambda item: next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))
