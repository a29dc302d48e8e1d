"""Decides whether a request is let in, before any work is done for it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from gateway.admission.fair_queue import FairQueue
from gateway.admission.rate_limit import RateLimit


class Lane(Enum):
    """How a route is kept from taking the machine from others.

    SEARCH: the search itself asks for the places that it needs. QUICK: a request holds one place from its beginning to
    its end. DOWNLOAD: so does one whose answer may be long and is read slowly. OTHER: the route has its own limits.
    """

    SEARCH = "search"
    QUICK = "quick"
    DOWNLOAD = "download"
    OTHER = "other"


class Admission:
    """The queues of all clients, one for each lane."""

    def __init__(self, *, searches: FairQueue, quick: FairQueue, downloads: FairQueue, rate: RateLimit) -> None:
        self.searches = searches
        self._whole_requests = {Lane.QUICK: quick, Lane.DOWNLOAD: downloads}
        self._rate = rate

    def check(self, lane: Lane, client: str) -> None:
        """Raise Overloaded (overloaded, rate_limited) for a request that is refused at once."""
        self._rate.take(client)
        if lane is Lane.SEARCH:
            self.searches.check(client)
        elif lane in self._whole_requests:
            self._whole_requests[lane].check(client)

    @asynccontextmanager
    async def admitted(self, lane: Lane, kind: int) -> AsyncIterator[None]:
        """Let a request in while the block runs. kind: of the route. Raises Overloaded."""
        async with AsyncExitStack() as stack:
            if lane is Lane.SEARCH:
                stack.enter_context(self.searches.arrival())
            elif lane in self._whole_requests:
                queue = self._whole_requests[lane]
                stack.enter_context(queue.arrival())
                await stack.enter_async_context(queue.place(kind))
            yield
