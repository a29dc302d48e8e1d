"""Collections of older services that are migrated: which id each has here, and what was copied already."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from catalog.postgres.database import Database

# Larger ids are not kept: the ids that follow would be as large.
MAX_KEPT_ID = 2**31 - 1

# Whoever creates a collection holds a conflicting lock from before it gets an id until its transaction ends.
LOCK_IDS = "LOCK TABLE collections IN SHARE ROW EXCLUSIVE MODE"

# The largest id that was ever given out, to a collection or to nobody.
LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM collections_id_seq"

SELECT = """
SELECT m.source_id, m.collection_id, m.name, m.source_digest, m.digest, m.content_at IS NOT NULL AS has_content,
       c.name AS name_here, t.digest AS digest_here
FROM migrated_collections m
LEFT JOIN collections c ON c.id = m.collection_id AND c.deleting_at IS NULL
LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE m.source = $1 ORDER BY m.source_id
"""

NEXT_ID = "SELECT nextval('collections_id_seq')"

RESERVE = "INSERT INTO migrated_collections (source, source_id, collection_id) VALUES ($1, $2, $3)"

# The id is a reserved one, which the database would otherwise refuse.
CREATE = "INSERT INTO collections (id, name, heidicon_tag) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3)"


SET_NAME = "UPDATE migrated_collections SET name = $3 WHERE source = $1 AND source_id = $2"

CONTENT_COPIED = """
UPDATE migrated_collections m SET source_digest = $3, content_at = now(), digest = (
    SELECT t.digest FROM collections c
    JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
    WHERE c.id = m.collection_id AND $3::bytea IS NOT NULL)
WHERE source = $1 AND source_id = $2
"""


@dataclass(frozen=True)
class MigratedCollection:
    """A collection that is migrated.

    id: its id here. name: the name that was last copied; None: it has not been created yet. source_digest, digest:
    of the CSV that was last copied, as it was there and as it was stored here. name_here, digest_here: what the
    collection has now; the name is None if it does not exist.
    """

    source_id: int
    id: int
    name: str | None
    source_digest: bytes | None
    digest: bytes | None
    has_content: bool
    name_here: str | None
    digest_here: bytes | None


class MigratedCollections:
    """The collections that are migrated from one service. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database, source: str) -> None:
        """source: the address of the older service."""
        self._database = database
        self._source = source

    async def all(self) -> dict[int, MigratedCollection]:
        """Return the collections by their id in the older service."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SELECT, self._source)
        return {row["source_id"]: _migrated(row) for row in rows}

    async def free(self, source_ids: Sequence[int]) -> set[int]:
        """Return which of these ids no collection here has or ever had."""
        async with self._database.connection() as connection:
            last: int = await connection.fetchval(LAST_ID)
        return {identifier for identifier in source_ids if last < identifier <= MAX_KEPT_ID}

    async def reserve(self, source_ids: Sequence[int]) -> None:
        """Reserve an id here for each collection that has none yet: the same id if it is free, or else a new one.

        Ids that are given out later are larger than all of them.
        """
        async with self._database.transaction() as connection:
            await connection.execute(LOCK_IDS)
            known = {row["source_id"] for row in await connection.fetch(SELECT, self._source)}
            wanted = sorted(set(source_ids) - known)
            last: int = await connection.fetchval(LAST_ID)
            kept = [identifier for identifier in wanted if last < identifier <= MAX_KEPT_ID]
            if kept:
                await connection.execute("SELECT setval('collections_id_seq', $1)", kept[-1])
            for identifier in wanted:
                ours = identifier if identifier in kept else await connection.fetchval(NEXT_ID)
                await connection.execute(RESERVE, self._source, identifier, ours)

    async def create(self, collection: MigratedCollection, name: str, heidicon_tag: str | None) -> None:
        """Create a collection, without content, under its reserved id."""
        async with self._database.transaction() as connection:
            await connection.execute(CREATE, collection.id, name, heidicon_tag)
            await connection.execute(SET_NAME, self._source, collection.source_id, name)

    async def rename(self, collection: MigratedCollection, name: str) -> None:
        """Give a collection its new name."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE collections SET name = $2 WHERE id = $1 AND deleting_at IS NULL", collection.id, name
            )
            await connection.execute(SET_NAME, self._source, collection.source_id, name)

    async def content_copied(self, collection: MigratedCollection, source_digest: bytes | None) -> None:
        """Record that the collection has the content of the older service now.

        source_digest: SHA-256 of the CSV there; None for a collection with a HeidICON tag.
        """
        async with self._database.connection() as connection:
            await connection.execute(CONTENT_COPIED, self._source, collection.source_id, source_digest)


def _migrated(row: asyncpg.Record) -> MigratedCollection:
    return MigratedCollection(
        source_id=row["source_id"],
        id=row["collection_id"],
        name=row["name"],
        source_digest=row["source_digest"],
        digest=row["digest"],
        has_content=row["has_content"],
        name_here=row["name_here"],
        digest_here=row["digest_here"],
    )
