"""What a gateway depends on is slow, silent, resetting or full: requests are answered in time, and then it works again.

The gateway is a second one, on the stores of the instance, which it reaches by proxies.
"""

import base64
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.running_instance import until
from tests.integration.gateway.indexing import picture
from tests.reliability.conftest import Attacked
from tests.reliability.parts.proxy import Fault, Proxy, running_proxy
from tests.reliability.parts.replicas import Proxies, gateway_replica, proxied
from tests.reliability.parts.rest import Answer, Rest
from tests.reliability.parts.scale import LONG

pytestmark = pytest.mark.timeout(900)

# The deadline of a request to this gateway, and what a busy machine adds.
DEADLINE_SECONDS, IMPORT_SECONDS, MARGIN_SECONDS = 4.0, 10.0 if LONG else 5.0, 3.0
RECOVERY_SECONDS = 5.0
MAY_FAIL = {429, 502, 503, 504}
TAG, TAGGED = "Coins", 3
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
STORES = ["postgres", "qdrant", "embedder"]
CASES = [(store, fault) for store in STORES for fault in FAULTS]
SHORT = [("postgres", Fault.SILENT), ("qdrant", Fault.RESETTING), ("embedder", Fault.SILENT)]


@dataclass(frozen=True)
class Setup:
    """A gateway, and the proxies of all that it depends on. collection: has an index; imported: has a tag."""

    rest: Rest
    collection: int
    uploads: int
    imported: int
    stores: Proxies
    heidicon: Proxy

    def proxy(self, store: str) -> Proxy:
        """Return the proxy of an upstream."""
        found: Proxy = self.heidicon if store == "heidicon" else getattr(self.stores, store)
        return found

    def search(self) -> Answer:
        """Search by image: needs Postgres, Qdrant and the embedder."""
        body = {"image": base64.b64encode(picture(1)).decode()}
        return self.rest.call("POST", f"/collection/{self.collection}/search", body)

    def info(self) -> Answer:
        """Ask Postgres."""
        return self.rest.call("GET", f"/collection/{self.collection}/info")

    def upload(self) -> Answer:
        """Upload a content, each time another one."""
        row = (f"https://images.example.org/{time.monotonic_ns()}.jpg", "https://repo.example.org/1")
        return self.rest.upload(self.uploads, [row])

    def import_again(self) -> Answer:
        """Import a tag from HeidICON."""
        return self.rest.call("POST", f"/collection/{self.imported}/updatecontent")


@pytest.fixture(scope="module")
def setup(attacked: Attacked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """The gateway and the proxies."""
    folder = Path(tempfile.mkdtemp(prefix="similis-"))
    attacked.museum.heidicon(TAG, TAGGED)
    museum = attacked.museum.address.removeprefix("http://").rstrip("/").split(":")
    with proxied(attacked.stored, folder) as stores, running_proxy((museum[0], int(museum[1]))) as (heidicon, address):
        environment = {
            **stores.settings,
            "SIMILIS_REQUEST_SECONDS": str(DEADLINE_SECONDS),
            "SIMILIS_UPLOAD_SECONDS": str(IMPORT_SECONDS),
            "SIMILIS_HEIDICON_SECONDS": str(IMPORT_SECONDS),
            "SIMILIS_HEIDICON_URL": f"http://{address[0]}:{address[1]}",
        }
        work = tmp_path_factory.mktemp("gateway")
        with gateway_replica(work, attacked.key, environment) as (rest, _):
            until(lambda: rest.call("GET", "/collection/list").status == 200)
            uploads = rest.create("uploads")
            made = rest.succeed("POST", "/collection/create", {"name": "imported", "heidicon_tag": TAG})
            yield Setup(rest, attacked.collection, uploads, int(made.body["id"]), stores, heidicon)
    shutil.rmtree(folder)


def answers(*asked: Callable[[], Answer]) -> list[Answer]:
    """Ask several things at the same time."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return [future.result() for future in [pool.submit(ask) for ask in asked]]


def assert_in_time(found: list[Answer], longest: float) -> None:
    """Check that every request was answered within `longest` seconds, and that failures say when to try again."""
    for answer in found:
        assert answer.seconds < longest + MARGIN_SECONDS, answer
        assert answer.status == 200 or answer.status in MAY_FAIL, answer
        assert answer.status in (200, 502) or answer.asks_to_wait, answer


def assert_recovers(ask: Callable[[], Answer]) -> None:
    """Check that a request succeeds soon after a fault has ended."""
    until(lambda: ask().status == 200, RECOVERY_SECONDS + MARGIN_SECONDS)


@pytest.mark.parametrize(("store", "fault"), CASES if LONG else SHORT)
def test_requests_are_answered_in_time_whatever_a_store_does(setup: Setup, store: str, fault: Fault) -> None:
    assert [ask().status for ask in (setup.search, setup.info, setup.upload)] == [200, 200, 200]
    proxy = setup.proxy(store)
    with proxy.fault(fault):
        for _ in range(2 if LONG else 1):
            assert_in_time(answers(setup.search, setup.info, setup.search), DEADLINE_SECONDS)
        assert_in_time(answers(setup.upload), IMPORT_SECONDS)
        # The fault happened.
        assert proxy.hit
    assert_recovers(setup.search)
    assert_recovers(setup.upload)
    assert setup.rest.info(setup.uploads)["number_of_images"] == 1


@pytest.mark.parametrize("fault", FAULTS if LONG else [Fault.SILENT])
def test_an_import_is_answered_in_time_whatever_heidicon_does(setup: Setup, fault: Fault) -> None:
    assert setup.import_again().status == 200
    before = setup.rest.content(setup.imported)
    with setup.heidicon.fault(fault):
        found = answers(setup.import_again, setup.info, setup.search)
        assert_in_time(found, IMPORT_SECONDS)
        # Nobody else is disturbed.
        assert [answer.status for answer in found[1:]] == [200, 200]
        assert setup.heidicon.hit
    assert_recovers(setup.import_again)
    assert setup.rest.content(setup.imported) == before
    assert len(before) == TAGGED
