"""The end of a gateway: it says that it is not ready, then takes no new connections, and finishes what is here.

aiohttp's own shutdown ignores what still comes of a request's body, so it may begin only after this.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from servicekit.errors import Unavailable


class Drain:
    """Counts the requests being answered, and waits for the last."""

    def __init__(self) -> None:
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request is being answered while entered."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    def mark(self, response: web.StreamResponse) -> None:
        """Makes an answer the last one of its connection, if we are about to end."""
        if self._draining:
            response.headers["Connection"] = "close"
            response.force_close()

    def check(self) -> None:
        """Raises Unavailable when this gateway is about to end."""
        if self._draining:
            raise Unavailable("This gateway stops.", code="stopping")

    async def announce(self, seconds: float) -> None:
        """Says from now on that this gateway is not ready; returns when those who balance had time to see it."""
        self._draining = True
        await asyncio.sleep(seconds)

    async def wait(self, seconds: float) -> None:
        """Returns when no request is being answered, or after the grace period."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return
