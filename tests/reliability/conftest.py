"""One instance of `similis up` with a small collection, for all tests that attack it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from demo.rest_client import RestClient
from tests.e2e.running_instance import RunningInstance, data_with_shared_models
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.museum import Museum, running_museum
from tests.reliability.parts.rest import Rest
from tests.reliability.parts.scale import LONG
from tests.reliability.parts.stored import Stored

# In the short form, tests/e2e/test_up_finetune.py kills what learns: learning takes half a minute.
collect_ignore = [] if LONG else ["kills/test_learning.py"]
# Longer where many rounds must pass, because a busy machine now and then holds a process up for seconds.
LEASE_SECONDS = 5.0 if LONG else 2.0
SETTINGS = {
    "SIMILIS_WORKERS": "1",
    # Small limits, so that little is needed to reach them.
    "SIMILIS_BODY_MEMORY_BYTES": str(60 * 1024 * 1024),
    "SIMILIS_UPLOAD_RECEIVERS": "3",
    "SIMILIS_DOWNLOAD_CONCURRENCY": "8",
    # Short times, so that what was killed is soon back, and what is left behind is soon removed.
    "SIMILIS_MAX_RESTART_DELAY_SECONDS": "0.2",
    "SIMILIS_LEASE_SECONDS": str(LEASE_SECONDS),
    "SIMILIS_POLL_SECONDS": "0.5",
    "SIMILIS_JANITOR_SECONDS": "1",
    "SIMILIS_INDEX_GRACE_SECONDS": "1",
    "SIMILIS_CONTENT_GRACE_SECONDS": "1",
}


@dataclass(frozen=True)
class Attacked:
    """An instance that is attacked. key: an admin key. museum: where all images are. changing: has an index."""

    instance: RunningInstance
    changing: ChangingCollection
    key: str
    client: RestClient
    museum: Museum
    faults: Faults

    @property
    def collection(self) -> int:
        """The id of a collection with an index."""
        return self.changing.id

    @property
    def port(self) -> int:
        """The port of the gateway."""
        return urlsplit(self.instance.address).port or 0

    @property
    def rest(self) -> Rest:
        """A client that expects failures."""
        return Rest(self.instance.address, self.key)

    @property
    def stored(self) -> Stored:
        """What the instance has stored."""
        return Stored(self.instance.data)

    def gateway_memory(self) -> int:
        """Return how much memory the gateway has, in bytes."""
        memory: int = psutil.Process(self.gateway_pid()).memory_info().rss
        return memory

    def gateway_pid(self) -> int:
        """Return the process id of the gateway."""
        return self.instance.child("gateway").pid

    def gateway_log(self) -> str:
        """Return what the gateway has logged so far."""
        return (self.instance.data / "logs" / "gateway.log").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Run the instance."""
    folder = tmp_path_factory.mktemp("reliability")
    data, faults = data_with_shared_models(folder / "data"), Faults(folder / "faults")
    settings = {**SETTINGS, **faults.environment}
    with running_museum() as museum:
        instance = RunningInstance.start(data, "--allow-private-addresses", environment=settings)
        try:
            yield _filled(instance, data, museum, faults)
        finally:
            faults.disarm()
            assert instance.stop() == 0
            # However busy it was, no process of it was taken for one that hangs.
            assert "_hangs" not in instance.log()


@pytest.fixture
def faults(attacked: Attacked) -> Iterator[Faults]:
    """Faults of the instance, none of which outlasts the test."""
    yield attacked.faults
    attacked.faults.disarm()


@pytest.fixture(scope="session")
def changing(attacked: Attacked) -> ChangingCollection:
    """A collection with an index whose content changes."""
    return attacked.changing


def _filled(instance: RunningInstance, data: Path, museum: Museum, faults: Faults) -> Attacked:
    key = (data / "admin-key").read_text(encoding="ascii").strip()
    changing = ChangingCollection.create(Rest(instance.address, key), museum.address, "changing")
    return Attacked(instance, changing, key, RestClient(instance.address, key), museum, faults)
