"""Whether images are really embedded, told to the health service."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from similis.embedder.dispatcher import Dispatcher
from similis.embedder.item import Item
from similis.embedder.metrics import EmbedderMetrics
from similis.servicekit.errors import ServiceError
from similis.servicekit.logs import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 0.5


class Readiness:
    """Serving as long as a worker lives and an image was embedded lately: a caller's, or else the canary."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        has_worker: Callable[[], bool],
        tell: Callable[[bool], Awaitable[None]],
        canary_seconds: float,
        metrics: EmbedderMetrics,
    ) -> None:
        self._dispatcher = dispatcher
        self._has_worker = has_worker
        self._tell = tell
        self._canary_seconds = canary_seconds
        self._metrics = metrics
        self.serving = False

    async def watch(self) -> None:
        """Keeps the health service informed until it is cancelled."""
        while True:
            await self._set(self._has_worker() and await self._works())
            await asyncio.sleep(CHECK_SECONDS)

    async def _works(self) -> bool:
        if time.monotonic() - self._dispatcher.succeeded_at < self._canary_seconds:
            return True
        item = Item(b"", "interactive", time.monotonic() + self._canary_seconds, canary=True)
        try:
            return (await self._dispatcher.embed(item)).code is None
        except ServiceError as error:
            # A full queue is not a dead one.
            return error.code == "overloaded"

    async def _set(self, serving: bool) -> None:
        if serving != self.serving:
            log.info("readiness_changed", serving=serving)
            self.serving = serving
            self._metrics.ready.set(serving)
            await self._tell(serving)
