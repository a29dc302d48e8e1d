"""The readiness of the embedder: whether it really embeds images."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.queued_image import QueuedImage
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 0.5
REPLACEMENT_SECONDS = 5.0

ReportServing = Callable[[bool], Awaitable[None]]


class EmbedderReadiness:
    """Ready while there is a worker and an image was embedded recently: one of a caller, or else the canary.

    Create it once a worker has embedded the canary.
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

    async def watch(self, report: ReportServing) -> None:
        """Check regularly, and report the state now and whenever it changes, until cancelled."""
        await self._set(self.serving, report)
        while True:
            serving = self._had_worker_recently() and await self._embeds()
            if serving != self.serving:
                log.info("readiness_changed", serving=serving)
                await self._set(serving, report)
            await asyncio.sleep(CHECK_SECONDS)

    def _had_worker_recently(self) -> bool:
        """Return whether there was a worker a moment ago. Callers wait in the queue while it is replaced."""
        if self._has_worker():
            self._worker_seen = time.monotonic()
        return time.monotonic() - self._worker_seen < REPLACEMENT_SECONDS

    async def _embeds(self) -> bool:
        if time.monotonic() - self._dispatcher.succeeded_at < self._canary_seconds:
            return True
        canary = QueuedImage(b"", "interactive", time.monotonic() + self._canary_seconds, canary=True)
        try:
            return (await self._dispatcher.embed(canary)).code is None
        except ServiceError as error:
            # An embedder whose queue is full works.
            return error.code == "overloaded"

    async def _set(self, serving: bool, report: ReportServing) -> None:
        self.serving = serving
        self._metrics.ready.set(serving)
        await report(serving)
