"""The base store: the backbone's own vector of each image, kept so that nothing is embedded twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as qdrant

from catalog.vectors.client import CALL_SECONDS, translated

Matrix = npt.NDArray[np.float32]

# Enough of a checksum to tell backbones apart.
CHECKSUM_CHARACTERS = 16


@dataclass(frozen=True)
class BaseStore:
    """The base vectors of one of our collections under one backbone. Raises what `vectors.translated` raises."""

    client: AsyncQdrantClient
    name: str

    async def ensure(self, dim: int) -> None:
        """Makes the store if it is not there: on disk, without a graph, since it is only read by id."""
        with translated():
            if not await self.client.collection_exists(self.name):
                await self._create(dim)

    async def _create(self, dim: int) -> None:
        try:
            await self.client.create_collection(
                self.name,
                vectors_config=models.VectorParams(
                    # Dot product: with cosine Qdrant would normalise what it stores.
                    size=dim,
                    distance=models.Distance.DOT,
                    on_disk=True,
                    hnsw_config=models.HnswConfigDiff(m=0),
                ),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
            )
        except grpc.aio.AioRpcError:
            # Somebody else made it meanwhile, or we did and never heard of it.
            if not await self.client.collection_exists(self.name):
                raise

    async def existing(self, ids: Sequence[int]) -> set[int]:
        """Those of the images whose vector is there."""
        with translated():
            points = await self.client.retrieve(self.name, list(ids), with_payload=False, with_vectors=False)
        return {int(point.id) for point in points}

    async def put(self, ids: Sequence[int], vectors: Matrix) -> None:
        """Keeps vectors [n, dim] by image id; they are durable when this returns."""
        with translated():
            await self.client.upsert(self.name, models.Batch(ids=list(ids), vectors=vectors.tolist()), wait=True)

    async def read(self, ids: Sequence[int]) -> tuple[list[int], Matrix]:
        """The vectors [n, dim] of those of the images that are there, with their ids in the order of `ids`."""
        # The raw call: the client's own takes longer to make models of the vectors than the engine to read them.
        request = qdrant.GetPoints(
            collection_name=self.name,
            ids=[qdrant.PointId(num=identifier) for identifier in ids],
            with_payload=qdrant.WithPayloadSelector(enable=False),
            with_vectors=qdrant.WithVectorsSelector(enable=True),
            timeout=CALL_SECONDS,
        )
        with translated():
            answer = await self.client.grpc_points.Get(request, timeout=CALL_SECONDS)
        found = {point.id.num: point.vectors.vector for point in answer.result}
        present = [identifier for identifier in ids if identifier in found]
        return present, np.array([_numbers(found[identifier]) for identifier in present], dtype=np.float32)

    async def remove(self, ids: Sequence[int]) -> None:
        """Removes the vectors of images."""
        with translated():
            await self.client.delete(self.name, models.PointIdsList(points=list(ids)), wait=True)

    async def drop(self) -> None:
        """Removes the store; one that is not there is no error."""
        with translated():
            await self.client.delete_collection(self.name)


@dataclass(frozen=True)
class BaseStores:
    """All base stores. prefix: what the names of our Qdrant collections begin with."""

    client: AsyncQdrantClient
    prefix: str

    def of(self, collection_id: int, backbone: str) -> BaseStore:
        """The store of a collection for a backbone's checksum, there or not."""
        return self.named(base_store_name(self.prefix, collection_id, backbone))

    def views_of(self, collection_id: int, backbone: str) -> BaseStore:
        """The store of augmented views of a collection: of an image all its views, one vector after the other."""
        return self.named(f"{self.prefix}-c{collection_id}-v{backbone[:CHECKSUM_CHARACTERS]}")

    def named(self, name: str) -> BaseStore:
        """The store with this name in Qdrant, there or not."""
        return BaseStore(self.client, name)


def _numbers(vector: qdrant.VectorOutput) -> Sequence[float]:
    # Older servers fill only the field that was there first.
    return vector.dense.data or vector.data


def base_store_prefix(prefix: str, collection_id: int) -> str:
    """What the names of all base stores of a collection begin with."""
    return f"{prefix}-c{collection_id}-b"


def base_store_name(prefix: str, collection_id: int, backbone: str) -> str:
    """The name of the base store for a backbone's checksum."""
    return f"{base_store_prefix(prefix, collection_id)}{backbone[:CHECKSUM_CHARACTERS]}"
