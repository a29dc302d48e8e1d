"""The base store: the backbone's own vector of each image, kept so that no image is embedded twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from catalog.vectors.client import Qdrant, VectorsDamaged, VectorsMissing, qdrant_errors, vector_of
from catalog.vectors.names import base_store_name, view_store_name
from servicekit.qdrant_api import collections_pb2

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BaseStore:
    """The base vectors of one collection under one backbone. Every method raises as `qdrant_errors` does."""

    client: Qdrant
    name: str

    async def ensure(self, dim: int) -> None:
        """Create the store unless it exists: on disk and without a graph, because it is only read by id."""
        with qdrant_errors():
            if not await self.client.collection_exists(self.name):
                await self._create(dim)

    async def _create(self, dim: int) -> None:
        try:
            await self.client.create_collection(
                collections_pb2.CreateCollection(
                    collection_name=self.name,
                    vectors_config=collections_pb2.VectorsConfig(
                        params=collections_pb2.VectorParams(
                            # Dot product: with cosine, Qdrant would normalise the vectors that it stores.
                            size=dim,
                            distance=collections_pb2.Dot,
                            on_disk=True,
                            hnsw_config=collections_pb2.HnswConfigDiff(m=0),
                        )
                    ),
                    optimizers_config=collections_pb2.OptimizersConfigDiff(indexing_threshold=0),
                )
            )
        except grpc.aio.AioRpcError:
            # Another process has just created it, or we have and the response was lost.
            if not await self.client.collection_exists(self.name):
                raise

    async def existing(self, ids: Sequence[int]) -> set[int]:
        """Return which of the image ids have a vector."""
        with qdrant_errors():
            points = await self.client.get_points(self.name, ids, vectors=False)
        return {point.id.num for point in points}

    async def put(self, ids: Sequence[int], vectors: Matrix) -> None:
        """Store vectors [n, dim] by image id. They are durable when this returns."""
        with qdrant_errors():
            await self.client.put_points(self.name, ids, vectors)

    async def read(self, ids: Sequence[int]) -> tuple[list[int], Matrix]:
        """Return the image ids that have a vector, in the order of `ids`, and their vectors [n, dim]."""
        with qdrant_errors():
            points = await self.client.get_points(self.name, ids, vectors=True)
        found = {point.id.num: point.vectors for point in points}
        present = [identifier for identifier in ids if identifier in found]
        return present, np.array([vector_of(found[identifier]) for identifier in present], dtype=np.float32)

    async def remove(self, ids: Sequence[int]) -> None:
        """Remove the vectors of images. Ids without a vector are ignored."""
        with qdrant_errors():
            await self.client.delete_points(self.name, ids)

    async def damaged(self) -> bool:
        """Return whether the files of the store cannot be read."""
        try:
            with qdrant_errors():
                await self.client.count_points(self.name)
        except VectorsDamaged:
            return True
        except VectorsMissing:
            return False
        return False

    async def drop(self) -> None:
        """Remove the store. A missing store is not an error."""
        with qdrant_errors():
            await self.client.delete_collection(self.name)


@dataclass(frozen=True)
class BaseStores:
    """All base stores, whether they exist or not. prefix: what the names of our Qdrant collections begin with."""

    client: Qdrant
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
