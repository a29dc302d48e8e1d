"""The outcomes of a fetch: vectors go to the base store, failures to the index, in batches, while more come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from catalog.image_versions import ImageVersion
from catalog.indexes import ImageFailure, Index
from catalog.jobs import Job
from trainer.download.failures import ImageFailed
from trainer.embed.stream import Embedded
from trainer.fetch.fetch_stores import FetchStores
from trainer.jobs.progress import Progress
from trainer.jobs.retry import Patience
from trainer.metrics import TrainerMetrics

VECTORS_AT_ONCE = 128
SETTLED_AT_ONCE = 256
SETTLED_WAITING = 1024
DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class _Made:
    """A vector of images (rows), and the version that it was made of."""

    images: list[int]
    embedded: Embedded
    version: ImageVersion


@dataclass
class Risk:
    """A place for one image that is being embedded and not kept yet."""

    outcomes: "Outcomes"
    taken: bool = False

    def embedded(self, ids: list[int], embedded: Embedded, version: ImageVersion) -> None:
        """What became of the images (rows); the place is free when it is kept."""
        self.taken = True
        self.outcomes.add(ids, embedded, version)


def storable(detail: str) -> str:
    """A detail as the database takes it: hosts send what is no text, and more of it than anybody reads."""
    return detail[:DETAIL_CHARACTERS].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


class Outcomes:
    """Keeps what becomes of images. At most `at_risk` of them are embedded, or about to be, and not yet kept."""

    def __init__(
        self,
        job: Job,
        index: Index,
        stores: FetchStores,
        patience: Patience,
        progress: Progress,
        metrics: TrainerMetrics,
        *,
        at_risk: int,
    ) -> None:
        self._job = job
        self._index = index
        self._stores = stores
        self._patience = patience
        self._progress = progress
        self._metrics = metrics
        self._places = asyncio.Semaphore(at_risk)
        self._settled_places = asyncio.Semaphore(SETTLED_WAITING)
        self._vectors: deque[_Made] = deque()
        self._failures: deque[tuple[list[int], ImageFailed]] = deque()
        self._unchanged: deque[tuple[list[int], ImageVersion]] = deque()
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

    def add(self, ids: list[int], embedded: Embedded, version: ImageVersion) -> None:
        """To be kept."""
        self._vectors.append(_Made(ids, embedded, version))
        self._arrived.set()

    async def failed(self, ids: list[int], failure: ImageFailed) -> None:
        """To be kept; waits while too many wait."""
        await self._settled_places.acquire()
        self._failures.append((ids, failure))
        self._arrived.set()

    async def unchanged(self, ids: list[int], version: ImageVersion) -> None:
        """The vectors that are there are of the newest version. Waits while too many wait."""
        await self._settled_places.acquire()
        self._unchanged.append((ids, version))
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
            while self._vectors or self._failures or self._unchanged:
                await self._keep_vectors()
                await self._keep_failures()
                await self._keep_unchanged()
            if self._closed:
                return

    async def _keep_vectors(self) -> None:
        batch = [self._vectors.popleft() for _ in range(min(len(self._vectors), VECTORS_AT_ONCE))]
        if not batch:
            return
        for made in batch:
            # Before the vector: what has its vector is not fetched again.
            await self._keep_views(made)
        rows = [(identifier, made) for made in batch for identifier in made.images]
        for start in range(0, len(rows), VECTORS_AT_ONCE):
            await self._put(rows[start : start + VECTORS_AT_ONCE])
        for _ in batch:
            self._places.release()
        self._done("embedded", len(rows))

    async def _keep_views(self, made: _Made) -> None:
        if len(made.embedded.views):
            rows = np.repeat(made.embedded.views.reshape(1, -1), len(made.images), axis=0)
            await self._patience.persist(self._stores.views.put, made.images, rows)
        elif self._job.refresh:
            # Of an older version, from when the image belonged to the sample.
            await self._patience.persist(self._stores.views.remove, made.images)

    async def _put(self, rows: list[tuple[int, _Made]]) -> None:
        vectors = np.stack([made.embedded.vector for _, made in rows])
        await self._patience.persist(self._stores.vectors.put, [identifier for identifier, _ in rows], vectors)
        # After the vector: a host that is asked for news of a version must not mean a newer one than the vector's.
        await self._keep_versions({identifier: made.version for identifier, made in rows})

    async def _keep_versions(self, versions: dict[int, ImageVersion]) -> None:
        await self._patience.persist(
            self._stores.versions.save,
            self._index.collection_id,
            self._index.backbone,
            versions,
            refreshed_by=self._job.id if self._job.refresh else None,
        )

    async def _keep_failures(self) -> None:
        batch = [self._failures.popleft() for _ in range(min(len(self._failures), SETTLED_AT_ONCE))]
        rows = [
            ImageFailure(identifier, failure.reason.value, storable(failure.detail))
            for images, failure in batch
            for identifier in images
        ]
        if not rows:
            return
        if self._job.refresh:
            # What failed is not in the index, also where an older version of it was.
            await self._patience.persist(self._stores.vectors.remove, [row.image_id for row in rows])
        await self._patience.persist(self._stores.indexes.add_failures, self._index, rows)
        for row in rows:
            self._metrics.failures.labels(row.reason).inc()
        self._settled("failed", len(batch), len(rows))

    async def _keep_unchanged(self) -> None:
        batch = [self._unchanged.popleft() for _ in range(min(len(self._unchanged), SETTLED_AT_ONCE))]
        versions = {identifier: version for images, version in batch for identifier in images}
        if versions:
            await self._keep_versions(versions)
            self._settled("unchanged", len(batch), len(versions))

    def _settled(self, outcome: str, places: int, images: int) -> None:
        for _ in range(places):
            self._settled_places.release()
        self._done(outcome, images)

    def _done(self, outcome: str, images: int) -> None:
        self._metrics.images.labels(outcome).inc(images)
        self._progress.advance(images)
