"""A bounded number of places for collections that are being written."""

import asyncio


class WriterSlots:
    """Which collections may have a writer. A collection that lingers in its place leaves when others wait."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: set[str] = set()
        self._waiting = 0
        self._changed = asyncio.Condition()
        self.wanted = asyncio.Event()
        """Set while somebody waits for a place."""

    async def take(self, collection: str) -> None:
        """Wait for a place; at once when the collection has one already."""
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
        """Leave the place."""
        async with self._changed:
            self._taken.discard(collection)
            self._changed.notify_all()
