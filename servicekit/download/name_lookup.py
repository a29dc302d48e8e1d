"""Look up names of hosts in threads of their own, so that a slow name server delays nothing but downloads.

The event loop's own threads are few, and uploads wait for them too.
"""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import cast

import aiohttp


class _Lookup:
    """The one method of an event loop that the HTTP client's resolver calls."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def getaddrinfo(self, host: str, port: int, **options: int) -> object:
        """Return the addresses of a host."""
        lookup = partial(socket.getaddrinfo, host, port, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, lookup)

    async def getnameinfo(self, address: tuple[str, int], flags: int) -> object:
        """Return an address with its scope as text."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, socket.getnameinfo, address, flags)


@contextmanager
def open_resolver(threads: int) -> Iterator[aiohttp.abc.AbstractResolver]:
    """Open a resolver while entered. threads: how many names it looks up at a time."""
    executor = ThreadPoolExecutor(threads, thread_name_prefix="name-lookup")
    try:
        yield aiohttp.ThreadedResolver(loop=cast("asyncio.AbstractEventLoop", _Lookup(executor)))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
