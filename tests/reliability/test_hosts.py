"""Image hosts and sources are slow, silent, reset connections or take none: others do not wait, and then it works.

The hosts are behind a proxy that fails. Who needs them tries again alone, or when it is asked to.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.running_instance import until
from tests.integration.trainer.sources.oai_repository import Repository, running_repository
from tests.reliability.conftest import Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.proxy import Fault, Proxy, running_proxy
from tests.reliability.parts.rest import Rest
from tests.reliability.parts.scale import LONG

pytestmark = pytest.mark.timeout(900)

FAULT_SECONDS = 20.0 if LONG else 2.0
# How soon a host is asked again that works again, and how long the work may then take on a busy machine.
RECOVERY_SECONDS, MARGIN_SECONDS = 5.0, 1.0
WORK_SECONDS = 60.0
# A job that waits for a host lends its place after five seconds. The rest is for the work of others on a busy machine.
OTHERS_SECONDS = 120.0
RECORDS = 40
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


@dataclass(frozen=True)
class Hosts:
    """The museum and a repository behind proxies, and the addresses of these."""

    museum: Proxy
    images: str
    repository: Proxy
    oai: str


@pytest.fixture(scope="module")
def hosts(attacked: Attacked) -> Iterator[Hosts]:
    """Run the proxies."""
    museum = ("127.0.0.1", int(attacked.museum.address.rpartition(":")[2].strip("/")))
    with (
        running_in_thread() as repository,
        running_proxy(museum) as (images, first),
        running_proxy(("127.0.0.1", repository.port)) as (records, second),
    ):
        repository.page_size = RECORDS // 4
        repository.fill(RECORDS)
        yield Hosts(images, f"http://{first[0]}:{first[1]}/", records, f"http://{second[0]}:{second[1]}/oai")


@contextmanager
def running_in_thread() -> Iterator[Repository]:
    """Run a repository while entered."""
    loop, found, ready = asyncio.new_event_loop(), list[Repository](), threading.Event()
    done = asyncio.Event()

    async def serve() -> None:
        async with running_repository() as repository:
            found.append(repository)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def fail_for_a_while(proxy: Proxy, fault: Fault, start: Callable[[], object], others: Callable[[], None]) -> None:
    """Have a fault that what `start` starts meets. Others do not notice it."""
    with proxy.fault(fault):
        start()
        began = time.monotonic()
        # The fault happened.
        until(lambda: proxy.hit > 0, OTHERS_SECONDS)
        others()
        assert time.monotonic() - began < OTHERS_SECONDS
        time.sleep(max(0.0, began + FAULT_SECONDS - time.monotonic()))


def assert_recovers(proxy: Proxy, is_done: Callable[[], bool]) -> None:
    """Check that a host whose fault has ended is soon asked, unless it went on answering, and that the work gets done.

    is_done: also asks for what was given up.
    """
    passed = proxy.passed
    until(lambda: is_done() or proxy.passed > passed, RECOVERY_SECONDS + MARGIN_SECONDS)
    until(is_done, WORK_SECONDS)


@pytest.mark.parametrize("fault", FAULTS if LONG else [Fault.RESETTING])
def test_a_finetune_waits_for_its_image_host_and_for_no_other(
    attacked: Attacked, changing: ChangingCollection, hosts: Hosts, fault: Fault
) -> None:
    rest = attacked.rest
    behind = ChangingCollection.uploaded(rest, hosts.images, f"behind {fault.value}")
    assert changing.replace_one().status == 200
    fail_for_a_while(hosts.museum, fault, lambda: rest.finetune(behind.id), changing.finetuned)
    assert_recovers(hosts.museum, lambda: finetuned(rest, behind.id))
    behind.wait_until_done()
    rest.succeed("POST", f"/collection/{behind.id}/delete")


def finetuned(rest: Rest, collection: int) -> bool:
    """Return whether a collection is finetuned. Ask for it again if it was given up."""
    info = rest.info(collection)
    if info["finetuning_state"] == "failed":
        rest.finetune(collection)
    return not info["requires_finetuning"]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(kind, fault) for kind in ("iiif", "oai") for fault in FAULTS] if LONG else [("oai", Fault.FULL)],
)
def test_a_reading_waits_for_its_source_and_for_no_other(
    attacked: Attacked, hosts: Hosts, kind: str, fault: Fault
) -> None:
    rest, museum = attacked.rest, attacked.museum
    folder = f"{kind}-{fault.value}"
    healthy = museum.manifests(f"healthy-{folder}", range(4))
    url = museum.manifests(folder, range(RECORDS), host=hosts.images)
    source = (
        {"type": "iiif", "url": url}
        if kind == "iiif"
        else {"type": "oai", "url": hosts.oai, "metadata_prefix": "oai_dc"}
    )
    made: list[int] = []

    def create(source: dict[str, str]) -> int:
        answer = rest.succeed("POST", "/collection/create", {"name": folder, "source": source})
        made.append(int(answer.body["id"]))
        return made[-1]

    def read_another() -> None:
        other = create({"type": "iiif", "url": healthy})
        until(lambda: len(rest.content(other)) == 4, OTHERS_SECONDS)

    proxy = hosts.museum if kind == "iiif" else hosts.repository
    fail_for_a_while(proxy, fault, lambda: create(source), read_another)
    behind = made[0]
    assert_recovers(proxy, lambda: read_whole(rest, behind, RECORDS))
    for collection in made:
        rest.succeed("POST", f"/collection/{collection}/delete")


def read_whole(rest: Rest, collection: int, records: int) -> bool:
    """Return whether all records were read. Ask for it again if the reading was given up, or lacks some."""
    count = len(rest.content(collection))
    state = rest.insist("GET", f"/collection/{collection}/source").body["source"]["state"]
    if state in ("failed", "done") and count != records:
        rest.insist("POST", f"/collection/{collection}/source/read")
    return count == records
