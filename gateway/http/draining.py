"""Graceful shutdown: report not ready, then accept no new connections, and finish the requests in progress.

aiohttp's own shutdown ignores the rest of a request's body, so it must not begin before those requests are finished.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from servicekit.errors import Unavailable


class Drain:
    """Count the requests under way, and wait for the last one."""

    def __init__(self) -> None:
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while entered."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    def close_connection(self, response: web.StreamResponse) -> None:
        """Make the response the last one of its connection, if the gateway is shutting down."""
        if self._draining:
            response.headers["Connection"] = "close"
            response.force_close()

    def check(self) -> None:
        """Raise Unavailable if the gateway is shutting down."""
        if self._draining:
            raise Unavailable("This gateway is shutting down.", code="stopping")

    async def announce(self, seconds: float) -> None:
        """Report not ready from now on; return after load balancers have had time to notice."""
        self._draining = True
        await asyncio.sleep(seconds)

    async def wait(self, seconds: float) -> None:
        """Return when no request is under way, or after the grace period."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return
