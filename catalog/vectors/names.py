"""The Qdrant collections that are ours, as their names tell what they are for."""

import re
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient

from catalog.vectors.client import translated


@dataclass(frozen=True)
class VectorCollection:
    """One Qdrant collection. backbone: the beginning of a checksum for a base store, None for a generation."""

    name: str
    collection_id: int
    backbone: str | None


@dataclass(frozen=True)
class VectorCollections:
    """All of them, as Qdrant lists them. prefix: what their names begin with."""

    client: AsyncQdrantClient
    prefix: str

    async def list(self) -> list[VectorCollection]:
        """Those whose names are made as ours are; others are nobody's business. Raises as `translated` does."""
        with translated():
            answer = await self.client.get_collections()
        found = [_parse(collection.name, self.prefix) for collection in answer.collections]
        return [collection for collection in found if collection is not None]


def _parse(name: str, prefix: str) -> VectorCollection | None:
    match = re.fullmatch(re.escape(prefix) + r"-c(\d+)-(?:g\d+|[bv](?P<backbone>.+))", name)
    return None if match is None else VectorCollection(name, int(match[1]), match["backbone"])
