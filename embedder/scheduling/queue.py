"""The bounded queue of one lane."""

import asyncio
from collections import deque

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.queued_image import LaneName, QueuedImage
from servicekit.errors import Overloaded


class ImageQueue:
    """A first-in, first-out queue of up to `max_images` images and `max_bytes` bytes. One image always fits."""

    def __init__(self, lane: LaneName, max_images: int, max_bytes: int, metrics: EmbedderMetrics) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._images: deque[QueuedImage] = deque()
        self._bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], QueuedImage]] = deque()
        self._length_metric = metrics.queue_items.labels(lane)
        self._bytes_metric = metrics.queue_bytes.labels(lane)

    def __len__(self) -> int:
        return len(self._images)

    def put(self, image: QueuedImage) -> None:
        """Add an image. Raises Overloaded if the queue is full."""
        if not self._has_room(len(image.image)):
            raise Overloaded("Too many images are waiting to be embedded. Try again in a moment.")
        self._add(image)

    async def wait_and_put(self, image: QueuedImage) -> None:
        """Add an image as soon as there is room. Callers are served in order; a cancelled one adds nothing."""
        if not self._waiting and self._has_room(len(image.image)):
            self._add(image)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, image))
        try:
            await turn
        except asyncio.CancelledError:
            self.drop(image)
            self._admit()
            raise

    def first(self) -> QueuedImage | None:
        """Return the oldest image without removing it, or None."""
        return self._images[0] if self._images else None

    def take(self) -> QueuedImage | None:
        """Remove and return the oldest image, or return None."""
        if not self._images:
            return None
        image = self._images.popleft()
        self._removed(image)
        return image

    def put_back(self, image: QueuedImage) -> None:
        """Add an image ahead of all others, even if the queue is full: it was taken before, and nothing was done."""
        self._images.appendleft(image)
        self._bytes += len(image.image)
        self._update_metrics()

    def drop(self, image: QueuedImage) -> None:
        """Remove an image whose caller has left, if it is still here."""
        # `remove` alone would format the whole image into the message of its ValueError.
        if image in self._images:
            self._images.remove(image)
            self._removed(image)

    def _add(self, image: QueuedImage) -> None:
        self._images.append(image)
        self._bytes += len(image.image)
        self._update_metrics()

    def _removed(self, image: QueuedImage) -> None:
        self._bytes -= len(image.image)
        self._update_metrics()
        self._admit()

    def _update_metrics(self) -> None:
        self._length_metric.set(len(self._images))
        self._bytes_metric.set(self._bytes)

    def _has_room(self, size: int) -> bool:
        return not self._images or (len(self._images) < self._max_images and self._bytes + size <= self._max_bytes)

    def _admit(self) -> None:
        """Add the images of waiting callers, as far as there is room."""
        while self._waiting:
            turn, image = self._waiting[0]
            if not turn.done():
                if not self._has_room(len(image.image)):
                    return
                self._add(image)
                turn.set_result(None)
            self._waiting.popleft()
