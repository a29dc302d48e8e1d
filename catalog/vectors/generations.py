"""Generations: one Qdrant collection for each index, holding the vectors that search ranks by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models

from catalog.vectors.client import qdrant_errors, traced
from catalog.vectors.point_ids import image_id, point_id
from catalog.vectors.settling import wait_until_settled
from servicekit.errors import ServiceError
from servicekit.request_context import remaining

OVERSAMPLING = 2.0
# How far rounding to float32 can lower the cosine similarity of equal vectors.
ROUNDING = 1e-6
QUERY_SECONDS = 10.0


class GenerationIncomplete(ServiceError):
    """The generation lacks vectors that were written to it. It must not go live."""

    default_code = "index_incomplete"


@dataclass(frozen=True)
class Hit:
    """A point that was found. score: cosine similarity, at most 1.

    image_id: of the first image that the point stands for. `IndexedImages.of_points` returns all of them.
    """

    image_id: int
    score: float


class Generations:
    """The generations in Qdrant. Every method raises as `qdrant_errors` does."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    async def create(self, name: str, dim: int) -> None:
        """Create an empty generation: HNSW, int8 vectors in memory, the originals on disk for rescoring."""
        with qdrant_errors():
            await self._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=True),
                quantization_config=models.ScalarQuantization(
                    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
                ),
            )

    async def put(self, name: str, ids: Sequence[int], vectors: npt.NDArray[np.float32]) -> None:
        """Store vectors [n, dim] as points. They are durable when this returns.

        ids: of the images. Images with equal vectors need a single point, of the first of them: groups of equal vectors
        tear the graph apart.
        """
        points: list[models.ExtendedPointId] = [point_id(identifier) for identifier in ids]
        with qdrant_errors():
            await self._client.upsert(name, models.Batch(ids=points, vectors=vectors.tolist()), wait=True)

    async def wait_until_indexed(self, name: str, count: int) -> None:
        """Wait until the graph is built, then check that it holds `count` vectors. Raises GenerationIncomplete.

        There is no deadline. The caller keeps renewing its lease, and cancels this call if the lease is lost.
        """
        with qdrant_errors():
            await wait_until_settled(self._client, name, count)
            found = (await self._client.count(name, exact=True)).count
        if found != count:
            raise GenerationIncomplete(f"The new index holds {found} vectors, but {count} were written.")

    async def query(self, name: str, vector: npt.NDArray[np.float32], limit: int, threshold: float | None) -> list[Hit]:
        """Return the `limit` points nearest to `vector` [dim] that score at least `threshold`, best first."""
        with traced("query_points"), qdrant_errors():
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
        return [Hit(image_id(int(point.id)), min(point.score, 1.0)) for point in answer.points]

    async def drop(self, name: str) -> None:
        """Remove a generation. A missing generation is not an error."""
        with qdrant_errors():
            await self._client.delete_collection(name)

    async def ping(self) -> None:
        """Check that Qdrant answers."""
        with qdrant_errors():
            await self._client.get_collections()


def at_least(hits: Sequence[Hit], threshold: float | None) -> list[Hit]:
    """Return the hits that `query` returns for this threshold."""
    return [hit for hit in hits if threshold is None or hit.score >= _just_below(threshold)]


def _just_below(threshold: float) -> float:
    """Lower a threshold so that Qdrant keeps scores that equal it, or that rounding moved just below it."""
    return threshold - ROUNDING
