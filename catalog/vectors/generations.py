"""Generations: one Qdrant collection for each index, holding the vectors that search ranks by."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from catalog.vectors.client import (
    UNNAMED,
    Matrix,
    Qdrant,
    VectorsDamaged,
    VectorsMissing,
    qdrant_errors,
    traced,
    vector_of,
)
from catalog.vectors.point_ids import image_id, image_ids, point_id
from catalog.vectors.settling import wait_until_settled
from servicekit.errors import ServiceError
from servicekit.process.fault_points import FaultPoint
from servicekit.qdrant_api import collections_pb2, points_pb2
from servicekit.request_context import remaining

Vector = npt.NDArray[np.float32]

# The vectors of a generation that has two for each point: those of the tuned space, and those of the backbone, whose
# space images and texts share. A generation with tuned vectors only has them without a name.
TUNED, SHARED = "tuned", "shared"
SAMPLE_PAGE = 250

OVERSAMPLING = 2.0
# How far rounding to float32 can lower the cosine similarity of equal vectors.
ROUNDING = 1e-6
QUERY_SECONDS = 10.0


class GenerationIncomplete(ServiceError):
    """The generation lacks vectors that were written to it. It must not go live."""

    default_code = "index_incomplete"


class Hit(NamedTuple):
    """A point that was found. score: cosine similarity, at most 1.

    image_id: of the first image that the point stands for. `IndexedImages.of_points` returns all of them.
    """

    image_id: int
    score: float


class Generations:
    """The generations in Qdrant. Every method raises as `qdrant_errors` does."""

    def __init__(self, client: Qdrant) -> None:
        self._client = client

    async def create(self, name: str, dim: int, shared_dim: int | None = None) -> None:
        """Create an empty generation: HNSW, int8 vectors in memory, the originals on disk for rescoring.

        dim, shared_dim: of the vectors TUNED and SHARED. shared_dim is None if there are no SHARED ones.
        """
        with qdrant_errors():
            await self._client.create_collection(
                collections_pb2.CreateCollection(
                    collection_name=name,
                    vectors_config=_vectors_config(dim, shared_dim),
                    quantization_config=collections_pb2.QuantizationConfig(
                        scalar=collections_pb2.ScalarQuantization(type=collections_pb2.Int8, always_ram=True)
                    ),
                )
            )

    async def put(self, name: str, ids: Sequence[int], vectors: Matrix, shared: Matrix | None = None) -> None:
        """Store tuned vectors [n, dim] as points, with their shared vectors. They are durable when this returns.

        ids: of the images. Images with equal vectors need a single point, of the first of them: groups of equal vectors
        tear the graph apart.
        """
        with qdrant_errors():
            named = vectors if shared is None else {TUNED: vectors, SHARED: shared}
            await self._client.put_points(name, [point_id(identifier) for identifier in ids], named)

    async def readable(self, name: str) -> bool:
        """Return whether the generation exists and its files can be read."""
        try:
            with qdrant_errors():
                await self._client.count_points(name)
        except (VectorsMissing, VectorsDamaged):
            return False
        return True

    async def wait_until_indexed(self, name: str, count: int) -> None:
        """Wait until the graph is built, then check that it holds `count` vectors. Raises GenerationIncomplete.

        There is no deadline. The caller keeps renewing its lease, and cancels this call if the lease is lost.
        """
        with qdrant_errors():
            await wait_until_settled(self._client, name, count)
            FaultPoint.SETTLED.reach()
            found = await self._client.count_points(name)
        if found != count:
            raise GenerationIncomplete(f"The new index holds {found} vectors, but {count} were written.")

    async def query(
        self, name: str, vector: Vector, limit: int, threshold: float | None, using: str = UNNAMED
    ) -> list[Hit]:
        """Return the `limit` points nearest to `vector` [dim] that score at least `threshold`, best first.

        using: the name of the vectors that are compared.
        """
        nearest = points_pb2.VectorInput(dense=points_pb2.DenseVector(data=vector.tolist()))
        quantization = points_pb2.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        request = points_pb2.QueryPoints(
            collection_name=name,
            query=points_pb2.Query(nearest=nearest),
            using=using or None,
            limit=limit,
            score_threshold=None if threshold is None else _just_below(threshold),
            with_payload=points_pb2.WithPayloadSelector(enable=False),
            params=points_pb2.SearchParams(quantization=quantization),
            timeout=max(1, round(remaining(QUERY_SECONDS))),
        )
        with traced("query_points"), qdrant_errors():
            points = await self._client.query_points(request)
        ids = image_ids([point.id.num for point in points])
        return [Hit(identifier, min(point.score, 1.0)) for identifier, point in zip(ids, points, strict=True)]

    async def read(self, name: str, ids: Sequence[int], using: str = UNNAMED) -> dict[int, Vector]:
        """Return the vectors [dim] of points, by the ids of their images. Images without a point are left out.

        using: the name of the vectors that are read.
        """
        # Older generations have points with the ids of the images themselves.
        wanted = [*map(point_id, ids), *ids]
        seconds = max(1, round(remaining(QUERY_SECONDS)))
        with traced("retrieve"), qdrant_errors():
            names = [using] if using else True
            points = await self._client.get_points(name, wanted, vectors=names, seconds=seconds)
        return {image_id(point.id.num): np.array(vector_of(point.vectors, using), dtype=np.float32) for point in points}

    async def count(self, name: str) -> int:
        """Return the number of points of a generation."""
        with traced("count"), qdrant_errors():
            return await self._client.count_points(name)

    async def pages(self, name: str, using: str, size: int) -> AsyncIterator[tuple[list[int], Matrix]]:
        """Yield all points, `size` at a time: the ids [n] of their images, and their vectors [n, dim].

        using: the name of the vectors that are read.
        """
        first: int | None = None
        while True:
            with traced("scroll"), qdrant_errors():
                page = await self._client.scroll_points(name, first, size, vectors=[using] if using else True)
            if page.result:
                rows = [np.array(vector_of(point.vectors, using), dtype=np.float32) for point in page.result]
                yield image_ids([point.id.num for point in page.result]), np.stack(rows)
            if not page.HasField("next_page_offset"):
                return
            first = page.next_page_offset.num

    async def sample(self, name: str, count: int, using: str) -> Matrix:
        """Return the vectors [n, dim] of up to `count` points, drawn uniformly and the same each time.

        using: the name of the vectors that are read.
        """
        rows: list[Sequence[float]] = []
        first: int | None = None
        with traced("scroll"), qdrant_errors():
            while len(rows) < count:
                # The ids are scattered, so the first points are as good as random ones.
                page = await self._client.scroll_points(
                    name,
                    first,
                    min(SAMPLE_PAGE, count - len(rows)),
                    vectors=[using],
                    seconds=max(1, round(remaining(QUERY_SECONDS))),
                )
                rows += [vector_of(point.vectors, using) for point in page.result]
                if not page.HasField("next_page_offset"):
                    break
                first = page.next_page_offset.num
        return np.array(rows, dtype=np.float32)

    async def drop(self, name: str) -> None:
        """Remove a generation. A missing generation is not an error."""
        with qdrant_errors():
            await self._client.delete_collection(name)

    async def ping(self) -> None:
        """Check that Qdrant answers."""
        with qdrant_errors():
            await self._client.collection_names()


def _vectors_config(dim: int, shared_dim: int | None) -> collections_pb2.VectorsConfig:
    if shared_dim is None:
        return collections_pb2.VectorsConfig(params=_params(dim))
    named = {TUNED: _params(dim), SHARED: _params(shared_dim)}
    return collections_pb2.VectorsConfig(params_map=collections_pb2.VectorParamsMap(map=named))


def _params(dim: int) -> collections_pb2.VectorParams:
    return collections_pb2.VectorParams(size=dim, distance=collections_pb2.Cosine, on_disk=True)


def at_least(hits: Sequence[Hit], threshold: float | None) -> list[Hit]:
    """Return the hits that `query` returns for this threshold."""
    return [hit for hit in hits if threshold is None or hit.score >= _just_below(threshold)]


def _just_below(threshold: float) -> float:
    """Lower a threshold so that Qdrant keeps scores that equal it, or that rounding moved just below it."""
    return threshold - ROUNDING
