"""Graceful shutdown: report not ready, then accept no new connections, and finish the requests in progress.

aiohttp's own shutdown ignores the rest of a request's body, so it must not begin before those requests are finished.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any

from aiohttp import web

from gateway.audit.request_record import record_of
from servicekit.errors import DeadlineExceeded, Unavailable
from servicekit.request_context import remaining

# The most time for work that goes on without its client and whose request has no deadline.
LONGEST_WORK_SECONDS = 600.0


class Drain:
    """Count the requests under way, and wait for the last one."""

    def __init__(self) -> None:
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._work: set[asyncio.Task[web.Response]] = set()

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

    async def to_the_end(self, request: web.Request, work: Coroutine[Any, Any, web.Response]) -> web.Response:
        """Return the answer of `work`, which goes on within its deadline if the client leaves.

        The shutdown waits for it as for a request. Raises what the work raises.
        """
        task = asyncio.create_task(self._counted(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        record_of(request).work = task
        return await asyncio.shield(task)

    async def _counted(self, work: Coroutine[Any, Any, web.Response]) -> web.Response:
        with self.request(), closing(work):
            # The deadline of the request, which can no longer enforce it once its client has left.
            try:
                async with asyncio.timeout(remaining(LONGEST_WORK_SECONDS)) as deadline:
                    return await work
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise DeadlineExceeded("The request timed out.") from None

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
            for task in self._work:
                task.cancel()
            if self._work:
                await asyncio.wait(self._work)
