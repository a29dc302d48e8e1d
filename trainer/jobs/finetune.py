"""A finetune: the phases of one job, in order. Killed at any point, the next attempt goes on from the base store."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps, loads

from catalog.adapters import Adapters
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.jobs import Job, Jobs
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import VectorsMissing
from catalog.vectors.projection import Projection
from servicekit.errors import FailedPrecondition
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import Kind, tracer
from servicekit.version import VERSION
from trainer.adapter.calibration import Calibration
from trainer.adapter.pca import PASSES, Fit, Fitted, Previous
from trainer.download.failures import LASTING
from trainer.embed.client import Backbone, EmbedderClient
from trainer.fetch.failure_policy import judge
from trainer.fetch.fetch_stores import FetchStores
from trainer.fetch.pipeline import Fetching
from trainer.fetch.view_sample import VIEWS
from trainer.index.base_vectors import StoredVectors
from trainer.index.build import Indexing
from trainer.jobs.progress import Phase, Progress
from trainer.jobs.retry import Patience
from trainer.metrics import TrainerMetrics

log = get_logger(__name__)

# How often a job begins again because the backbone changed, or vectors went, under its hands.
RESTARTS = 5
RESTART_SECONDS = 1.0
# Images that the last adapter has not learnt from, for the gate to ask with.
MAX_UNSEEN = 500
# What is known of how an adapter came to be, and is kept in its file beside the backbone.
LINEAGE = ("adapter", "revision", "version", "images", "sample", "continued", "steps", "mix", "hyperparameters")
LASTING_REASONS = frozenset(reason.value for reason in LASTING)


@dataclass(frozen=True)
class FinetuneStores:
    """What a finetune reads and writes."""

    jobs: Jobs
    images: Images
    indexes: Indexes
    versions: ImageVersions
    adapters: Adapters
    base_stores: BaseStores


@dataclass(frozen=True)
class FinetuneSteps:
    """What a finetune is made of; `fit` is chosen by who puts it together."""

    fetching: Fetching
    fit: Fit
    calibration: Calibration
    indexing: Indexing


class Finetune:
    """Runs jobs that were claimed."""

    def __init__(
        self,
        stores: FinetuneStores,
        steps: FinetuneSteps,
        embedder: EmbedderClient,
        patience: Patience,
        metrics: TrainerMetrics,
        *,
        max_transient_failures: float,
    ) -> None:
        self._stores = stores
        self._steps = steps
        self._embedder = embedder
        self._patience = patience
        self._metrics = metrics
        self._max_transient_failures = max_transient_failures

    async def run(self, job: Job, progress: Progress) -> None:
        """Returns when the job's index is live. Raises LeaseLost, and another ServiceError that says why it failed."""
        for restart in range(RESTARTS):
            try:
                return await self._attempt(job, progress)
            except (FailedPrecondition, VectorsMissing) as error:
                log.warning("finetune_restarted", code=error.code, restart=restart)
                await asyncio.sleep(RESTART_SECONDS * restart)
        return await self._attempt(job, progress)

    async def _attempt(self, job: Job, progress: Progress) -> None:
        backbone = await self._patience.persist(self._embedder.describe)
        lasting = frozenset[str]() if job.force or job.refresh else LASTING_REASONS
        index = await self._patience.persist(self._stores.indexes.begin, job, backbone.checksum, lasting)
        total = await self._patience.persist(self._stores.images.count, job.collection_id, job.revision)
        vectors = await self._fetch(job, index, backbone, progress, total)
        failures = await self._patience.persist(self._stores.indexes.failure_counts, index.id)
        judge(failures, total, max_transient=self._max_transient_failures)
        projection = await self._fit(job, index, vectors, backbone, progress, total)
        with self._phase(progress, Phase.INDEXING, total):
            count = await self._steps.indexing.run(index, vectors, projection, progress.advance)
        with self._phase(progress, Phase.PUBLISHING, total):
            await self._patience.persist(self._stores.jobs.publish, job, index.id, count)
        log.info("index_published", index=index.qdrant_collection, images=count, failed=sum(failures.values()))

    async def _fetch(self, job: Job, index: Index, backbone: Backbone, progress: Progress, total: int) -> StoredVectors:
        store = self._stores.base_stores.of(job.collection_id, backbone.checksum)
        views = self._stores.base_stores.views_of(job.collection_id, backbone.checksum)
        stores = FetchStores(store, views, self._stores.versions, self._stores.indexes)
        stream = self._embedder.stream(backbone, patience_seconds=self._patience.seconds)
        with self._phase(progress, Phase.FETCHING, total):
            await self._patience.persist(store.ensure, backbone.dimension)
            await self._patience.persist(views.ensure, backbone.dimension * VIEWS)
            async with stream.connected():
                await self._steps.fetching.run(job, index, stores, stream, progress, total)
        return StoredVectors(self._stores.images, store, views, job, self._patience)

    async def _fit(
        self, job: Job, index: Index, vectors: StoredVectors, backbone: Backbone, progress: Progress, total: int
    ) -> Projection:
        with self._phase(progress, Phase.FITTING, total, passes=PASSES):
            previous = None if job.refresh else await self._previous(job, backbone, total)
            fitted = await self._steps.fit.fit(vectors, backbone.dimension, previous, progress.advance)
        with self._phase(progress, Phase.CHECKING, total):
            quantiles = await self._steps.calibration.run(vectors, index, fitted.projection)
        # One that is kept comes from where it came from.
        figures = {"revision": job.revision, "version": VERSION} | fitted.quality
        quality, dim = dumps(figures), fitted.projection.matrix.shape[1]
        weights = fitted.projection.to_bytes({"backbone": index.backbone, **_lineage(figures)})
        adapter = await self._patience.persist(
            self._stores.adapters.add, index.collection_id, index.backbone, weights, quality
        )
        await self._patience.persist(self._stores.indexes.set_adapter, index, adapter, dim, quality, quantiles)
        return fitted.projection

    async def _previous(self, job: Job, backbone: Backbone, total: int) -> Previous | None:
        found = await self._patience.persist(self._stores.adapters.live, job.collection_id)
        if found is None or found.backbone != backbone.checksum or found.quality is None:
            return None
        quality: dict[str, object] = loads(found.quality)
        revision = quality.get("revision")
        since = revision if isinstance(revision, int) else 0
        images, of_revision = self._stores.images, (job.collection_id, job.revision, since)
        changed = await self._patience.persist(images.changed_share, *of_revision)
        unseen = await self._patience.persist(images.changed, *of_revision, limit=MAX_UNSEEN)
        return Previous(Fitted(Projection.from_bytes(found.weights), quality), since, total, changed, unseen)

    @contextmanager
    def _phase(self, progress: Progress, phase: Phase, images: int, *, passes: int = 1) -> Iterator[None]:
        progress.enter(phase, images, passes=passes)
        began = time.perf_counter()
        with tracer().inside(phase.value, Kind.INTERNAL, {}):
            yield
        seconds = time.perf_counter() - began
        self._metrics.phases.labels(phase.value).observe(seconds)
        log.info("phase_done", phase=phase.value, seconds=round(seconds, 3))


def _lineage(figures: dict[str, object]) -> dict[str, str]:
    """As the metadata of safetensors, which knows text only: each value as JSON."""
    return {name: dumps(figures[name]) for name in LINEAGE if name in figures}
