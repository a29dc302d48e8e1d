"""A finetune: the phases of one job, in order. After a kill, the next attempt continues from the base store."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps, loads

from catalog.adapters import Adapters
from catalog.duplicates.groups import Duplicates
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.indexes import Indexes
from catalog.jobs import Job, Jobs, LeaseLost
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import VectorsDamaged, VectorsMissing
from catalog.vectors.projection import Projection
from servicekit.download.failures import PERMANENT
from servicekit.errors import FailedPrecondition
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import child_span
from servicekit.version import VERSION
from trainer.adapter.calibration import Calibration
from trainer.adapter.pca import PASSES, Fit, Fitted, Previous
from trainer.duplicates.search import DuplicateSearch
from trainer.embed.client import BulkEmbedder
from trainer.fetch.failure_policy import require_enough_images
from trainer.fetch.fetch_warnings import fetch_warnings
from trainer.fetch.pipeline import FetchPipeline
from trainer.fetch.removals import remove_failed_images
from trainer.fetch.view_sample import VIEWS
from trainer.index.base_vectors import StoredVectors
from trainer.index.build import IndexBuilder
from trainer.jobs.attempt import Attempt
from trainer.jobs.progress import Phase, Progress
from trainer.jobs.retry import Retry
from trainer.jobs.worker import JobKind
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
    """The steps of a finetune. fit: how the adapter is made."""

    fetch: FetchPipeline
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

    async def run(self, job: Job, progress: Progress) -> None:
        """Return once the job's index is live. Raises LeaseLost, or the ServiceError that failed the finetune."""
        for restart in range(RESTARTS):
            try:
                return await self._run_phases(job, progress)
            except (FailedPrecondition, VectorsMissing, VectorsDamaged) as error:
                log.warning("finetune_restarted", code=error.code, restart=restart)
                if isinstance(error, VectorsDamaged):
                    await self._drop_damaged_stores(job)
                await asyncio.sleep(RESTART_SECONDS * restart)
        return await self._run_phases(job, progress)

    async def _run_phases(self, job: Job, progress: Progress) -> None:
        attempt = await self._begin(job, progress)
        index = attempt.index
        with self._phase(attempt, Phase.FETCHING):
            await self._fetch(attempt)
        failures = await self._stores.indexes.failure_counts(index.id)
        require_enough_images(failures, attempt.total, max_transient=self._tolerance.transient_failures)
        if job.refresh:
            await remove_failed_images(attempt, self._stores.indexes, most=self._tolerance.refresh_removals)
        await self._stores.jobs.warn(job, await fetch_warnings(attempt, self._stores.versions))
        vectors = StoredVectors(self._stores.images, attempt)
        with self._phase(attempt, Phase.FITTING, passes=PASSES):
            fitted = await self._fit(attempt, vectors)
        with self._phase(attempt, Phase.CHECKING):
            await self._check(attempt, vectors, fitted)
        # The rows are read once for the index, and once for its duplicates.
        with self._phase(attempt, Phase.INDEXING, passes=2):
            count = await self._steps.index_builder.run(index, vectors, fitted.projection, progress.advance)
            await self._find_duplicates(attempt, vectors)
        with self._phase(attempt, Phase.PUBLISHING):
            await self._stores.jobs.publish(job, index.id, count)
        log.info("index_published", index=index.qdrant_collection, images=count, failed=sum(failures.values()))

    async def _drop_damaged_stores(self, job: Job) -> None:
        """Remove the base stores that cannot be read. Their images are fetched and embedded again."""
        checksum = (await self._embedder.describe()).checksum
        stores = self._stores.base_stores
        for store in (stores.of(job.collection_id, checksum), stores.views_of(job.collection_id, checksum)):
            if await store.damaged():
                await store.drop()
                log.error("base_store_dropped", collection=job.collection_id, store=store.name)

    async def _begin(self, job: Job, progress: Progress) -> Attempt:
        """Register a new index, with the known failures that need no second try."""
        backbone = await self._embedder.describe()
        keep = frozenset[str]() if job.force or job.refresh else PERMANENT_REASONS
        base_stores = self._stores.base_stores
        index = await self._stores.indexes.begin(
            job,
            backbone.checksum,
            keep,
            backbone_name=backbone.name or None,
            shared_dim=backbone.dimension if backbone.text else None,
        )
        return Attempt(
            job=job,
            index=index,
            backbone=backbone,
            total=await self._stores.images.count(job.collection_id, job.revision),
            progress=progress,
            vectors=self._retry.wrap(base_stores.of(job.collection_id, backbone.checksum)),
            views=self._retry.wrap(base_stores.views_of(job.collection_id, backbone.checksum)),
        )

    async def _fetch(self, attempt: Attempt) -> None:
        dimension = attempt.backbone.dimension
        await attempt.vectors.ensure(dimension)
        await attempt.views.ensure(dimension * VIEWS)
        async with self._embedder.stream(attempt.backbone).connected() as stream:
            await self._steps.fetch.run(attempt, stream)

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
        await self._stores.indexes.set_adapter(index, adapter, dim, quality, quantiles)

    async def _find_duplicates(self, attempt: Attempt, vectors: StoredVectors) -> None:
        """Find the duplicates of the index. The index is published without them if that fails."""
        index, began = attempt.index, time.perf_counter()
        try:
            groups = await self._steps.duplicate_search.run(index, vectors, attempt.progress.advance)
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
        revision = quality.get("revision")
        since = revision if isinstance(revision, int) else 0
        changed = await images.changed_share(job.collection_id, job.revision, since)
        unseen = await images.changed(job.collection_id, job.revision, since, limit=MAX_UNSEEN)
        return Previous(Fitted(Projection.from_bytes(found.weights), quality), since, attempt.total, changed, unseen)

    @contextmanager
    def _phase(self, attempt: Attempt, phase: Phase, *, passes: int = 1) -> Iterator[None]:
        """Report a phase in the progress, the trace, the metrics and the log."""
        attempt.progress.enter(phase, attempt.total, passes=passes)
        began = time.perf_counter()
        with child_span(phase.value):
            yield
        seconds = time.perf_counter() - began
        self._metrics.phases.labels(phase.value).observe(seconds)
        log.info("phase_done", phase=phase.value, seconds=round(seconds, 3))


def _lineage(figures: dict[str, object]) -> dict[str, str]:
    """Return the lineage as safetensors metadata, which is text only: each value as JSON."""
    return {name: dumps(figures[name]) for name in LINEAGE if name in figures}
