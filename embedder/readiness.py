"""Whether images are really embedded, told to the health service."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.work_item import Item
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 0.5
REPLACEMENT_SECONDS = 5.0

Tell = Callable[[bool], Awaitable[None]]


class Readiness:
    """Serving as long as a worker lives and an image was embedded lately: a caller's, or else the canary.

    Made once a worker has embedded the canary.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        has_worker: Callable[[], bool],
        canary_seconds: float,
        metrics: EmbedderMetrics,
    ) -> None:
        self._dispatcher = dispatcher
        self._has_worker = has_worker
        self._canary_seconds = canary_seconds
        self._metrics = metrics
        self._worker_seen = time.monotonic()
        self.serving = True

    async def watch(self, tell: Tell) -> None:
        """Keeps the health service informed, through `tell`, until it is cancelled."""
        await self._say(self.serving, tell)
        while True:
            await self._set(self._is_staffed() and await self._works(), tell)
            await asyncio.sleep(CHECK_SECONDS)

    def _is_staffed(self) -> bool:
        """A worker that ended is replaced within a second; that long, callers wait in the queue."""
        if self._has_worker():
            self._worker_seen = time.monotonic()
        return time.monotonic() - self._worker_seen < REPLACEMENT_SECONDS

    async def _works(self) -> bool:
        if time.monotonic() - self._dispatcher.succeeded_at < self._canary_seconds:
            return True
        item = Item(b"", "interactive", time.monotonic() + self._canary_seconds, canary=True)
        try:
            return (await self._dispatcher.embed(item)).code is None
        except ServiceError as error:
            # A full queue is not a dead one.
            return error.code == "overloaded"

    async def _set(self, serving: bool, tell: Tell) -> None:
        if serving != self.serving:
            log.info("readiness_changed", serving=serving)
            await self._say(serving, tell)

    async def _say(self, serving: bool, tell: Tell) -> None:
        self.serving = serving
        self._metrics.ready.set(serving)
        await tell(serving)
