"""The downloader: limits of all kinds, and a reason for each way to fail."""

import asyncio
import dataclasses
import random
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from servicekit import network_guard
from servicekit.download import client as download_client
from servicekit.download import connections
from servicekit.download.client import Downloader
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.limits import DownloadLimits, DownloadRoute, user_agent
from tests.eventually import eventually
from tests.integration.trainer.parts.faults import body, faulty, in_turn, redirect, status
from tests.integration.trainer.parts.image_host import Answer, ImageHost, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMITS = DownloadLimits(
    max_bytes=3_000_000,
    concurrency=8,
    per_host=8,
    attempts=3,
    max_redirects=3,
    total_seconds=30.0,
    connect_seconds=10.0,
    first_byte_seconds=10.0,
    read_seconds=10.0,
    patience_seconds=10.0,
)
ROUTE = DownloadRoute(allow_private_addresses=True, user_agent=user_agent(None))
GUARDED = dataclasses.replace(ROUTE, allow_private_addresses=False)
# The embedder, not the downloader, finds these out.
DECODED_LATER = {"decode_error"}


async def downloaded(url: str, *, route: DownloadRoute = ROUTE, **limits: Any) -> bytes:
    chosen = dataclasses.replace(LIMITS, **limits)
    async with Downloader.open(chosen, route) as downloader, downloader.download(url) as download:
        assert download.body is not None
        return download.body


async def reason(url: str, **options: Any) -> Reason:
    with pytest.raises(ImageFailed) as caught:
        await downloaded(url, **options)
    return caught.value.reason


async def test_each_fault_gets_its_reason_and_none_hangs(host: ImageHost) -> None:
    expected = faulty(host)
    found = {}

    async def one(downloader: Downloader, url: str) -> None:
        try:
            async with downloader.download(url):
                found[url] = "downloaded"
        except ImageFailed as failure:
            found[url] = failure.reason.value

    # Little time for answers that never end, and enough for all others even on a busy machine.
    for late, seconds in ((False, 30.0), (True, 1.0)):
        limits = dataclasses.replace(LIMITS, attempts=1, total_seconds=seconds, concurrency=32)
        async with asyncio.timeout(60), Downloader.open(limits, ROUTE) as downloader:
            urls = [url for url, wanted in expected.items() if (wanted == "timeout") is late]
            await asyncio.gather(*(one(downloader, url) for url in urls))
    later = {url for url, wanted in expected.items() if wanted in DECODED_LATER}
    assert found == {url: "downloaded" if url in later else wanted for url, wanted in expected.items()}


async def test_server_errors_are_retried(host: ImageHost) -> None:
    host.answers["flaky"] = in_turn(status(503), status(502), body(picture(7)))
    assert await downloaded(host.url("flaky")) == picture(7)
    assert host.requests["flaky"] == 3


@pytest.mark.parametrize("path", ["no-such-thing", "forbidden", "teapot", "empty", "page", "loop"])
async def test_failures_that_last_are_not_retried(host: ImageHost, path: str) -> None:
    faulty(host)
    await reason(host.url(path))
    assert host.requests[path] == (LIMITS.max_redirects + 1 if path == "loop" else 1)


async def test_retry_after_is_honoured(host: ImageHost) -> None:
    host.answers["busy"] = in_turn(status(429, Retry_After="1"), body(picture(7)))
    began = asyncio.get_running_loop().time()
    assert await downloaded(host.url("busy")) == picture(7)
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_pause_beyond_the_deadline_fails_at_once(host: ImageHost) -> None:
    host.answers["busy"] = status(429, Retry_After="3600")
    async with asyncio.timeout(20):
        assert await reason(host.url("busy")) is Reason.RATE_LIMITED
    assert host.requests["busy"] == 1


async def test_a_request_to_wait_pauses_all_images_of_the_host(host: ImageHost) -> None:
    asked: list[float] = []

    def noted(answer: Answer) -> Answer:
        async def noting(request: web.Request) -> web.StreamResponse:
            asked.append(asyncio.get_running_loop().time())
            return await answer(request)

        return noting

    host.answers["busy"] = noted(in_turn(status(503, Retry_After="1"), body(picture(7))))
    host.answers["other"] = noted(body(picture(1)))
    async with Downloader.open(LIMITS, ROUTE) as downloader:
        busy = asyncio.create_task(_size(downloader, host.url("busy")))
        await eventually(lambda: host.requests["busy"] == 1 and host.under_way == 0)
        await _size(downloader, host.url("other"))
        await busy
    # By the host's clock.
    assert min(asked[1:]) - asked[0] >= 1.0


