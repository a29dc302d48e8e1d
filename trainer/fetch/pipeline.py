"""The fetch phase: downloads and embeds the images of a revision that have no base vector yet."""

import asyncio
from dataclasses import dataclass

from catalog.duplicates.miniatures import Miniatures
from catalog.image_versions import EmbeddedVersion, ImageVersions
from catalog.images import Image, Images
from catalog.indexes import Indexes
from catalog.jobs import LeaseLost, PacingHost
from servicekit.download.client import Downloader
from servicekit.download.failures import PERMANENT, ImageFailed
from servicekit.download.image_version import UNKNOWN, ImageVersion
from servicekit.errors import ServiceError
from servicekit.process.fault_points import FaultPoint
from trainer.embed.stream import EmbeddingStream
from trainer.fetch.kept_images import KeptImages
from trainer.fetch.queue import DownloadQueue, QueuedDownload
from trainer.fetch.result_writer import ResultWriter
from trainer.fetch.view_sample import ViewSample
from trainer.index.base_vectors import revision_pages
from trainer.jobs.attempt import Attempt
from trainer.metrics import TrainerMetrics

PAGE_SIZE = 512
LOOK_AHEAD = 2048
# The most pacing hosts that users see.
SHOWN_HOSTS = 10
# The most images whose embedding a kill can waste, as a share of the collection and in absolute numbers.
MAX_UNSAVED_SHARE = 0.03
# The most downloads that a kill can waste, as a share of the collection.
MAX_REPEATED_SHARE = 0.05
MIN_UNSAVED, MAX_UNSAVED = 4, 64


@dataclass(frozen=True)
class FetchPipeline:
    """Runs fetch phases. The stores retry their calls. downloads: the most at a time."""

    images: Images
    versions: ImageVersions
    miniatures: Miniatures
    indexes: Indexes
    downloader: Downloader
    downloads: int
    metrics: TrainerMetrics

    async def run(self, attempt: Attempt, stream: EmbeddingStream, kept: KeptImages | None = None) -> None:
        """Return once each row of the attempt has a base vector or a failure.

        kept: where to keep images whose views are embedded later; None: they are embedded now. A refresh also asks for
        the images that have a vector, and embeds those that changed. Raises ServiceError when a service stays
        unavailable.
        """
        try:
            await _FetchPhase(self, attempt, stream, kept).run()
        except ExceptionGroup as group:
            raise root_cause(group) from group


