"""Decides whether a request is let in, before any work is done for it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from gateway.admission.client import current_client
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

    @asynccontextmanager
    async def admitted(self, lane: Lane, kind: int) -> AsyncIterator[None]:
        """Let a request in while the block runs. kind: of the route. Raises Overloaded (overloaded, rate_limited)."""
        self._rate.take(current_client())
        async with AsyncExitStack() as stack:
            if lane is Lane.SEARCH:
                stack.enter_context(self.searches.arrival())
            elif lane is Lane.QUICK:
                stack.enter_context(self._quick.arrival())
                await stack.enter_async_context(self._quick.place(kind))
            yield
