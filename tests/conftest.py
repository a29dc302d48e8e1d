"""The order of the tests."""

import pytest

# What takes longest: begun last, it would keep one process busy while the other has nothing left to do.
FIRST = ("tests/e2e/", "tests/integration/trainer/", "tests/integration/embedder/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within them, and among the others, as they were found."""
    items.sort(key=lambda item: next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))