class _FetchPhase:
    """The fetch phase of one attempt: finds images, downloads, embeds and stores them at the same time."""

    def __init__(
        self, pipeline: FetchPipeline, attempt: Attempt, stream: EmbeddingStream, kept: KeptImages | None
    ) -> None:
        self._pipeline = pipeline
        self._metrics = pipeline.metrics
        self._attempt = attempt
        self._stream = stream
        self._kept_images = kept
        unsaved = unsaved_limit(attempt.total)
        # More than may download at a time: the rest wait for the embedder with their images.
        self._workers = pipeline.downloads + unsaved
        # An image that is being embedded need not hold a place at its host. But then more images are in memory, which
        # a kill wastes, and that may only be a small share of the collection.
        self._frees_places = self._workers <= attempt.total * MAX_REPEATED_SHARE
        self._sample = ViewSample(attempt.total)
        self._queue = DownloadQueue(look_ahead=LOOK_AHEAD, places=pipeline.downloader.places)
        self._writer = ResultWriter(
            attempt,
            pipeline.versions,
            pipeline.miniatures,
            pipeline.indexes,
            pipeline.metrics,
            max_unsaved=unsaved,
        )

    async def run(self) -> None:
        self._attempt.progress.paced_by = self._pacing_hosts
        async with asyncio.TaskGroup() as storing:
            storing.create_task(self._writer.run())
            async with asyncio.TaskGroup() as fetching:
                fetching.create_task(self._queue_missing())
                for _ in range(self._workers):
                    fetching.create_task(self._fetch_queued())
            self._writer.close()

    async def _queue_missing(self) -> None:
        """Queue all images that need a download."""
        async for page in revision_pages(self._pipeline.images, self._attempt.job, PAGE_SIZE):
            missing = await self._missing(page)
            self._attempt.progress.skip(len(page) - len(missing))
            self._metrics.images.labels("known").inc(len(page) - len(missing))
            for image, version in missing:
                await self._queue.put(image.id, image.image_url, version)
        await self._queue.close()

    async def _missing(self, page: list[Image]) -> list[tuple[Image, ImageVersion]]:
        """Return the images of a page that need a download, with the version that we have of each."""
        ids = [image.id for image in page]
        job, index = self._attempt.job, self._attempt.index
        embedded = await self._attempt.vectors.existing(ids)
        failed = await self._failed(ids, embedded)
        if not job.refresh:
            return [(image, UNKNOWN) for image in page if image.id not in embedded | failed]
        versions = await self._pipeline.versions.of_images(index.collection_id, index.backbone, ids)
        stored = {image: version for image, version in versions.items() if image in embedded}
        # An earlier attempt at this refresh has asked for these.
        refreshed = {image for image, version in stored.items() if version.refreshed_by == job.id}
        return [
            (image, stored[image.id].version if image.id in stored else UNKNOWN)
            for image in page
            if image.id not in failed | refreshed
        ]

    async def _failed(self, ids: list[int], embedded: set[int]) -> set[int]:
        """Return the images that failed in an earlier attempt, or permanently in an earlier finetune."""
        indexes, index = self._pipeline.indexes, self._attempt.index
        failed = {failure.image_id for failure in await indexes.failures(index.id, ids)}
        if self._attempt.job.refresh:
            # The vectors of these images are removed at the end of the phase.
            return failed
        if failed & embedded:
            # The image got its vector in a finetune that was not published, so the old failure no longer holds.
            await indexes.forget_failures(index.id, sorted(failed & embedded))
        return failed - embedded

    def _pacing_hosts(self) -> list[PacingHost]:
        held = self._pipeline.downloader.held_hosts(self._queue.hosts)
        return [PacingHost(host.host, host.why.value) for host in held[:SHOWN_HOSTS]]

    async def _fetch_queued(self) -> None:
        while (queued := await self._queue.get()) is not None:
            await self._fetch(queued)

    async def _fetch(self, queued: QueuedDownload) -> None:
        """Download and embed one image, and hand the result to the writer."""
        try:
            async with self._pipeline.downloader.download(queued.url, queued.version) as download:
                FaultPoint.DOWNLOADED.reach()
                if download.body is None:
                    ids = await self._queue.done(queued)
                    await self._writer.unchanged(ids, download.version)
                else:
                    version = EmbeddedVersion(download.version, download.digest)
                    await self._embed(queued, download.body, version)
        except ImageFailed as failure:
            ids = await self._queue.done(queued)
            kept = await self._kept(ids, queued.version, failure)
            if lost := [image for image in ids if image not in kept]:
                await self._writer.failed(lost, failure)

    async def _kept(self, ids: list[int], version: ImageVersion, failure: ImageFailed) -> set[int]:
        """Return the images that stay indexed although a refresh could not check them, because the reason may pass."""
        if not self._attempt.job.refresh or failure.reason in PERMANENT:
            return set()
        kept = await self._attempt.vectors.existing(ids)
        if kept:
            self._attempt.kept[failure.reason] += len(kept)
            await self._writer.unchanged(sorted(kept), version)
        return kept

    async def _embed(self, queued: QueuedDownload, body: bytes, version: EmbeddedVersion) -> None:
        self._metrics.downloaded_bytes.inc(len(body))
        async with self._writer.unsaved_slot() as slot:
            if self._frees_places:
                await self._queue.arrived(queued)
            views = self._sample.views(queued.image_ids[0])
            if views and self._kept_images is not None and await self._kept_images.keep(queued.url, body):
                views = 0
            embedded = await self._stream.embed(body, views)
            FaultPoint.EMBEDDED.reach()
            ids = await self._queue.done(queued)
            slot.store(ids, embedded, version)


def unsaved_limit(images: int) -> int:
    """Return how many images of a collection may be embedded at a time without being stored."""
    return min(max(int(images * MAX_UNSAVED_SHARE), MIN_UNSAVED), MAX_UNSAVED)


def root_cause(group: ExceptionGroup[Exception]) -> Exception:
    """Return the error that explains the others: a lost lease, else an unexpected error, else the first."""
    leaves = _leaves(group)
    for leaf in leaves:
        if isinstance(leaf, LeaseLost):
            return leaf
    for leaf in leaves:
        if not isinstance(leaf, ServiceError):
            return leaf
    return leaves[0]


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, ExceptionGroup) else [error])
    return found
