"""The outcomes of a fetch: vectors go to the base store, failures to the index, in batches, while more come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from similis.catalog.base_store import BaseStore
from similis.catalog.indexes import ImageFailure, Index, Indexes
from similis.trainer.embedding_stream import Embedded
from similis.trainer.failure import ImageFailed
from similis.trainer.metrics import TrainerMetrics
from similis.trainer.patience import Patience
from similis.trainer.progress import Progress

VECTORS_AT_ONCE = 128
FAILURES_AT_ONCE = 256
FAILURES_WAITING = 1024
DETAIL_CHARACTERS = 300


@dataclass
class Risk:
    """A place for one image that is being embedded and not kept yet."""

    outcomes: "Outcomes"
    taken: bool = False

    def embedded(self, ids: list[int], embedded: Embedded) -> None:
        """What became of the images (rows); the place is free when it is kept."""
        self.taken = True
        self.outcomes.add(ids, embedded)


def storable(detail: str) -> str:
    """A detail as the database takes it: hosts send what is no text, and more of it than anybody reads."""
    return detail[:DETAIL_CHARACTERS].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


class Outcomes:
    """Keeps what becomes of images. At most `at_risk` of them are embedded, or about to be, and not yet kept."""

    def __init__(
        self,
        index: Index,
        store: BaseStore,
        views: BaseStore,
        indexes: Indexes,
        patience: Patience,
        progress: Progress,
        metrics: TrainerMetrics,
        *,
        at_risk: int,
    ) -> None:
        self._index = index
        self._store = store
        self._views = views
        self._indexes = indexes
        self._patience = patience
        self._progress = progress
        self._metrics = metrics
        self._places = asyncio.Semaphore(at_risk)
        self._failures_places = asyncio.Semaphore(FAILURES_WAITING)
        self._vectors: deque[tuple[list[int], Embedded]] = deque()
        self._failures: deque[tuple[list[int], ImageFailed]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def risk(self) -> AsyncIterator[Risk]:
        """A place to embed one image, as soon as there is one."""
        await self._places.acquire()
        risk = Risk(self)
        try:
            yield risk
        finally:
            if not risk.taken:
                self._places.release()

    def add(self, ids: list[int], embedded: Embedded) -> None:
        """To be kept."""
        self._vectors.append((ids, embedded))
        self._arrived.set()

    async def failed(self, ids: list[int], failure: ImageFailed) -> None:
        """To be kept; waits while too many wait."""
        await self._failures_places.acquire()
        self._failures.append((ids, failure))
        self._arrived.set()

    def close(self) -> None:
        """Says that nothing more will come."""
        self._closed = True
        self._arrived.set()

    async def keep_all(self) -> None:
        """Keeps what comes, as it comes, until closed. Raises ServiceError when it cannot be kept."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._vectors or self._failures:
                await self._keep_vectors()
                await self._keep_failures()
            if self._closed:
                return

    async def _keep_vectors(self) -> None:
        batch = [self._vectors.popleft() for _ in range(min(len(self._vectors), VECTORS_AT_ONCE))]
        if not batch:
            return
        ids = [identifier for images, _ in batch for identifier in images]
        for images, embedded in batch:
            if len(embedded.views):
                # Before the vector: what has its vector is not fetched again.
                rows = np.repeat(embedded.views.reshape(1, -1), len(images), axis=0)
                await self._patience.persist(self._views.put, images, rows)
        for start in range(0, len(ids), VECTORS_AT_ONCE):
            await self._put(batch, ids, start)
        for _ in batch:
            self._places.release()
        self._done("embedded", len(ids))

    async def _put(self, batch: list[tuple[list[int], Embedded]], ids: list[int], start: int) -> None:
        owner = np.repeat(np.arange(len(batch)), [len(images) for images, _ in batch])[start : start + VECTORS_AT_ONCE]
        vectors = np.stack([batch[number][1].vector for number in owner])
        await self._patience.persist(self._store.put, ids[start : start + VECTORS_AT_ONCE], vectors)

    async def _keep_failures(self) -> None:
        batch = [self._failures.popleft() for _ in range(min(len(self._failures), FAILURES_AT_ONCE))]
        rows = [
            ImageFailure(identifier, failure.reason.value, storable(failure.detail))
            for images, failure in batch
            for identifier in images
        ]
        if not rows:
            return
        await self._patience.persist(self._indexes.add_failures, self._index, rows)
        for _ in batch:
            self._failures_places.release()
        for row in rows:
            self._metrics.failures.labels(row.reason).inc()
        self._done("failed", len(rows))

    def _done(self, outcome: str, images: int) -> None:
        self._metrics.images.labels(outcome).inc(images)
        self._progress.advance(images)
