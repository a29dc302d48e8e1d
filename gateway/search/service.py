"""A search: which indexed images look like the given one."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from catalog.collections import not_found
from catalog.images import Image
from catalog.indexes import Index
from catalog.vectors.client import VectorsMissing
from catalog.vectors.generations import Hit
from catalog.vectors.projection import Projection, normalised
from gateway.metrics import GatewayMetrics
from servicekit.errors import FailedPrecondition
from servicekit.limits import ConcurrencyLimit

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SearchRequest:
    """What is looked for. threshold: cosine similarity, results below it are left out; None: none is."""

    image: bytes
    limit: int
    threshold: float | None


@dataclass(frozen=True)
class SearchResult:
    """One image found. score: cosine similarity; percentile: share of unrelated pairs that score lower, in percent."""

    image_url: str
    repo_url: str
    score: float
    percentile: float | None


class LiveIndexes(Protocol):
    """Knows which index serves a collection."""

    async def live(self, collection_id: int) -> tuple[bool, Index | None]: ...


class Embedder(Protocol):
    """Turns an encoded image into a vector [dim] of a backbone."""

    async def embed(self, image: bytes, backbone: str) -> Vector: ...


class AdapterSource(Protocol):
    """Gives adapters by id."""

    async def get(self, adapter_id: int) -> Projection | None: ...


class VectorQueries(Protocol):
    """Finds the nearest vectors of a generation."""

    async def query(self, name: str, vector: Vector, limit: int, threshold: float | None) -> list[Hit]: ...


class ImageRows(Protocol):
    """Gives the rows of images at a revision."""

    async def by_id(self, collection_id: int, revision: int, ids: Sequence[int]) -> dict[int, Image]: ...


class Searches:
    """The use case. Errors are those of its parts."""

    def __init__(
        self,
        *,
        indexes: LiveIndexes,
        embedder: Embedder,
        adapters: AdapterSource,
        vectors: VectorQueries,
        images: ImageRows,
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

    async def find_index(self, collection_id: int) -> Index | None:
        """The index that serves a collection; None before its first finetune.

        Raises InvalidRequest, collection_not_found.
        """
        with self._metrics.search_stage("index"):
            exists, index = await self._indexes.live(collection_id)
        if not exists:
            raise not_found(collection_id)
        return index

    async def run(self, index: Index | None, request: SearchRequest) -> list[SearchResult]:
        """The nearest images, best first, all from one index.

        index: what `find_index` gave. Raises FailedPrecondition (not_finetuned, backbone_changed), and Overloaded when
        too many searches run.
        """
        if index is None:
            message = "The collection was not finetuned yet; search needs that once."
            raise FailedPrecondition(message, code="not_finetuned")
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._concurrency.slot())
            vector = await self._embed(request.image, index)
            try:
                return await self._ranked(index, vector, request)
            except VectorsMissing:
                return await self._again(index, vector, request)

    async def _again(self, old: Index, vector: Vector, request: SearchRequest) -> list[SearchResult]:
        # Another index was published since we looked, and the vectors of the old one went after their grace period.
        index = await self.find_index(old.collection_id)
        if index is None or index.id == old.id:
            raise VectorsMissing("The vectors of this index are not there.")
        self._metrics.search_retries.inc()
        if index.backbone != old.backbone:
            vector = await self._embed(request.image, index)
        return await self._ranked(index, vector, request)

    async def _embed(self, image: bytes, index: Index) -> Vector:
        with self._metrics.search_stage("embed"):
            try:
                return await self._embedder.embed(image, index.backbone)
            except FailedPrecondition as error:
                if error.code != "backbone_changed":
                    raise
                message = "The collection was indexed with another backbone; it must be finetuned again."
                raise FailedPrecondition(message, code="backbone_changed") from error

    async def _ranked(self, index: Index, vector: Vector, request: SearchRequest) -> list[SearchResult]:
        tuned = await self._tuned(index, vector)
        with self._metrics.search_stage("query"):
            hits = await self._vectors.query(index.qdrant_collection, tuned, request.limit, request.threshold)
        with self._metrics.search_stage("rows"):
            rows = await self._images.by_id(index.collection_id, index.revision, [hit.image_id for hit in hits])
        found = ((rows.get(hit.image_id), hit.score) for hit in hits)
        return [
            SearchResult(row.image_url, row.repo_url, score, index.percentile(score))
            for row, score in found
            if row is not None
        ]

    async def _tuned(self, index: Index, vector: Vector) -> Vector:
        base = vector[np.newaxis, :]
        if index.adapter_id is None:
            return cast("Vector", normalised(base)[0])
        adapter = await self._adapters.get(index.adapter_id)
        if adapter is None:
            raise VectorsMissing("The adapter of this index is not there.")
        tuned = adapter.apply(base)
        return cast("Vector", tuned[0])
