"""The views phase: embeds augmented views of the sampled images that have none yet.

A collection's first finetune leaves this for later, so that its images can be searched sooner.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog.images import Image, Images
from catalog.jobs import Job
from servicekit.download.client import Downloader
from servicekit.download.failures import ImageFailed
from servicekit.telemetry.logs import get_logger
from trainer.embed.stream import EmbeddingStream, Matrix
from trainer.fetch.kept_images import KeptImages, kept_images
from trainer.fetch.pipeline import LOOK_AHEAD, PAGE_SIZE, root_cause, unsaved_limit
from trainer.fetch.queue import DownloadQueue, QueuedDownload
from trainer.fetch.view_sample import VIEWS, ViewSample
from trainer.index.base_vectors import revision_pages
from trainer.jobs.attempt import Attempt

log = get_logger(__name__)

STORED_AT_ONCE = 32


@dataclass(frozen=True)
class ViewPipeline:
    """Runs views phases. `images` retries its calls.

    directory, kept_bytes: where images wait for their views, and how many bytes they may have; see `kept_images`.
    """

    images: Images
    downloader: Downloader
    directory: Path | None
    kept_bytes: int | None

    def keeping_images(self, job: Job) -> AbstractAsyncContextManager[KeptImages]:
        """Keep images of a job while entered, for `run`."""
        return kept_images(job, self.directory, self.kept_bytes)

    async def run(self, attempt: Attempt, stream: EmbeddingStream, kept: KeptImages) -> None:
        """Return once the sampled images have views, but for those that cannot be downloaded or decoded any more.

        kept: images that need no download. Raises ServiceError when a service stays unavailable.
        """
        try:
            await _ViewsPhase(self, attempt, stream, kept).run()
        except ExceptionGroup as group:
            raise root_cause(group) from group


@dataclass(frozen=True)
class _Views:
    """The vectors [n, dim] of the views of an image, and the rows that it stands for."""

    url: str
    images: list[int]
    views: Matrix


class _ViewsPhase:
    """The views phase of one attempt: finds images, reads, embeds and stores them at the same time."""

    def __init__(self, pipeline: ViewPipeline, attempt: Attempt, stream: EmbeddingStream, kept: KeptImages) -> None:
        self._pipeline = pipeline
        self._attempt = attempt
        self._stream = stream
        self._kept = kept
        self._sample = ViewSample(attempt.total)
        self._queue = DownloadQueue(look_ahead=LOOK_AHEAD, places=pipeline.downloader.places)
        unsaved = unsaved_limit(attempt.total)
        # The others that a kill can waste wait to be stored.
        self._workers = max(unsaved // 2, 3)
        self._embedded: asyncio.Queue[_Views | None] = asyncio.Queue(max(unsaved // 4, 1))
        self._failed = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as storing:
            storing.create_task(self._store_all())
            async with asyncio.TaskGroup() as embedding:
                embedding.create_task(self._queue_missing())
                for _ in range(self._workers):
                    embedding.create_task(self._embed_queued())
            await self._embedded.put(None)
        if self._failed:
            log.info("views_missing", images=self._failed)

    async def _queue_missing(self) -> None:
        async for page in revision_pages(self._pipeline.images, self._attempt.job, PAGE_SIZE):
            for image in await self._missing([image for image in page if self._sample.views(image.id)]):
                await self._queue.put(image.id, image.image_url)
        await self._queue.close()

    async def _missing(self, sampled: list[Image]) -> list[Image]:
        """Return the images that have a vector and no views."""
        ids = [image.id for image in sampled]
        present = await self._attempt.vectors.existing(ids) if ids else set()
        missing = present - await self._attempt.views.existing(sorted(present)) if present else set()
        self._attempt.progress.skip(len(ids) - len(missing))
        return [image for image in sampled if image.id in missing]

    async def _embed_queued(self) -> None:
        while (queued := await self._queue.get()) is not None:
            try:
                views = await self._views(queued)
            except ImageFailed as failure:
                ids = await self._queue.done(queued)
                self._failed += len(ids)
                self._attempt.progress.skip(len(ids))
                log.debug("views_failed", reason=failure.reason.value)
            else:
                await self._embedded.put(_Views(queued.url, await self._queue.done(queued), views))

    async def _views(self, queued: QueuedDownload) -> Matrix:
        image = await self._kept.read(queued.url)
        if image is not None:
            await self._queue.arrived(queued)
            return await self._stream.embed_views(image, VIEWS)
        async with self._pipeline.downloader.download(queued.url) as download:
            await self._queue.arrived(queued)
            assert download.body is not None, "no version is known, so the host sends one"  # noqa: S101
            return await self._stream.embed_views(download.body, VIEWS)

    async def _store_all(self) -> None:
        while (first := await self._embedded.get()) is not None:
            batch = [first]
            while len(batch) < STORED_AT_ONCE and not self._embedded.empty():
                following = self._embedded.get_nowait()
                if following is None:
                    await self._store(batch)
                    return
                batch.append(following)
            await self._store(batch)

    async def _store(self, batch: list[_Views]) -> None:
        # An image can stand for many rows.
        rows = [(image, embedded.views.reshape(-1)) for embedded in batch for image in embedded.images]
        for start in range(0, len(rows), STORED_AT_ONCE):
            part = rows[start : start + STORED_AT_ONCE]
            await self._attempt.views.put([image for image, _ in part], np.stack([row for _, row in part]))
        for embedded in batch:
            self._kept.forget(embedded.url)
        self._attempt.progress.advance(len(rows))
