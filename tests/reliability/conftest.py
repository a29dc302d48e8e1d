"""One instance of `similis up` with a small collection, for all tests that attack it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from demo.image_server import image_server
from demo.rest_client import RestClient
from tests.e2e.running_instance import RunningInstance, data_with_shared_models, until
from tests.integration.gateway.indexing import picture

# Too few to learn from, which would take a minute.
IMAGES = 20
# Small limits, so that little is needed to reach them.
SETTINGS = {
    "SIMILIS_WORKERS": "1",
    "SIMILIS_BODY_MEMORY_BYTES": str(60 * 1024 * 1024),
    "SIMILIS_UPLOAD_RECEIVERS": "3",
    "SIMILIS_DOWNLOAD_CONCURRENCY": "8",
}


@dataclass(frozen=True)
class Attacked:
    """An instance that is attacked. collection: has an index. key: an admin key."""

    instance: RunningInstance
    collection: int
    key: str
    client: RestClient

    @property
    def port(self) -> int:
        """The port of the gateway."""
        return urlsplit(self.instance.address).port or 0

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
    data = data_with_shared_models(tmp_path_factory.mktemp("reliability") / "data")
    images = {f"{number}.jpg": picture(number) for number in range(IMAGES)}
    with image_server(images) as host:
        instance = RunningInstance.start(data, "--allow-private-addresses", environment=SETTINGS)
        try:
            yield _filled(instance, data, [host + name for name in images])
        finally:
            assert instance.stop() == 0


def _filled(instance: RunningInstance, data: Path, urls: list[str]) -> Attacked:
    key = (data / "admin-key").read_text(encoding="ascii").strip()
    client = RestClient(instance.address, key)
    collection = client.create("coins")
    client.upload(collection, "\n".join(f"{url},https://repo.example.org/{n}" for n, url in enumerate(urls)))
    client.finetune(collection)
    until(lambda: client.info(collection)["finetuning_state"] == "done", 120.0)
    return Attacked(instance, collection, key, client)