@pytest.mark.parametrize("listens", [True, False])
async def test_a_dead_host_delays_little_however_many_images_it_has(host: ImageHost, listens: bool) -> None:
    faulty(host)
    url = host.url("silent") if listens else "http://127.0.0.1:1/nobody-listens"
    limits = dataclasses.replace(LIMITS, first_byte_seconds=0.2, read_seconds=0.2, concurrency=32)
    found: Counter[Reason] = Counter()
    async with asyncio.timeout(60), Downloader.open(limits, ROUTE) as downloader:

        async def one(number: int) -> None:
            try:
                async with downloader.download(f"{url}?{number}"):
                    pass
            except ImageFailed as failure:
                found[failure.reason] += 1

        for start in range(0, 400, 8):
            await asyncio.gather(*(one(start + number) for number in range(8)))
        # Other hosts are not affected.
        assert await _size(downloader, host.url("pictures/1").replace("127.0.0.1", "localhost")) == len(picture(1))
    assert found.total() == 400
    assert found[Reason.HOST_UNAVAILABLE] >= 385
    assert host.requests["silent"] <= 15


async def test_redirects_are_followed_to_their_end(host: ImageHost) -> None:
    host.answers["a"] = redirect("b", 301)
    host.answers["b"] = redirect(host.url("c"), 307)
    host.answers["c"] = redirect("/pictures/7/default.png", 308)
    assert await downloaded(host.url("a")) == picture(7)


async def test_private_addresses_are_blocked(host: ImageHost) -> None:
    for url in (host.url("pictures/7"), host.url("pictures/7").replace("127.0.0.1", "localhost")):
        assert await reason(url, route=GUARDED) is Reason.BLOCKED_ADDRESS
    assert not host.requests


async def test_a_redirect_to_a_private_address_is_blocked(host: ImageHost, monkeypatch: pytest.MonkeyPatch) -> None:
    # The host's own address counts as public.
    monkeypatch.setattr(network_guard, "is_public", lambda address: address == "127.0.0.1")
    host.answers["outside"] = redirect(host.url("pictures/7").replace("127.0.0.1", "127.0.0.2"))
    assert await reason(host.url("outside"), route=GUARDED) is Reason.BLOCKED_ADDRESS
    assert host.requests == {"outside": 1}


async def test_downloads_at_a_time_are_limited(host: ImageHost) -> None:
    async with Downloader.open(LIMITS, ROUTE) as downloader:

        async def one(url: str) -> None:
            async with downloader.download(url):
                pass

        # A host that answers gets more requests at a time.
        for url in host.picture_urls(LIMITS.concurrency, first=100):
            await one(url)
        host.open.clear()
        downloading = [asyncio.create_task(one(url)) for url in host.picture_urls(40)]
        await eventually(lambda: host.under_way == LIMITS.concurrency)
        host.open.set()
        await asyncio.gather(*downloading)
    assert host.most_under_way == LIMITS.concurrency


async def test_idle_connections_are_limited_however_many_hosts_there_are(
    host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_HOSTS", 3)
    application = web.Application()
    application.router.add_get("/{path:.*}", host.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        for _ in range(12):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Downloader.open(LIMITS, ROUTE) as downloader:
            for address, port in runner.addresses:
                async with downloader.download(
                    f"http://{address}:{port}/pictures/1/full/max/0/default.png"
                ) as download:
                    assert download.body == picture(1)
            assert runner.server is not None
            server = runner.server
            await eventually(lambda: len(server.connections) == 3, seconds=10)
    finally:
        await runner.cleanup()


async def test_large_bodies_wait_for_memory_without_using_up_their_time(
    host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_client, "LARGE_BYTES", 4_000_000)
    limits = dataclasses.replace(LIMITS, total_seconds=2.0)
    host.answers["large"] = body(b"\0" * 2_000_000)
    host.answers["huge"] = body(b"\0" * 3_000_000)
    async with Downloader.open(limits, ROUTE) as downloader:
        async with downloader.download(host.url("huge")):
            waiting = asyncio.create_task(_size(downloader, host.url("large")))
            done, _ = await asyncio.wait({waiting}, timeout=2.5)
            assert not done
        assert await waiting == 2_000_000


async def _size(downloader: Downloader, url: str) -> int:
    async with downloader.download(url) as download:
        return len(download.body or b"")


PIECES = [*"/:@?#%[]\\ .&=", "\t", "é", "%00", "%2f", "\u202e", "１", "http://", "127.0.0.1", "a" * 70]


@pytest.mark.parametrize("seed", range(4))
async def test_any_url_ends_as_an_image_or_a_failure(host: ImageHost, seed: int) -> None:
    chance = random.Random(seed)
    good = host.picture_urls(1, first=7)[0]
    starts = [host.url(""), "http://127.0.0.1", "http://127.0.0.1:", "https://[::1]", "http:", ""]
    limits = dataclasses.replace(LIMITS, attempts=1, total_seconds=2.0)
    ended: Counter[str] = Counter()

    async def one(downloader: Downloader, url: str) -> None:
        try:
            async with downloader.download(url) as download:
                assert download.body == picture(7)
                ended["image"] += 1
        except ImageFailed:
            ended["failure"] += 1

    async with Downloader.open(limits, ROUTE) as downloader:
        for _ in range(150):
            tail = "".join(chance.choice([*PIECES, str(host.port)]) for _ in range(chance.randint(0, 8)))
            await one(downloader, chance.choice(starts) + tail)
            # What follows the path of a good URL changes nothing.
            await one(downloader, f"{good}{chance.choice('?#')}{tail.replace('#', '')}")
    assert ended == {"image": 150, "failure": 150}
