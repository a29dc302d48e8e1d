"""Adapters: they map a backbone's vector into the fine-tuned space of a collection."""

from dataclasses import dataclass

import asyncpg

from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

REMOVE_UNUSED = """
DELETE FROM adapters a
WHERE NOT EXISTS (SELECT FROM indexes i WHERE i.adapter_id = a.id)
  AND NOT EXISTS (SELECT FROM jobs j WHERE j.collection_id = a.collection_id AND j.state IN ('queued', 'running'))
"""

LIVE = """
SELECT a.id, a.backbone, a.weights, a.quality
FROM collections c JOIN indexes i ON i.id = c.live_index JOIN adapters a ON a.id = i.adapter_id
WHERE c.id = $1
"""


@dataclass(frozen=True)
class StoredAdapter:
    """A stored adapter. weights: safetensors bytes. quality: JSON."""

    id: int
    backbone: str
    weights: bytes
    quality: str | None = None


class Adapters:
    """The adapters in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, collection_id: int, backbone: str, weights: bytes, quality: str | None) -> int:
        """Store an adapter and return its id. quality: JSON. Raises LeaseLost if the collection is gone."""
        try:
            async with self._database.connection() as connection:
                identifier: int = await connection.fetchval(
                    "INSERT INTO adapters (collection_id, backbone, weights, quality) VALUES ($1, $2, $3, $4) "
                    "RETURNING id",
                    collection_id,
                    backbone,
                    weights,
                    quality,
                )
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection has been deleted.") from None
        return identifier

    async def get(self, adapter_id: int) -> StoredAdapter | None:
        """Return an adapter, or None if it is gone."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT id, backbone, weights FROM adapters WHERE id = $1", adapter_id)
        return None if row is None else StoredAdapter(row["id"], row["backbone"], row["weights"])

    async def live(self, collection_id: int) -> StoredAdapter | None:
        """Return the adapter of a collection's live index."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LIVE, collection_id)
        return None if row is None else StoredAdapter(row["id"], row["backbone"], row["weights"], row["quality"])

    async def remove_unused(self) -> None:
        """Remove the adapters that no index uses and no active job can still use."""
        async with self._database.connection() as connection:
            await connection.execute(REMOVE_UNUSED)
