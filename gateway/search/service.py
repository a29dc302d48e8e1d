"""Search: which indexed images look like a given one."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.collections import not_found
from catalog.images import Image
from catalog.indexed_images import IndexedImages
from catalog.indexes import Index, Indexes
from catalog.vectors.client import VectorsMissing
from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.generations import Generations, Hit, at_least
from catalog.vectors.projection import Projection, normalised
from gateway.metrics import GatewayMetrics
from gateway.search.adapter_cache import AdapterCache
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.errors import FailedPrecondition
from servicekit.limits import ConcurrencyLimit

Vector = npt.NDArray[np.float32]
# The nearest images that are looked at for runner-ups, even if fewer results are wanted.
SURROUNDINGS = 50


@dataclass(frozen=True)
class SearchRequest:
    """What to search for.

    threshold: the lowest cosine similarity of a result. min_percentile, 0 to 100, and max_false_match_rate, 0 to 1:
    the limits of a result's percentile and false match rate. None: there is no limit.
    """

    image: bytes
    limit: int
    threshold: float | None
    min_percentile: float | None = None
    max_false_match_rate: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """One hit. score: cosine similarity. percentile: percentage of unrelated pairs of images that score lower.

    false_match_rate: the share, 0 to 1, of queries for something that is not in the collection whose best result would
    score at least this much. Both are None if the index was not calibrated.
    """

    image_id: int
    image_url: str
    repo_url: str
    score: float
    percentile: float | None
    false_match_rate: float | None


@dataclass(frozen=True)
class SearchAnswer:
    """The hits of a search, best first, and the index that they come from."""

    index_id: int
    results: list[SearchResult]


class SearchService:
    """Search a collection: embed the query, apply the adapter, find the nearest vectors, read their rows.

    Every method also raises the errors of the parts that it calls.
    """

    def __init__(
        self,
        *,
        indexes: Indexes,
        embedder: QueryEmbedder,
        adapters: AdapterCache,
        vectors: Generations,
        images: IndexedImages,
        concurrency: ConcurrencyLimit,
        metrics: GatewayMetrics,
    ) -> None:
        self._indexes = indexes
        self._embedder = embedder
        self._adapters = adapters
        self._vectors = vectors
        self._images = images
        self._concurrency = concurrency
        self._metrics = metrics

    async def find_index(self, collection_id: int) -> Index:
        """Return the live index of a collection.

        Raises InvalidRequest, collection_not_found, and FailedPrecondition, not_finetuned.
        """
        with self._metrics.search_stage("index"):
            exists, index = await self._indexes.live(collection_id)
        if not exists:
            raise not_found(collection_id)
        if index is None:
            message = "The collection has not been finetuned yet. Finetune it before searching."
            raise FailedPrecondition(message, code="not_finetuned")
        return index

    async def search(self, index: Index, request: SearchRequest) -> SearchAnswer:
        """Return the most similar images, all from one index.

        Raises FailedPrecondition, backbone_changed or not_calibrated, and Overloaded when too many searches are
        waiting.
        """
        _require_calibration(index, request)
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._concurrency.slot())
            vector = await self._embed(request.image, index)
            try:
                return await self._nearest(index, vector, request)
            except VectorsMissing:
                return await self._search_successor(index, vector, request)

    async def _search_successor(self, old: Index, vector: Vector, request: SearchRequest) -> SearchAnswer:
        """Search the index that was published since `old` was looked up, whose vectors have been dropped meanwhile."""
        index = await self.find_index(old.collection_id)
        if index.id == old.id:
            raise VectorsMissing("The index has lost its vectors. Finetune the collection again, with force=true.")
        _require_calibration(index, request)
        self._metrics.search_retries.inc()
        if index.backbone != old.backbone:
            vector = await self._embed(request.image, index)
        return await self._nearest(index, vector, request)

    async def _embed(self, image: bytes, index: Index) -> Vector:
        with self._metrics.search_stage("embed"):
            try:
                return await self._embedder.embed(image, index.backbone)
            except FailedPrecondition as error:
                if error.code != "backbone_changed":
                    raise
                message = "The collection was finetuned with a different backbone. Finetune it again before searching."
                raise FailedPrecondition(message, code="backbone_changed") from error

    async def _nearest(self, index: Index, vector: Vector, request: SearchRequest) -> SearchAnswer:
        adapter = await self._adapter(index)
        base = vector[np.newaxis]
        tuned = normalised(base)[0] if adapter is None else adapter.apply(base)[0]
        with self._metrics.search_stage("query"):
            near = await self._vectors.query(index.qdrant_collection, tuned, max(request.limit, SURROUNDINGS), None)
        hits = at_least(near, request.threshold)[: request.limit]
        with self._metrics.search_stage("rows"):
            rows = await self._images.of_points(index, [hit.image_id for hit in hits], request.limit)
            runner_ups = await self._runner_ups(index, near)
        typicality = None if adapter is None else adapter.typicality(vector)
        results = [_result(index, row.image, hits[row.place].score, runner_ups, typicality) for row in rows]
        return SearchAnswer(index.id, [result for result in results if _is_wanted(result, request)])

    async def _runner_ups(self, index: Index, near: list[Hit]) -> list[float]:
        """Return the scores of the query's runner-ups. near: its hits, also those that nobody asked for."""
        near = near[:SURROUNDINGS]
        if not index.false_matches.knows_prominences:
            return []
        images = await self._images.first_of_points(index, [hit.image_id for hit in near])
        found = [(hit.score, images[hit.image_id]) for hit in near if hit.image_id in images]
        scores = index.false_matches.runner_ups(found)
        # Where one object fills the surroundings, the others score at most as much as the last of them.
        missing = RUNNER_UPS - len(scores) if len(near) == SURROUNDINGS else 0
        return [*scores, *[near[-1].score] * missing]

    async def _adapter(self, index: Index) -> Projection | None:
        """Return the index's adapter; None if its vectors are those of the backbone."""
        if index.adapter_id is None:
            return None
        adapter = await self._adapters.get(index.adapter_id)
        if adapter is None:
            raise VectorsMissing("The index has lost its adapter. Finetune the collection again, with force=true.")
        return adapter


def _require_calibration(index: Index, request: SearchRequest) -> None:
    """Raise FailedPrecondition, not_calibrated, if a filter needs statistics that the index lacks."""
    lacking = {
        "max_false_match_rate": request.max_false_match_rate is not None and not index.false_matches,
        "min_percentile": request.min_percentile is not None and not index.score_quantiles,
    }
    for name, lacks in lacking.items():
        if lacks:
            message = (
                f"{name} needs an index with statistics about its scores, which this one lacks. Finetune the "
                "collection again with force=true. It needs at least 40 different images."
            )
            raise FailedPrecondition(message, code="not_calibrated")


def _result(
    index: Index, image: Image, score: float, runner_ups: Sequence[float], typicality: float | None
) -> SearchResult:
    percentile, rate = index.percentile(score), index.false_matches.rate(score, runner_ups, typicality)
    return SearchResult(image.id, image.image_url, image.repo_url, score, percentile, rate)


def _is_wanted(result: SearchResult, request: SearchRequest) -> bool:
    """Return whether a result is within the limits. Its percentile and rate are known if there is a limit."""
    low, high = request.min_percentile, request.max_false_match_rate
    return (low is None or result.percentile is None or result.percentile >= low) and (
        high is None or result.false_match_rate is None or result.false_match_rate <= high
    )
