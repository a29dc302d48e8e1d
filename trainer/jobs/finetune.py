"""A finetune: the phases of one job, in order. After a kill, the next attempt continues from the base store."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import dumps, loads

from catalog.adapters import Adapters
from catalog.duplicates.groups import Duplicates
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.jobs import Job, Jobs, LeaseLost
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import VectorsDamaged, VectorsMissing
from catalog.vectors.projection import Projection
from servicekit.download.failures import PERMANENT
from servicekit.errors import FailedPrecondition
from servicekit.process.fault_points import FaultPoint
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import child_span
from servicekit.version import VERSION
from trainer.adapter.calibration import Calibration
from trainer.adapter.pca import PASSES, Fit, Fitted, Previous
from trainer.duplicates.search import DuplicateSearch
from trainer.embed.client import Backbone, BulkEmbedder
from trainer.fetch.failure_policy import require_enough_images
from trainer.fetch.fetch_warnings import fetch_warnings
from trainer.fetch.kept_images import KeptImages
from trainer.fetch.pipeline import FetchPipeline
from trainer.fetch.removals import remove_failed_images
from trainer.fetch.view_pipeline import ViewPipeline
from trainer.fetch.view_sample import MAX_VIEWED, VIEWS
from trainer.index.base_vectors import StoredVectors
from trainer.index.build import IndexBuilder
from trainer.jobs.attempt import Attempt
from trainer.jobs.places import Place
from trainer.jobs.progress import Phase, Progress
from trainer.jobs.retry import Retry
from trainer.jobs.worker import JobKind
from trainer.learning.dataset import MIN_IMAGES
from trainer.learning.retrieval import score_histogram
from trainer.metrics import TrainerMetrics

log = get_logger(__name__)

KIND = JobKind(
    name="finetune",
    failed="The finetune failed.",
    retry_later="Start it again later. Images that were already fetched are kept.",
)
# How often a job starts over because the backbone changed or vectors disappeared while it ran.
RESTARTS = 5
RESTART_SECONDS = 1.0
# The most images in the re-evaluation of the live adapter.
MAX_UNSEEN = 500
# The lineage that the adapter's file records besides the backbone.
LINEAGE = ("adapter", "revision", "version", "images", "sample", "continued", "steps", "mix", "hyperparameters")
PROVISIONAL_REASON = "Search works already. The adapter is still being learned."
PERMANENT_REASONS = frozenset(reason.value for reason in PERMANENT)


@dataclass(frozen=True)
class FinetuneStores:
    """The stores that a finetune reads and writes. All but `base_stores` retry their calls."""

    jobs: Jobs
    images: Images
    versions: ImageVersions
    indexes: Indexes
    adapters: Adapters
    duplicates: Duplicates
    base_stores: BaseStores


@dataclass(frozen=True)
class Tolerance:
    """Shares of rows, 0 to 1: those that may fail with transient errors, and those that a refresh may remove."""

    transient_failures: float
    refresh_removals: float


@dataclass(frozen=True)
class FinetuneSteps:
    """The steps of a finetune. fit: how the adapter is made; first_fit: how that of a provisional index is."""

    fetch: FetchPipeline
    views: ViewPipeline
    first_fit: Fit
    fit: Fit
    calibration: Calibration
    index_builder: IndexBuilder
    duplicate_search: DuplicateSearch


class Finetune:
    """Runs claimed jobs."""

    def __init__(
        self,
        stores: FinetuneStores,
        steps: FinetuneSteps,
        embedder: BulkEmbedder,
        retry: Retry,
        metrics: TrainerMetrics,
        tolerance: Tolerance,
    ) -> None:
        self._stores = stores
        self._steps = steps
        self._embedder = embedder
        self._retry = retry
        self._metrics = metrics
        self._tolerance = tolerance

    def progress_of(self, job: Job) -> Progress:
        """Return the progress of an attempt that begins."""
        return Progress(job.progress)

    async def run(self, job: Job, progress: Progress, place: Place) -> None:
        """Return once the job's index is live. Raises LeaseLost, or the ServiceError that failed the finetune."""
        for restart in range(RESTARTS):
            try:
                return await self._run_phases(job, progress, place)
            except (FailedPrecondition, VectorsMissing, VectorsDamaged) as error:
                log.warning("finetune_restarted", code=error.code, restart=restart)
                if isinstance(error, VectorsDamaged):
                    await self._drop_damaged_stores(job)
                await asyncio.sleep(RESTART_SECONDS * restart)
        return await self._run_phases(job, progress, place)

    async def _run_phases(self, job: Job, progress: Progress, place: Place) -> None:
        attempt = await self._begin(job, progress, place)
        vectors = StoredVectors(self._stores.images, attempt)
        serving, provisional = await self._stores.indexes.live_with(job.collection_id, attempt.backbone.checksum)
        if serving and not provisional:
            await self._fetch(attempt)
        else:
            attempt = await self._fetch_for_first_index(attempt, vectors, serving=serving)
        index = attempt.index
        failed = sum((await self._stores.indexes.failure_counts(index.id)).values())
        with self._phase(attempt, Phase.FITTING, passes=PASSES):
            fitted = await self._fit(attempt, vectors)
        with self._phase(attempt, Phase.CHECKING):
            await self._check(attempt, vectors, fitted)
        # The rows are read once for the index, and once for its duplicates.
        with self._phase(attempt, Phase.INDEXING, passes=2):
            built = await self._steps.index_builder.run(index, vectors, fitted.projection, progress.advance)
            await self._find_duplicates(attempt, vectors, built.vectors)
        with self._phase(attempt, Phase.PUBLISHING):
            FaultPoint.PUBLISHING.reach()
            await self._stores.jobs.publish(job, index.id, built.images)
            FaultPoint.PUBLISHED.reach()
        log.info("index_published", index=index.qdrant_collection, images=built.images, failed=failed)

    async def _fetch_for_first_index(self, attempt: Attempt, vectors: StoredVectors, *, serving: bool) -> Attempt:
        """Fetch the images of a collection that cannot be searched, make it searchable, and then embed the views.

        serving: a provisional index is there already. Returns the attempt with the index that is to be written next.
        """
        if attempt.total < MIN_IMAGES:
            # Nothing will be learned, so the index itself is as fast.
            await self._fetch(attempt)
            return attempt
        attempt.progress.expect_first_index(attempt.total, min(attempt.total, MAX_VIEWED) * VIEWS)
        async with self._steps.views.keeping_images(attempt.job) as kept:
            await self._fetch(attempt, kept)
            if not serving:
                attempt = await self._publish_first_index(attempt, vectors)
            with self._phase(attempt, Phase.VIEWS, images=min(attempt.total, MAX_VIEWED)):
                async with self._embedder.stream(attempt.backbone).connected() as stream:
                    await self._steps.views.run(attempt, stream, kept)
        return attempt

    async def _publish_first_index(self, attempt: Attempt, vectors: StoredVectors) -> Attempt:
        """Publish an index with a plain projection, which serves until the adapter is learned."""
        index, job, progress = attempt.index, attempt.job, attempt.progress
        with self._phase(attempt, Phase.FIRST_INDEX, passes=PASSES + 1):
            plain = await self._steps.first_fit.fit(vectors, attempt.backbone.dimension, None, progress.advance)
            fitted = Fitted(plain.projection, plain.quality | {"provisional": True, "reason": PROVISIONAL_REASON})
            await self._check(attempt, vectors, fitted)
            built = await self._steps.index_builder.run(index, vectors, fitted.projection, progress.advance)
            await self._stores.jobs.publish_provisional(job, index.id, built.images)
            FaultPoint.FIRST_PUBLISHED.reach()
        log.info("first_index_published", index=index.qdrant_collection, images=built.images)
        return replace(attempt, index=await self._new_index(job, attempt.backbone))

    async def _drop_damaged_stores(self, job: Job) -> None:
        """Remove the base stores that cannot be read. Their images are fetched and embedded again."""
        checksum = (await self._embedder.describe()).checksum
        stores = self._stores.base_stores
        for store in (stores.of(job.collection_id, checksum), stores.views_of(job.collection_id, checksum)):
            if await store.damaged():
                await store.drop()
                log.error("base_store_dropped", collection=job.collection_id, store=store.name)

    async def _begin(self, job: Job, progress: Progress, place: Place) -> Attempt:
        backbone = await self._embedder.describe()
        base_stores = self._stores.base_stores
        return Attempt(
            job=job,
            index=await self._new_index(job, backbone),
            backbone=backbone,
            total=await self._stores.images.count(job.collection_id, job.revision),
            progress=progress,
            place=place,
            vectors=self._retry.wrap(base_stores.of(job.collection_id, backbone.checksum)),
            views=self._retry.wrap(base_stores.views_of(job.collection_id, backbone.checksum)),
        )

    async def _new_index(self, job: Job, backbone: Backbone) -> Index:
        """Register a new index, with the known failures that need no second try."""
        keep = frozenset[str]() if job.force or job.refresh else PERMANENT_REASONS
        return await self._stores.indexes.begin(
            job,
            backbone.checksum,
            keep,
            backbone_name=backbone.name or None,
            shared_dim=backbone.dimension if backbone.text else None,
        )

    async def _fetch(self, attempt: Attempt, kept: KeptImages | None = None) -> None:
        """Embed the images. kept: where to keep those whose views are embedded later; None: they are embedded now."""
        job, dimension = attempt.job, attempt.backbone.dimension
        with self._phase(attempt, Phase.FETCHING):
            await attempt.vectors.ensure(dimension)
            await attempt.views.ensure(dimension * VIEWS)
            waiting = attempt.place.lent_while_waiting(lambda: attempt.progress.counts)
            async with waiting, self._embedder.stream(attempt.backbone).connected() as stream:
                await self._steps.fetch.run(attempt, stream, kept)
        failures = await self._stores.indexes.failure_counts(attempt.index.id)
        require_enough_images(failures, attempt.total, max_transient=self._tolerance.transient_failures)
        if job.refresh:
            await remove_failed_images(attempt, self._stores.indexes, most=self._tolerance.refresh_removals)
        await self._stores.jobs.warn(job, await fetch_warnings(attempt, self._stores.versions))

    async def _fit(self, attempt: Attempt, vectors: StoredVectors) -> Fitted:
        previous = None if attempt.job.refresh else await self._previous_adapter(attempt)
        return await self._steps.fit.fit(vectors, attempt.backbone.dimension, previous, attempt.progress.advance)

    async def _check(self, attempt: Attempt, vectors: StoredVectors, fitted: Fitted) -> None:
        """Calibrate the scores and store the adapter with its figures."""
        index, projection = attempt.index, fitted.projection
        quantiles = await self._steps.calibration.run(vectors, index, projection)
        # An adapter that is kept keeps the revision and version that it came from.
        figures = {"revision": attempt.job.revision, "version": VERSION} | fitted.quality
        figures["unrelated_scores"] = score_histogram(quantiles)
        quality, dim = dumps(figures), projection.matrix.shape[1]
        weights = projection.to_bytes({"backbone": index.backbone, **_lineage(figures)})
        adapter = await self._stores.adapters.add(index.collection_id, index.backbone, weights, quality)
        FaultPoint.ADAPTER_STORED.reach()
        await self._stores.indexes.set_adapter(index, adapter, dim, quality, quantiles)

    async def _find_duplicates(self, attempt: Attempt, vectors: StoredVectors, digest: bytes) -> None:
        """Find the duplicates of the index. The index is published without them if that fails."""
        index, began = attempt.index, time.perf_counter()
        try:
            groups = await self._steps.duplicate_search.run(index, vectors, digest, attempt.progress.advance)
        except LeaseLost:
            raise
        except Exception:
            log.exception("duplicates_failed", index=index.qdrant_collection)
            await self._stores.duplicates.mark_failed(index)
            return
        log.info("duplicates_found", groups=groups, seconds=round(time.perf_counter() - began, 3))

    async def _previous_adapter(self, attempt: Attempt) -> Previous | None:
        """Return the live adapter and how far the collection has moved from it; None for another backbone."""
        job, images = attempt.job, self._stores.images
        found = await self._stores.adapters.live(job.collection_id)
        if found is None or found.backbone != attempt.backbone.checksum or found.quality is None:
            return None
        quality: dict[str, object] = loads(found.quality)
        if quality.get("provisional"):
            return None
        revision = quality.get("revision")
        since = revision if isinstance(revision, int) else 0
        changed = await images.changed_share(job.collection_id, job.revision, since)
        unseen = await images.changed(job.collection_id, job.revision, since, limit=MAX_UNSEEN)
        return Previous(Fitted(Projection.from_bytes(found.weights), quality), since, attempt.total, changed, unseen)

    @contextmanager
    def _phase(self, attempt: Attempt, phase: Phase, *, passes: int = 1, images: int | None = None) -> Iterator[None]:
        """Report a phase in the progress, the trace, the metrics and the log. images: all of them by default."""
        attempt.progress.enter(phase, attempt.total if images is None else images, passes=passes)
        began = time.perf_counter()
        with child_span(phase.value):
            yield
        seconds = time.perf_counter() - began
        self._metrics.phases.labels(phase.value).observe(seconds)
        log.info("phase_done", phase=phase.value, seconds=round(seconds, 3))


def _lineage(figures: dict[str, object]) -> dict[str, str]:
    """Return the lineage as safetensors metadata, which is text only: each value as JSON."""
    return {name: dumps(figures[name]) for name in LINEAGE if name in figures}
