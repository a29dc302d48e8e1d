"""Bounds the number of collections that have a writer at the same time."""

import asyncio


class WriterSlots:
    """The slots for writers. A lingering collection gives up its slot when another one waits."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: set[str] = set()
        self._waiting = 0
        self._changed = asyncio.Condition()
        # Set while a collection waits for a slot.
        self.wanted = asyncio.Event()

    async def take(self, collection: str) -> None:
        """Wait for a slot. Return at once when the collection has one already."""
        async with self._changed:
            self._waiting += 1
            try:
                while collection not in self._taken and len(self._taken) >= self._number:
                    self.wanted.set()
                    await self._changed.wait()
                self._taken.add(collection)
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self.wanted.clear()

    async def give_back(self, collection: str) -> None:
        """Free the collection's slot."""
        async with self._changed:
            self._taken.discard(collection)
            self._changed.notify_all()
