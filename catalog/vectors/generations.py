"""Generations: one Qdrant collection for each index, with the vectors that search ranks by."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models

from catalog.vectors.client import traced, translated
from servicekit.errors import ServiceError
from servicekit.request_context import remaining

OVERSAMPLING = 2.0
# What float32 may take from the cosine similarity of equal vectors.
ROUNDING = 1e-6
POLL_SECONDS = 0.25
QUERY_SECONDS = 10.0


class GenerationIncomplete(ServiceError):
    """The collection does not hold what was written to it; the index must not go live."""

    default_code = "index_incomplete"


@dataclass(frozen=True)
class Hit:
    """An image found. score: cosine similarity, at most 1."""

    image_id: int
    score: float


class Generations:
    """The generations in Qdrant. Every method raises what `vectors.translated` raises."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    async def create(self, name: str, dim: int) -> None:
        """An empty generation: HNSW, int8 in memory, the originals on disk for rescoring."""
        with translated():
            await self._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=True),
                quantization_config=models.ScalarQuantization(
                    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
                ),
            )

    async def put(self, name: str, ids: Sequence[int], vectors: npt.NDArray[np.float32]) -> None:
        """Writes vectors [n, dim] by image id; they are durable when this returns."""
        with translated():
            await self._client.upsert(name, models.Batch(ids=list(ids), vectors=vectors.tolist()), wait=True)

    async def wait_until_indexed(self, name: str, count: int) -> None:
        """Returns when the generation holds `count` vectors and its graph is built. Raises GenerationIncomplete.

        There is no deadline: the caller keeps its lease meanwhile, and cancels.
        """
        with translated():
            while not await self._green(name):  # noqa: ASYNC110 (Qdrant does not tell by itself)
                await asyncio.sleep(POLL_SECONDS)
            found = (await self._client.count(name, exact=True)).count
        if found != count:
            raise GenerationIncomplete(f"The index holds {found} images instead of {count}.")

    async def _green(self, name: str) -> bool:
        return (await self._client.get_collection(name)).status is models.CollectionStatus.GREEN

    async def query(self, name: str, vector: npt.NDArray[np.float32], limit: int, threshold: float | None) -> list[Hit]:
        """The `limit` images nearest to `vector` [dim], best first, those below `threshold` left out."""
        with traced("query_points"), translated():
            answer = await self._client.query_points(
                name,
                query=vector.tolist(),
                limit=limit,
                score_threshold=None if threshold is None else _just_below(threshold),
                with_payload=False,
                search_params=models.SearchParams(
                    quantization=models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
                ),
                timeout=max(1, round(remaining(QUERY_SECONDS))),
            )
        return [Hit(int(point.id), min(point.score, 1.0)) for point in answer.points]

    async def drop(self, name: str) -> None:
        """Removes a generation; one that is not there is no error."""
        with translated():
            await self._client.delete_collection(name)

    async def names(self, prefix: str) -> list[str]:
        """The Qdrant collections whose names begin with `prefix`."""
        with translated():
            answer = await self._client.get_collections()
        return [collection.name for collection in answer.collections if collection.name.startswith(prefix)]

    async def ping(self) -> None:
        """Raises unless Qdrant answers."""
        with translated():
            await self._client.get_collections()


def _just_below(threshold: float) -> float:
    """Qdrant leaves out what equals its threshold, and rounding lowers the score of a copy; ours keeps both."""
    return threshold - ROUNDING
