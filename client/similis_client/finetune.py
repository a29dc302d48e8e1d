"""A finetune that was started, and its progress."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Self

from similis_client.answers import CollectionInfo, FinetuneStarted
from similis_client.errors import ConnectionFailed, FinetuneFailed, SimilisError, TemporaryFailure

INTERVAL_SECONDS = 1.0
# How long the service may be away, for example while it is restarted, before watching it ends.
PATIENCE_SECONDS = 120.0

Read = Callable[[], Awaitable[CollectionInfo]]


class Finetune:
    """A finetune of one collection. Await it to start it, or call `watch` or `wait`, which start it too.

    job_id, message: what the service answered; job_id is None if there is nothing new to learn.
    """

    def __init__(self, start: Callable[[], Awaitable[FinetuneStarted]], read: Read) -> None:
        self._start = start
        self._read = read
        self._started: FinetuneStarted | None = None

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()

    async def start(self) -> Self:
        """Start it, unless that was done before."""
        if self._started is None:
            self._started = await self._start()
        return self

    @property
    def job_id(self) -> int | None:
        """The job, or None if there is nothing new to learn, or if it has not been started."""
        return self._started.job_id if self._started else None

    @property
    def message(self) -> str:
        """What the service answered."""
        return self._started.message if self._started else ""

    async def watch(self, interval: float = INTERVAL_SECONDS) -> AsyncIterator[CollectionInfo]:
        """Yield the state of the collection, every `interval` seconds, until the finetune has ended.

        Raises FinetuneFailed if it failed or was cancelled.
        """
        await self.start()
        if self.job_id is None:
            yield await self._read()
            return
        async for info in watched(self._read, interval):
            yield info

    async def wait(self, interval: float = INTERVAL_SECONDS) -> CollectionInfo:
        """Return the state of the collection after the finetune. Raises FinetuneFailed like `watch`."""
        async for info in self.watch(interval):
            last = info
        return last


async def watched(
    read: Read, interval: float = INTERVAL_SECONDS, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[CollectionInfo]:
    """Yield the state of a collection until no finetune is queued or running.

    patience: for how many seconds the service may be away. Raises FinetuneFailed if the finetune failed or was
    cancelled.
    """
    loop = asyncio.get_running_loop()
    lost_since: float | None = None
    while True:
        try:
            info = await read()
        except (ConnectionFailed, TemporaryFailure) as error:
            lost_since = lost_since or loop.time()
            if loop.time() - lost_since >= patience:
                raise
            await asyncio.sleep(_pause(error, interval))
            continue
        lost_since = None
        yield info
        if not info.is_finetuning:
            break
        await asyncio.sleep(interval)
    if info.finetuning_state == "failed":
        failure = info.finetuning_error
        code, detail = (failure.code, failure.message) if failure else ("internal", "The finetune failed.")
        raise FinetuneFailed(code, detail)
    if info.finetuning_state == "cancelled":
        raise FinetuneFailed("cancelled", "The finetune was cancelled.")


def _pause(error: SimilisError, interval: float) -> float:
    asked = error.retry_after if isinstance(error, TemporaryFailure) else None
    return max(interval, asked or 0.0)
