"""A bounded queue of images, by number and by bytes."""

import asyncio
from collections import deque

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.work_item import Item, LaneName
from servicekit.errors import Overloaded


class Lane:
    """First in, first out. Full when it holds `max_items`, or bytes beyond `max_bytes` (a single image always fits)."""

    def __init__(self, name: LaneName, max_items: int, max_bytes: int, metrics: EmbedderMetrics) -> None:
        self.name = name
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], Item]] = deque()
        self._length = metrics.queue_items.labels(name)
        self._size = metrics.queue_bytes.labels(name)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Adds an item. Raises Overloaded when the lane is full."""
        if not self._has_room(len(item.image)):
            raise Overloaded("More images wait than can be embedded in time.")
        self._add(item)

    async def put_in_turn(self, item: Item) -> None:
        """Adds an item as soon as there is room, in the order of the callers. One that is cancelled adds nothing."""
        if not self._waiting and self._has_room(len(item.image)):
            self._add(item)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, item))
        try:
            await turn
        except asyncio.CancelledError:
            self.drop(item)
            self._admit()
            raise

    def first(self) -> Item | None:
        """The oldest item, which stays; None when there is none."""
        return self._items[0] if self._items else None

    def take(self) -> Item | None:
        """The oldest item; None when there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._left(item)
        return item

    def drop(self, item: Item) -> None:
        """Removes an item whose caller is gone, if it is still here."""
        # Asked before: to say what it does not find, `remove` writes the whole image down.
        if item in self._items:
            self._items.remove(item)
            self._left(item)

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._bytes += len(item.image)
        self._length.set(len(self._items))
        self._size.set(self._bytes)

    def _left(self, item: Item) -> None:
        self._bytes -= len(item.image)
        self._length.set(len(self._items))
        self._size.set(self._bytes)
        self._admit()

    def _has_room(self, size: int) -> bool:
        return not self._items or (len(self._items) < self._max_items and self._bytes + size <= self._max_bytes)

    def _admit(self) -> None:
        """Adds the items of those that wait, as far as there is room."""
        while self._waiting:
            turn, item = self._waiting[0]
            if not turn.done():
                if not self._has_room(len(item.image)):
                    return
                self._add(item)
                turn.set_result(None)
            self._waiting.popleft()
