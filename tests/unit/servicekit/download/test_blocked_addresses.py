"""Neither the images of finetunes nor the documents of sources are downloaded from addresses that are not public."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from servicekit.download.client import Downloader
from servicekit.download.content_kind import DOCUMENTS, IMAGES, Accepted
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.limits import DownloadRoute
from tests.unit.servicekit.download.raw_host import RawHost, raw_host, response
from tests.unit.servicekit.download.test_client import LIMITS
from tests.unit.servicekit.test_network_guard import METADATA, NOT_PUBLIC, SPELLINGS

# Some resolvers and parsers reject a spelling before it becomes an address.
REFUSALS = {Reason.BLOCKED_ADDRESS, Reason.DNS_ERROR, Reason.INVALID_URL}

kinds = pytest.mark.parametrize("kind", [IMAGES, DOCUMENTS], ids=["images", "documents"])


@pytest_asyncio.fixture
async def host() -> AsyncIterator[RawHost]:
    """An internal service, which none of the cases may reach."""
    async with raw_host(lambda _: response()) as internal:
        yield internal
        assert internal.asked == []


async def refusals(addresses: list[str], port: int, kind: Accepted, *, private: bool = False) -> dict[str, Reason]:
    """Return why each address was refused."""
    found = {}
    async with Downloader.open(LIMITS, DownloadRoute(private, "similis-tests"), kind) as downloader:
        for address in addresses:
            with pytest.raises(ImageFailed) as failed:
                async with downloader.download(f"http://{address}:{port}/"):
                    pass
            found[address] = failed.value.reason
    return found


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@kinds
async def test_no_spelling_of_a_host_reaches_an_internal_service(host: RawHost, kind: Accepted) -> None:
    found = await refusals(SPELLINGS, host.port, kind)
    assert set(found.values()) <= REFUSALS, found
    assert found["127.0.0.1"] is Reason.BLOCKED_ADDRESS


@kinds
async def test_no_address_that_is_not_public_is_asked(host: RawHost, kind: Accepted) -> None:
    addresses = [in_url(address) for address in NOT_PUBLIC if address]
    found = await refusals(addresses, host.port, kind)
    assert set(found.values()) <= REFUSALS, found
    assert list(found.values()).count(Reason.BLOCKED_ADDRESS) > len(addresses) * 0.8
    assert len(addresses) + len(SPELLINGS) >= 60


@kinds
async def test_metadata_services_are_not_asked_where_private_addresses_are_allowed(
    host: RawHost, kind: Accepted
) -> None:
    addresses = [in_url(address) for address in METADATA]
    found = await refusals(addresses, host.port, kind, private=True)
    assert set(found.values()) <= REFUSALS, found


async def test_the_internal_service_would_answer() -> None:
    async with (
        raw_host(lambda _: response()) as host,
        Downloader.open(LIMITS, DownloadRoute(True, "similis-tests")) as downloader,
        downloader.download(host.url("/")) as found,
    ):
        assert found.body
    assert len(host.asked) == 1
