"""A name server that does not answer delays downloads only."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from servicekit.download.client import Downloader
from servicekit.download.failures import ImageFailed
from tests.unit.servicekit.download.test_client import LIMITS, ROUTE


async def test_slow_lookups_do_not_use_up_the_threads_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Semaphore(0), threading.Event()

    def never_resolved(*_: object, **__: object) -> None:
        asked.release()
        over.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never_resolved)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    async def one(downloader: Downloader, url: str) -> None:
        with suppress(ImageFailed):
            async with downloader.download(url):
                pass

    async with asyncio.timeout(20), Downloader.open(LIMITS, ROUTE) as downloader:
        downloads = [asyncio.create_task(one(downloader, f"http://slow{n}.example.org/")) for n in range(4)]
        for _ in downloads:
            assert await asyncio.to_thread(asked.acquire, timeout=20)
        over.set()
        await asyncio.gather(*downloads)
