"""Fetching: the images of a revision that have no base vector yet are downloaded, embedded and kept."""

import asyncio
from dataclasses import dataclass

from catalog.image_versions import UNKNOWN, ImageVersion
from catalog.images import Image, Images
from catalog.indexes import Index
from catalog.jobs import Job
from trainer.download.client import Downloads
from trainer.download.failures import ImageFailed
from trainer.embed.stream import EmbeddingStream
from trainer.fetch.fetch_stores import FetchStores
from trainer.fetch.queue import DownloadQueue, Wanted
from trainer.fetch.result_writer import Outcomes
from trainer.fetch.view_sample import ViewSample
from trainer.index.base_vectors import revision_pages
from trainer.jobs.progress import Progress
from trainer.jobs.retry import Patience
from trainer.jobs.task_errors import first_error
from trainer.metrics import TrainerMetrics

PAGE_SIZE = 512
LOOK_AHEAD = 2048
# What a kill can cost beside the downloads under way: images that are embedded, or about to be, and not kept yet. At
# most this share of all.
AT_RISK_SHARE = 0.03
AT_RISK_LEAST, AT_RISK_MOST = 4, 64


@dataclass(frozen=True)
class FetchLimits:
    """downloads: under way at once in all; per_host: of those, for one host."""

    downloads: int
    per_host: int


class Fetching:
    """Brings the base store up to a revision."""

    def __init__(
        self, images: Images, downloads: Downloads, limits: FetchLimits, patience: Patience, metrics: TrainerMetrics
    ) -> None:
        self._images = images
        self._downloads = downloads
        self._limits = limits
        self._patience = patience
        self._metrics = metrics

    async def run(
        self, job: Job, index: Index, stores: FetchStores, stream: EmbeddingStream, progress: Progress, total: int
    ) -> None:
        """Returns when each of the revision's `total` rows has a base vector or a failure.

        A refresh asks for the images that have a vector too, and embeds those of which there is another version now.
        Raises ServiceError when a part that is needed stays away.
        """
        try:
            await self._run(job, index, stores, stream, progress, total)
        except ExceptionGroup as group:
            raise first_error(group) from group

    async def _run(
        self, job: Job, index: Index, stores: FetchStores, stream: EmbeddingStream, progress: Progress, total: int
    ) -> None:
        at_risk = min(max(int(total * AT_RISK_SHARE), AT_RISK_LEAST), AT_RISK_MOST)
        outcomes = Outcomes(job, index, stores, self._patience, progress, self._metrics, at_risk=at_risk)
        sample = ViewSample(total)
        queue = DownloadQueue(look_ahead=LOOK_AHEAD, per_host=self._limits.per_host)
        async with asyncio.TaskGroup() as around:
            around.create_task(outcomes.keep_all())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._find_wanted(job, index, stores, queue, progress))
                # More than download at once: the others wait for the embedder with what they have.
                for _ in range(self._limits.downloads + at_risk):
                    group.create_task(self._work(queue, sample, stream, outcomes))
            outcomes.close()

    async def _find_wanted(
        self, job: Job, index: Index, stores: FetchStores, queue: DownloadQueue, progress: Progress
    ) -> None:
        async for page in revision_pages(self._images, job, self._patience, PAGE_SIZE):
            wanted = await self._wanted(page, job, index, stores)
            progress.skip(len(page) - len(wanted))
            self._metrics.images.labels("known").inc(len(page) - len(wanted))
            for image, version in wanted:
                await queue.put(image.id, image.image_url, version)
        await queue.close()

    async def _wanted(
        self, page: list[Image], job: Job, index: Index, stores: FetchStores
    ) -> list[tuple[Image, ImageVersion]]:
        """The images of a page that have to be asked for, with the versions that are known."""
        ids = [image.id for image in page]
        known = await self._patience.persist(stores.vectors.existing, ids)
        # What an earlier attempt at this job, or an earlier finetune, found out stays found out.
        failed = {failure.image_id for failure in await self._patience.persist(stores.indexes.failures, index.id, ids)}
        if failed & known:
            # It was had after all, before whoever noted that could say so.
            await self._patience.persist(stores.indexes.forget_failures, index.id, sorted(failed & known))
        if not job.refresh:
            return [(image, UNKNOWN) for image in page if image.id not in known | failed]
        kept = await self._patience.persist(stores.versions.of_images, job.collection_id, index.backbone, ids)
        wanted = []
        for image in page:
            if image.id not in known:
                if image.id not in failed:
                    wanted.append((image, UNKNOWN))
            elif image.id not in kept:
                wanted.append((image, UNKNOWN))
            elif kept[image.id].refreshed_by != job.id:
                wanted.append((image, kept[image.id].version))
        return wanted

    async def _work(
        self, queue: DownloadQueue, sample: ViewSample, stream: EmbeddingStream, outcomes: Outcomes
    ) -> None:
        while (wanted := await queue.get()) is not None:
            await self._one(wanted, queue, sample, stream, outcomes)

    async def _one(
        self, wanted: Wanted, queue: DownloadQueue, sample: ViewSample, stream: EmbeddingStream, outcomes: Outcomes
    ) -> None:
        try:
            async with self._downloads.image(wanted.url, wanted.known) as download:
                if download.body is None:
                    await outcomes.unchanged(await queue.done(wanted), download.version)
                    return
                self._metrics.downloaded_bytes.inc(len(download.body))
                async with outcomes.risk() as risk:
                    embedded = await stream.embed(download.body, sample.views(wanted.ids[0]))
                    risk.embedded(await queue.done(wanted), embedded, download.version)
        except ImageFailed as failure:
            await outcomes.failed(await queue.done(wanted), failure)
