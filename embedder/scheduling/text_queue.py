"""Texts that wait for the worker that embeds them."""

import asyncio
from itertools import count

from embedder.metrics import EmbedderMetrics
from embedder.workers.messages import WorkRequest, WorkResult
from embedder.workers.pool import WorkerPool
from embedder.workers.process import WorkerGone
from servicekit.errors import DeadlineExceeded, Overloaded, Unavailable


class TextQueue:
    """Passes texts to a pool of one worker, which embeds one after the other."""

    def __init__(self, pool: WorkerPool, most: int, metrics: EmbedderMetrics) -> None:
        """most: how many texts may be embedded or wait."""
        self._pool = pool
        self._most = most
        self._metrics = metrics
        self._pending = 0
        self._ids = count(1)

    async def embed(self, text: str, seconds: float) -> WorkResult:
        """Return the result of a text. A text whose worker exits is tried once more.

        Raises Overloaded, Unavailable, and DeadlineExceeded after `seconds`.
        """
        if self._pending >= self._most:
            raise Overloaded("Too many texts are waiting to be embedded. Try again in a moment.")
        self._pending += 1
        try:
            async with asyncio.timeout(seconds):
                return await self._embed(text)
        except TimeoutError:
            raise DeadlineExceeded("The text was not embedded in time.") from None
        finally:
            self._pending -= 1

    async def _embed(self, text: str) -> WorkResult:
        for _ in range(2):
            workers = self._pool.usable
            if not workers:
                break
            try:
                result = await workers[0].submit(WorkRequest(next(self._ids), text.encode()))
            except WorkerGone:
                self._metrics.retries.inc()
                continue
            self._metrics.text_seconds.observe(result.forward_seconds)
            return result
        raise Unavailable("The embedder is not ready. Try again in a moment.", code="embedder_not_ready")
