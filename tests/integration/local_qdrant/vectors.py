"""Vectors to test with, and the plain arithmetic that results are compared to."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models

Matrix = npt.NDArray[np.float32]
SETTLE_SECONDS = 60.0


def clustered(number: int, size: int, seed: int = 0) -> Matrix:
    """Vectors [number, size] around some centres, as embeddings are."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, number // 100), size))
    members = centres[random.integers(0, len(centres), number)] + 0.5 * random.standard_normal((number, size))
    return members.astype(np.float32)


def nearest(vectors: Matrix, query: Matrix, limit: int) -> list[int]:
    """Indices of the vectors [n, d] with the highest cosine similarity to a query [d]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order: list[int] = np.argsort(-(unit @ (query / math.sqrt(float(query @ query)))))[:limit].tolist()
    return order


async def upsert(client: AsyncQdrantClient, name: str, vectors: Matrix, first: int = 0, batch: int = 256) -> None:
    """Write vectors with ids from `first` on, in batches."""
    for start in range(0, len(vectors), batch):
        part = vectors[start : start + batch]
        ids = list(range(first + start, first + start + len(part)))
        await client.upsert(name, models.Batch(ids=ids, vectors=part.tolist()), wait=True)


async def status(client: AsyncQdrantClient, name: str) -> models.CollectionStatus:
    """The collection's status."""
    return (await client.get_collection(name)).status


async def says_what_is_done(client: AsyncQdrantClient, name: str) -> models.CollectionStatus:
    """The status after a write, which is yellow unless the graph has been built of all that was written."""
    info = await client.get_collection(name)
    built = (info.indexed_vectors_count or 0) >= (info.points_count or 0)
    assert info.status is models.CollectionStatus.YELLOW or (info.status is models.CollectionStatus.GREEN and built)
    return info.status


async def settled(client: AsyncQdrantClient, name: str) -> None:
    """Wait until the collection is green."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while await status(client, name) is not models.CollectionStatus.GREEN:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def ids_of(client: AsyncQdrantClient, name: str, page: int = 1000) -> Sequence[int]:
    """Every id in the collection, by scrolling."""
    found: list[int] = []
    offset = None
    while True:
        records, offset = await client.scroll(name, limit=page, offset=offset, with_payload=False, with_vectors=False)
        found.extend(int(record.id) for record in records)
        if offset is None:
            return found
