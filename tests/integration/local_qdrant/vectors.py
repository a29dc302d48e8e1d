"""Test vectors: making and writing them, and the plain arithmetic that results are compared with."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient, models

Matrix = npt.NDArray[np.float32]


def clustered(number: int, size: int, seed: int = 0) -> Matrix:
    """Return vectors [number, size] around a few centres, like those of a backbone."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, number // 100), size))
    members = centres[random.integers(0, len(centres), number)] + 0.5 * random.standard_normal((number, size))
    return members.astype(np.float32)


def nearest(vectors: Matrix, query: Matrix, limit: int) -> list[int]:
    """Return the indices of the vectors [n, d] with the highest cosine similarity to a query [d]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order: list[int] = np.argsort(-(unit @ (query / math.sqrt(float(query @ query)))))[:limit].tolist()
    return order


def batch(first: int, vectors: Matrix) -> models.Batch:
    """Return the points of the vectors [n, d], whose ids begin at `first`."""
    ids: list[models.ExtendedPointId] = list(range(first, first + len(vectors)))
    return models.Batch(ids=ids, vectors=vectors.tolist())


async def upsert(client: AsyncQdrantClient, name: str, vectors: Matrix, first: int = 0, size: int = 256) -> None:
    """Write vectors, whose ids begin at `first`, in batches of `size`."""
    for start in range(0, len(vectors), size):
        await client.upsert(name, batch(first + start, vectors[start : start + size]), wait=True)


async def ids_of(client: AsyncQdrantClient, name: str, page: int = 1000) -> Sequence[int]:
    """Return every id in the collection, read page by page."""
    found: list[int] = []
    offset = None
    while True:
        records, offset = await client.scroll(name, limit=page, offset=offset, with_payload=False, with_vectors=False)
        found.extend(int(record.id) for record in records)
        if offset is None:
            return found
