"""The result writer: stores vectors, versions and failures in batches while more are being fetched."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from catalog.duplicates.miniatures import Miniatures
from catalog.image_versions import EmbeddedVersion, ImageVersions
from catalog.indexes import ImageFailure, Indexes
from servicekit.download.failures import ImageFailed
from servicekit.download.image_version import ImageVersion
from servicekit.process.fault_points import FaultPoint
from trainer.embed.stream import Embedded
from trainer.jobs.attempt import Attempt
from trainer.metrics import TrainerMetrics

VECTORS_AT_ONCE = 128
# Failures and unchanged images: how many are stored together, and how many may wait for that.
OTHERS_AT_ONCE = 256
OTHERS_WAITING = 1024
DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class _Vector:
    """A vector to store for one or more images (rows), and the version of the image that it was made from."""

    images: list[int]
    embedded: Embedded
    version: EmbeddedVersion

    @property
    def warned_version(self) -> EmbeddedVersion:
        """The version, with what was wrong with it."""
        warning = next(iter(self.embedded.warnings), None)
        return replace(self.version, version=replace(self.version.version, warning=warning))


class UnsavedSlot:
    """A permit for one image that is being embedded and not yet stored."""

    def __init__(self, vectors: deque[_Vector], arrived: asyncio.Event) -> None:
        self._vectors = vectors
        self._arrived = arrived
        self.used = False

    def store(self, ids: list[int], embedded: Embedded, version: EmbeddedVersion) -> None:
        """Hand over the result for the images `ids`. The slot is freed once it is stored."""
        self.used = True
        self._vectors.append(_Vector(ids, embedded, version))
        self._arrived.set()


def storable(detail: str) -> str:
    """Return a detail that Postgres accepts and people can read: valid text, without NUL, not too long."""
    return detail[:DETAIL_CHARACTERS].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


class ResultWriter:
    """Stores the results of one attempt.

    At most `max_unsaved` images are being embedded or wait to be stored; a kill wastes no more than these.
    """

    def __init__(
        self,
        attempt: Attempt,
        versions: ImageVersions,
        miniatures: Miniatures,
        indexes: Indexes,
        metrics: TrainerMetrics,
        *,
        max_unsaved: int,
    ) -> None:
        self._attempt = attempt
        self._versions = versions
        self._miniatures = miniatures
        self._indexes = indexes
        self._metrics = metrics
        self._unsaved_slots = asyncio.Semaphore(max_unsaved)
        self._other_slots = asyncio.Semaphore(OTHERS_WAITING)
        self._vectors: deque[_Vector] = deque()
        self._failures: deque[tuple[list[int], ImageFailed]] = deque()
        self._unchanged: deque[tuple[list[int], ImageVersion]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def unsaved_slot(self) -> AsyncIterator[UnsavedSlot]:
        """Hold a slot for one image. Waits until one is free."""
        await self._unsaved_slots.acquire()
        slot = UnsavedSlot(self._vectors, self._arrived)
        try:
            yield slot
        finally:
            if not slot.used:
                self._unsaved_slots.release()

    async def failed(self, ids: list[int], failure: ImageFailed) -> None:
        """Store a failure of the images `ids`. Waits while too many results wait."""
        await self._other_slots.acquire()
        self._failures.append((ids, failure))
        self._arrived.set()

    async def unchanged(self, ids: list[int], version: ImageVersion) -> None:
        """Store that the vectors of the images `ids` are up to date. Waits while too many results wait."""
        await self._other_slots.acquire()
        self._unchanged.append((ids, version))
        self._arrived.set()

    def close(self) -> None:
        """Declare that no more results will come."""
        self._closed = True
        self._arrived.set()

    async def run(self) -> None:
        """Store results until the writer is closed. Raises ServiceError when they cannot be stored."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._vectors or self._failures or self._unchanged:
                await self._store_vectors()
                await self._store_failures()
                await self._store_unchanged()
            if self._closed:
                return

    async def _store_vectors(self) -> None:
        batch = [self._vectors.popleft() for _ in range(min(len(self._vectors), VECTORS_AT_ONCE))]
        if not batch:
            return
        for result in batch:
            # Before the vector: an image that has its vector is not embedded again.
            await self._store_views(result)
        # An image can stand for many rows.
        rows = [(image, result) for result in batch for image in result.images]
        for warning in (warning for _, result in rows for warning in result.embedded.warnings):
            self._metrics.warnings.labels(warning).inc()
        for start in range(0, len(rows), VECTORS_AT_ONCE):
            await self._store_rows(rows[start : start + VECTORS_AT_ONCE])
        _release(self._unsaved_slots, len(batch))
        self._count("embedded", len(rows))

    async def _store_views(self, result: _Vector) -> None:
        if len(result.embedded.views):
            rows = np.repeat(result.embedded.views.reshape(1, -1), len(result.images), axis=0)
            await self._attempt.views.put(result.images, rows)
        elif self._attempt.job.refresh:
            # Views of an older version, from a time when the image was in the sample.
            await self._attempt.views.remove(result.images)

    async def _store_rows(self, rows: list[tuple[int, _Vector]]) -> None:
        # Before the vector, too. One that is newer than its vector does no harm.
        miniatures = {image: result.embedded.miniature for image, result in rows}
        await self._miniatures.save(self._attempt.index.collection_id, miniatures)
        vectors = np.stack([result.embedded.vector for _, result in rows])
        await self._attempt.vectors.put([image for image, _ in rows], vectors)
        FaultPoint.VECTORS_STORED.reach()
        # After the vector: a kill in between costs a download, while the other order could keep an outdated vector.
        await self._store_versions({image: result.warned_version for image, result in rows})

    async def _store_versions(self, versions: Mapping[int, EmbeddedVersion]) -> None:
        job, index = self._attempt.job, self._attempt.index
        refreshed_by = job.id if job.refresh else None
        await self._versions.save(index.collection_id, index.backbone, versions, refreshed_by=refreshed_by)

    async def _store_failures(self) -> None:
        batch = [self._failures.popleft() for _ in range(min(len(self._failures), OTHERS_AT_ONCE))]
        rows = [
            ImageFailure(image, failure.reason.value, storable(failure.detail))
            for images, failure in batch
            for image in images
        ]
        if not rows:
            return
        await self._indexes.add_failures(self._attempt.index, rows)
        for row in rows:
            self._metrics.failures.labels(row.reason).inc()
        _release(self._other_slots, len(batch))
        self._count("failed", len(rows))

    async def _store_unchanged(self) -> None:
        batch = [self._unchanged.popleft() for _ in range(min(len(self._unchanged), OTHERS_AT_ONCE))]
        versions = {image: EmbeddedVersion(version) for images, version in batch for image in images}
        if not versions:
            return
        await self._store_versions(versions)
        _release(self._other_slots, len(batch))
        self._count("unchanged", len(versions))

    def _count(self, outcome: str, images: int) -> None:
        self._metrics.images.labels(outcome).inc(images)
        self._attempt.progress.advance(images)


def _release(slots: asyncio.Semaphore, number: int) -> None:
    for _ in range(number):
        slots.release()
