"""The base store: the backbone's own vector of each image, kept so that no image is embedded twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as qdrant

from catalog.vectors.client import CALL_SECONDS, qdrant_errors
from catalog.vectors.names import base_store_name, view_store_name

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BaseStore:
    """The base vectors of one collection under one backbone. Every method raises as `qdrant_errors` does."""

    client: AsyncQdrantClient
    name: str

    async def ensure(self, dim: int) -> None:
        """Create the store unless it exists: on disk and without a graph, because it is only read by id."""
        with qdrant_errors():
            if not await self.client.collection_exists(self.name):
                await self._create(dim)

    async def _create(self, dim: int) -> None:
        try:
            await self.client.create_collection(
                self.name,
                vectors_config=models.VectorParams(
                    # Dot product: with cosine, Qdrant would normalise the vectors that it stores.
                    size=dim,
                    distance=models.Distance.DOT,
                    on_disk=True,
                    hnsw_config=models.HnswConfigDiff(m=0),
                ),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
            )
        except grpc.aio.AioRpcError:
            # Another process has just created it, or we have and the response was lost.
            if not await self.client.collection_exists(self.name):
                raise

    async def existing(self, ids: Sequence[int]) -> set[int]:
        """Return which of the image ids have a vector."""
        with qdrant_errors():
            points = await self.client.retrieve(self.name, list(ids), with_payload=False, with_vectors=False)
        return {int(point.id) for point in points}

    async def put(self, ids: Sequence[int], vectors: Matrix) -> None:
        """Store vectors [n, dim] by image id. They are durable when this returns."""
        with qdrant_errors():
            await self.client.upsert(self.name, models.Batch(ids=list(ids), vectors=vectors.tolist()), wait=True)

    async def read(self, ids: Sequence[int]) -> tuple[list[int], Matrix]:
        """Return the image ids that have a vector, in the order of `ids`, and their vectors [n, dim]."""
        # The raw call: the client's own spends more time on building models than the engine on reading.
        request = qdrant.GetPoints(
            collection_name=self.name,
            ids=[qdrant.PointId(num=identifier) for identifier in ids],
            with_payload=qdrant.WithPayloadSelector(enable=False),
            with_vectors=qdrant.WithVectorsSelector(enable=True),
            timeout=CALL_SECONDS,
        )
        with qdrant_errors():
            answer = await self.client.grpc_points.Get(request, timeout=CALL_SECONDS)
        found = {point.id.num: point.vectors.vector for point in answer.result}
        present = [identifier for identifier in ids if identifier in found]
        return present, np.array([_values(found[identifier]) for identifier in present], dtype=np.float32)

    async def remove(self, ids: Sequence[int]) -> None:
        """Remove the vectors of images. Ids without a vector are ignored."""
        with qdrant_errors():
            await self.client.delete(self.name, models.PointIdsList(points=list(ids)), wait=True)

    async def drop(self) -> None:
        """Remove the store. A missing store is not an error."""
        with qdrant_errors():
            await self.client.delete_collection(self.name)


@dataclass(frozen=True)
class BaseStores:
    """All base stores, whether they exist or not. prefix: what the names of our Qdrant collections begin with."""

    client: AsyncQdrantClient
    prefix: str

    def of(self, collection_id: int, backbone: str) -> BaseStore:
        """Return a collection's store for a backbone. backbone: the checksum."""
        return self.named(base_store_name(self.prefix, collection_id, backbone))

    def views_of(self, collection_id: int, backbone: str) -> BaseStore:
        """Return a collection's store of augmented views. An image's views are concatenated to one vector."""
        return self.named(view_store_name(self.prefix, collection_id, backbone))

    def named(self, name: str) -> BaseStore:
        """Return the store with this name in Qdrant."""
        return BaseStore(self.client, name)


def _values(vector: qdrant.VectorOutput) -> Sequence[float]:
    # Older servers fill only `data`.
    return vector.dense.data or vector.data
