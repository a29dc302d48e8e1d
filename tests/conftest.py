"""The order of the tests, which of them run in one process, and the settings of Hypothesis."""

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# The slowest tests run first, so that parallel processes end at about the same time.
FIRST = ("tests/e2e/", "tests/reliability/", "tests/integration/trainer/", "tests/integration/embedder/")
# The files of such a folder share an instance that takes long to prepare, so they run in one process. Those of a folder
# in another one have an instance of their own.
TOGETHER = ("tests/e2e/web/", "tests/e2e/machine/", "tests/reliability/kills/", "tests/reliability/")
# So do these files, which share an embedder.
TEXTS = ("tests/integration/embedder/test_texts.py", "tests/integration/gateway/search/test_texts.py")

# Every run uses the same examples, and slow examples do not fail a test.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest tests first, and otherwise keep the order."""
    items.sort(key=lambda item: next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))


def scope_of(nodeid: str) -> str:
    """Return what a test belongs to that runs in one process: its file, or one of the folders above."""
    file = nodeid.partition("::")[0]
    return TEXTS[0] if file in TEXTS else next((folder for folder in TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Return the only scheduling with which the fixtures of a file start once."""
    scheduling = LoadFileScheduling(config, log)
    scheduling._split_scope = scope_of
    return scheduling
