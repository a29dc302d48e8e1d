"""Places for jobs: so many run at a time. A job that only waits for hosts lends its place to another one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from catalog.postgres.leased_queue import PhaseCounts
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A job waits for hosts when they set its pace, or it got nothing done, for this long.
PATIENCE_SECONDS = 5.0
LOOK_SECONDS = 0.5


class Place:
    """The place of one job."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._held = False

    async def take(self) -> None:
        """Wait until a place is free, and hold it. Does nothing if one is held."""
        if not self._held:
            await self._free.acquire()
            self._held = True

    def give_up(self) -> None:
        """Let another job have the place."""
        if self._held:
            self._held = False
            self._free.release()

    @asynccontextmanager
    async def lent_while_waiting(self, counts: Callable[[], PhaseCounts]) -> AsyncIterator[None]:
        """Give the place up when the work in the block waits for hosts, and take one before the block ends.

        counts: the progress of the work.
        """
        async with in_background(self._give_up_when_waiting(counts), "place"):
            yield
        await self.take()

    async def _give_up_when_waiting(self, counts: Callable[[], PhaseCounts]) -> None:
        waited, done = 0.0, counts().done
        while waited < PATIENCE_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            now = counts()
            waited = waited + LOOK_SECONDS if now.paced_by or now.done == done else 0.0
            done = now.done
        log.info("place_lent", paced_by=[each.host for each in now.paced_by])
        self.give_up()


class Places:
    """The places of all jobs of one kind."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Hold a place while entered, unless it is lent. Waits until one is free."""
        place = Place(self._free)
        await place.take()
        try:
            yield place
        finally:
            place.give_up()
