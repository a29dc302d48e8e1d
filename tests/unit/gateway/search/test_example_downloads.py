"""The images that examples name are downloaded once each, host by host, within the memory of their request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from gateway.config import GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.search.example_downloads import ExampleDownloads
from gateway.search.image_urls import ImageUrls
from gateway.upstreams.embedder import COPIES
from servicekit.errors import InvalidRequest, Overloaded, TooLarge
from servicekit.limits import ByteBudget
from servicekit.telemetry.metrics import new_registry
from tests.unit.servicekit.download.raw_host import JPEG, Asked, RawHost, raw_host, response

ENOUGH = 10**6


def answer(asked: Asked) -> bytes:
    if asked.target == "/missing":
        return response(status="404 Not Found")
    return response(JPEG + asked.target.encode())


@asynccontextmanager
async def downloads(image_url_concurrency: int = 4) -> AsyncIterator[tuple[ExampleDownloads, RawHost]]:
    settings = GatewaySettings(
        database_url=SecretStr("postgresql://u:p@h/d"),
        allow_private_addresses=True,
        image_url_concurrency=image_url_concurrency,
    )
    async with (
        raw_host(answer) as host,
        ImageUrls.open(settings, GatewayMetrics(new_registry("gateway"))) as urls,
    ):
        yield ExampleDownloads(urls), host


async def test_each_image_is_downloaded_once_and_returned_wherever_it_is_named() -> None:
    async with downloads() as (examples, host):
        one, other = host.url("/1"), host.url("/2")
        with ByteBudget(ENOUGH).account() as memory:
            found = await examples.files([one, None, other, one], memory)
        assert found == [JPEG + b"/1", None, JPEG + b"/2", JPEG + b"/1"]
        assert sorted(asked.target for asked in host.asked) == ["/1", "/2"]
        assert memory.taken == COPIES * 3 * len(JPEG + b"/1")


async def test_a_search_without_urls_takes_nothing() -> None:
    async with downloads() as (examples, host):
        with ByteBudget(0).account() as memory:
            assert await examples.files([None, None], memory) == [None, None]
        assert host.asked == []


async def test_many_images_of_one_host_fit_into_its_share_of_the_places() -> None:
    async with downloads(image_url_concurrency=1) as (examples, host), downloads() as (_, other):
        urls = [each.url(f"/{number}") for number in range(8) for each in (host, other)]
        with ByteBudget(ENOUGH).account() as memory:
            found = await examples.files(urls, memory)
    assert found == [JPEG + f"/{number}".encode() for number in range(8) for _ in (host, other)]


async def test_a_failure_names_its_example() -> None:
    async with downloads() as (examples, host):
        with ByteBudget(ENOUGH).account() as memory:
            with pytest.raises(InvalidRequest, match=r"^examples\[2\]: The image could not be downloaded") as refused:
                await examples.files([None, host.url("/1"), host.url("/missing")], memory)
            assert refused.value.code == "not_found"
            with pytest.raises(InvalidRequest, match=r"^The image could not be downloaded"):
                await examples.files([host.url("/missing")], memory)


async def test_the_memory_of_all_requests_limits_what_is_downloaded() -> None:
    size = COPIES * len(JPEG + b"/1")
    budget = ByteBudget(2 * size)
    async with downloads() as (examples, host):
        url = host.url("/1")
        with budget.account() as memory, pytest.raises(TooLarge, match="together") as refused:
            await examples.files([url, url, url], memory)
        assert refused.value.code == "image_too_large"
        with budget.account() as uploaded:
            uploaded.take(size)
            with pytest.raises(TooLarge):
                await examples.files([url, url], uploaded)
            with budget.account() as memory:
                with pytest.raises(Overloaded):
                    await examples.files([url, url], memory)
                assert await examples.files([url], memory) == [JPEG + b"/1"]
        # The bytes are free again.
        with budget.account() as memory:
            await examples.files([url, url], memory)
