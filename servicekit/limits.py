"""Bounds: how much happens at once, and how much memory bodies take."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from servicekit.errors import Overloaded
from servicekit.request_context import remaining


class Gate:
    """Lets a number of callers in at once, and as many wait as its queue is long; others are turned away."""

    def __init__(self, what: str, *, at_once: int, waiting: int, wait_seconds: float) -> None:
        """what: the plural that a refusal names, "searches"."""
        self._what = what
        self._slots = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._wait_seconds = wait_seconds
        self._present = 0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """A place inside. Raises Overloaded when the queue is full or the wait too long."""
        if self._present >= self._room:
            raise self._full()
        self._present += 1
        try:
            try:
                async with asyncio.timeout(remaining(self._wait_seconds)):
                    await self._slots.acquire()
            except TimeoutError:
                raise self._full() from None
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._present -= 1

    def _full(self) -> Overloaded:
        return Overloaded(f"Too many {self._what} at once.")


class ByteBudget:
    """Bytes that all bodies in memory may take together."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @contextmanager
    def account(self) -> Iterator["BodyAccount"]:
        """An account of one body; what it took is given back on leaving."""
        account = BodyAccount(self)
        try:
            yield account
        finally:
            self._left += account.taken

    def take(self, size: int) -> None:
        """Takes bytes. Raises Overloaded when there are not that many left."""
        if size > self._left:
            raise Overloaded("Too many large requests at once.")
        self._left -= size


class BodyAccount:
    """What one body has taken of the budget so far."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Overloaded when the budget is used up."""
        self._budget.take(size)
        self.taken += size
