"""Limits on concurrency and on memory, for everything that callers can make grow."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from servicekit.errors import Overloaded
from servicekit.request_context import remaining


class ConcurrencyLimit:
    """Run a number of callers at once, queue a few more, and refuse the rest."""

    def __init__(self, what: str, *, at_once: int, waiting: int, wait_seconds: float) -> None:
        """what: the plural that the refusal names, such as "searches". waiting: the length of the queue."""
        self._what = what
        self._slots = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._wait_seconds = wait_seconds
        self._present = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot while the block runs. Raises Overloaded when the queue is full or the wait times out."""
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
        return Overloaded(f"Too many {self._what} at once. Try again in a moment.")


class ByteBudget:
    """A number of bytes that many bodies share, so that together they never take more memory.

    `account` refuses a body for which there is no room; `reserved` waits for room. Waiters are served in order, and
    nobody overtakes them.
    """

    def __init__(self, total: int, *, refusal: Callable[[], Exception] | None = None) -> None:
        """refusal: makes the error that `account` raises; Overloaded by default."""
        self.total = total
        self._free = total
        self._refusal = refusal or _too_many_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """How many bytes nobody has taken."""
        return self._free

    @contextmanager
    def account(self) -> Iterator["ByteAccount"]:
        """Return the account of one body while the block runs. Its bytes become free again at the end."""
        account = ByteAccount(self)
        try:
            yield account
        finally:
            self._release(account.taken)

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes while the block runs, the whole budget at most. Waits until they are free."""
        size = min(size, self.total)
        await self._wait_for(size)
        try:
            yield
        finally:
            self._release(size)

    def take(self, size: int) -> None:
        """Take bytes without waiting. Raises the refusal when too few are free."""
        if self._waiting or size > self._free:
            raise self._refusal()
        self._free -= size

    async def _wait_for(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(size)
            else:
                self._serve_waiters()
            raise

    def _release(self, size: int) -> None:
        self._free += size
        self._serve_waiters()

    def _serve_waiters(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if size > self._free:
                    return
                self._free -= size
                turn.set_result(None)
            self._waiting.popleft()


class ByteAccount:
    """The bytes that one body has taken from a budget so far."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    @property
    def most(self) -> int:
        """The most bytes that one body can take: the whole budget."""
        return self._budget.total

    def take(self, size: int) -> None:
        """Take bytes for this body. Raises the budget's refusal when too few are free."""
        self._budget.take(size)
        self.taken += size


def _too_many_bytes() -> Overloaded:
    return Overloaded("Too many large requests at once. Try again in a moment.")
