"""Images that searches name by URL: guarded, limited, and refused with a reason. A slow host delays nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config import GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.search.image_urls import ImageUrls
from servicekit import network_guard
from servicekit.errors import InvalidRequest, Overloaded
from servicekit.telemetry.metrics import new_registry
from tests.unit.servicekit.download.raw_host import JPEG, Asked, raw_host, redirect, response
from tests.unit.servicekit.test_network_guard import METADATA, NOT_PUBLIC, SPELLINGS

PAGE = response(b"<html>", kind="text/html")


@asynccontextmanager
async def image_urls(**settings: Any) -> AsyncIterator[ImageUrls]:
    """Open what a gateway with these settings downloads with. Private addresses are allowed, unless a test says no."""
    values = {"database_url": "postgresql://u:p@h/d", "allow_private_addresses": True, **settings}
    opened = ImageUrls.open(GatewaySettings(**values), GatewayMetrics(new_registry("gateway")))
    async with asyncio.timeout(30), opened as urls:
        yield urls


async def refusal(url: str, **settings: Any) -> InvalidRequest:
    async with image_urls(**settings) as urls:
        with pytest.raises(InvalidRequest) as refused:
            await urls.fetch(url)
    return refused.value


def always(answer: bytes) -> Callable[[Asked], bytes]:
    return lambda _: answer


async def test_an_image_is_downloaded() -> None:
    async with raw_host(always(response())) as host, image_urls(download_contact="me@example.org") as urls:
        assert await urls.fetch(host.url("/a.jpg")) == JPEG
    assert "me@example.org" in host.asked[0].headers["user-agent"]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_a_host_reaches_an_internal_service(spelling: str) -> None:
    async with raw_host(always(response())) as host:
        refused = await refusal(f"http://{spelling}:{host.port}/", allow_private_addresses=False)
    # Some resolvers and parsers reject a spelling before it becomes an address.
    assert refused.code in ("blocked_address", "dns_error", "invalid_url")
    assert host.asked == []


async def test_every_address_that_is_not_public_is_blocked() -> None:
    codes = set()
    async with image_urls(allow_private_addresses=False) as urls:
        for address in filter(None, NOT_PUBLIC):
            with pytest.raises(InvalidRequest) as refused:
                await urls.fetch(f"http://[{address}]:9/" if ":" in address else f"http://{address}:9/")
            codes.add(refused.value.code)
            assert address not in refused.value.message
    assert codes <= {"blocked_address", "invalid_url"}


@pytest.mark.parametrize("address", [address for address in METADATA if "%" not in address])
async def test_metadata_services_stay_blocked_when_private_addresses_are_allowed(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert (await refusal(f"http://{host}/latest/meta-data/")).code == "blocked_address"


async def test_a_redirect_to_a_private_address_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    # The host's own address counts as public.
    monkeypatch.setattr(network_guard, "is_public", lambda address: address == "127.0.0.1")
    async with raw_host(lambda _: redirect(f"http://127.0.0.2:{host.port}/inside")) as host:
        refused = await refusal(host.url("/outside"), allow_private_addresses=False)
    assert refused.code == "blocked_address"
    assert [asked.target for asked in host.asked] == ["/outside"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (response(status="404 Not Found"), "not_found"),
        (response(status="403 Forbidden"), "forbidden"),
        (response(b"", "429 Too Many Requests"), "rate_limited"),
        (response(b"", "429 Too Many Requests", "Retry-After: 1"), "rate_limited"),
        (response(b"", "503 Service Unavailable", "Retry-After: 1"), "server_error"),
        (response(b"", "500 Internal Server Error"), "server_error"),
        (response(bytes(2000)), "too_large"),
        (response(b'{"id": 1}', kind="application/json"), "not_an_image"),
        (PAGE, "web_page"),
        (response(b""), "http_error"),
    ],
)
async def test_a_failure_has_its_reason_after_one_attempt(answer: bytes, code: str) -> None:
    async with raw_host(always(answer)) as host:
        refused = await refusal(host.url("/a.jpg"), max_image_bytes=1000)
    assert refused.code == code
    assert refused.message.startswith("The image could not be downloaded from its URL. ")
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "url", ["", "a.jpg", "ftp://example.org/a.jpg", "file:///etc/passwd", "http://", "http://a:b/"]
)
async def test_what_is_no_url_of_an_image_is_invalid(url: str) -> None:
    assert (await refusal(url)).code == "invalid_url"


async def test_a_host_that_hangs_up_is_a_connection_error() -> None:
    async with raw_host(always(b"")) as host:
        assert (await refusal(host.url("/a.jpg"))).code == "connection_error"


async def test_redirects_are_limited() -> None:
    async with raw_host(always(redirect("/again"))) as host:
        assert (await refusal(host.url("/"), max_redirects=2)).code == "too_many_redirects"
    assert len(host.asked) == 3


async def test_an_installation_that_downloads_nothing_says_how_to_change_that() -> None:
    async with raw_host(always(response())) as host:
        refused = await refusal(host.url("/a.jpg"), fetch_image_urls=False)
    assert refused.code == "image_url_not_allowed"
    assert "SIMILIS_FETCH_IMAGE_URLS" in refused.message
    assert host.asked == []


class SilentHost:
    """A host that takes requests and never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = asyncio.Semaphore(0)
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        self.asked.release()
        await reader.read()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def silent_host() -> AsyncIterator[SilentHost]:
    host = SilentHost()
    server = await asyncio.start_server(host.serve, "localhost", 0, family=2)
    host.url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield host
        # Its clients have hung up.
        await asyncio.gather(*filter(None, host.serving))


async def test_a_download_takes_no_longer_than_it_may() -> None:
    async with silent_host() as host:
        refused = await refusal(host.url, image_url_seconds=0.2)
    assert refused.code == "timeout"
    assert "0.2 seconds" in refused.message


async def test_a_slow_host_holds_only_its_share_of_the_places() -> None:
    async with (
        image_urls(image_url_concurrency=8) as urls,
        silent_host() as slow,
        raw_host(always(response())) as host,
    ):
        waiting = [asyncio.create_task(urls.fetch(slow.url)) for _ in range(2)]
        for _ in waiting:
            await slow.asked.acquire()
        with pytest.raises(Overloaded, match="of this host"):
            await urls.fetch(slow.url)
        for _ in range(3):
            assert await urls.fetch(host.url("/a.jpg")) == JPEG
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # The places are free again.
        again = asyncio.create_task(urls.fetch(slow.url))
        await slow.asked.acquire()
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_no_more_images_are_downloaded_at_a_time_than_allowed() -> None:
    async with silent_host() as slow, image_urls(image_url_concurrency=1) as urls:
        waiting = asyncio.create_task(urls.fetch(slow.url))
        await slow.asked.acquire()
        with pytest.raises(Overloaded, match="Too many image URLs"):
            await urls.fetch("http://127.0.0.1:9/")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
