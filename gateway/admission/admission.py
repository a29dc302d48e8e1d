"""Decides whether a request is let in, before any work is done for it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from gateway.admission.fair_queue import FairQueue
from gateway.admission.rate_limit import RateLimit


class Lane(Enum):
    """How a route is kept from taking the machine from others.

    SEARCH: the search itself asks for the places that it needs. QUICK: a request holds one place from its beginning to
    its end. OTHER: the route has limits of its own.
    """

    SEARCH = "search"
    QUICK = "quick"
    OTHER = "other"


class Admission:
    """The queues of all clients, one for each lane."""

    def __init__(self, *, searches: FairQueue, quick: FairQueue, rate: RateLimit) -> None:
        self.searches = searches
        self._quick = quick
        self._rate = rate

    def check(self, lane: Lane, client: str) -> None:
        """Raise Overloaded (overloaded, rate_limited) for a request that is refused at once."""
        self._rate.take(client)
        if lane is Lane.SEARCH:
            self.searches.check(client)
        elif lane is Lane.QUICK:
            self._quick.check(client)

    @asynccontextmanager
    async def admitted(self, lane: Lane, kind: int) -> AsyncIterator[None]:
        """Let a request in while the block runs. kind: of the route. Raises Overloaded."""
        async with AsyncExitStack() as stack:
            if lane is Lane.SEARCH:
                stack.enter_context(self.searches.arrival())
            elif lane is Lane.QUICK:
                stack.enter_context(self._quick.arrival())
                await stack.enter_async_context(self._quick.place(kind))
            yield
