"""The history of a collection's indexes: what each published index was made of, also after it was replaced."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json import loads

import asyncpg

from catalog.postgres.database import Connection, Database
from servicekit.errors import InvalidRequest

COLUMNS = """
id, collection_id, revision, job_id, backbone, backbone_name, dim, row_count, image_count, failures, quality,
created_at, published_at, superseded_at
"""

# COLUMNS of rows `i` of indexes or of what a statement returns from there.
DESCRIBED = """
SELECT i.id, i.collection_id, i.revision, i.job_id, i.backbone, i.backbone_name, i.dim,
       (SELECT t.row_count FROM contents t WHERE t.collection_id = i.collection_id AND t.revision = i.revision)
           AS row_count,
       i.image_count,
       (SELECT coalesce(jsonb_object_agg(n.reason, n.images), '{{}}') FROM (
           SELECT f.reason, count(*) AS images FROM image_failures f WHERE f.index_id = i.id GROUP BY f.reason
       ) n) AS failures,
       i.quality, i.created_at, i.published_at, i.superseded_at
FROM {source} i WHERE i.published_at IS NOT NULL
"""

PUBLISHED = f"""
SELECT p.*, c.live_index IS NOT DISTINCT FROM p.id AS live
FROM ({DESCRIBED.format(source="indexes")} UNION ALL SELECT {COLUMNS} FROM past_indexes) p
JOIN collections c ON c.id = p.collection_id
WHERE p.collection_id = $1
"""  # noqa: S608 (constants)

# A provisional index that was replaced says nothing about how the answers changed.
NEWEST = f"""
{PUBLISHED} AND (c.live_index = p.id OR NOT coalesce((p.quality ->> 'provisional')::boolean, false))
ORDER BY p.published_at DESC, p.id DESC LIMIT $2
"""

BY_ID = f"{PUBLISHED} AND p.id = $2"

# One statement, so that a published index is always in exactly one of the tables. Failures are counted as they were
# before the deletion.
ARCHIVE = f"""
WITH removed AS (
    DELETE FROM indexes WHERE id = $1
    AND id NOT IN (SELECT live_index FROM collections WHERE live_index IS NOT NULL)
    RETURNING *
)
INSERT INTO past_indexes ({COLUMNS}) {DESCRIBED.format(source="removed")}
"""  # noqa: S608 (constants)


@dataclass(frozen=True)
class PublishedIndex:
    """What an index was made of.

    live: search uses it. backbone: the checksum; backbone_name: as configured, None if unknown. dim: of the vectors
    that search compares. row_count: rows of the content; image_count: those that were indexed; failures: the number of
    the others by reason. quality: JSON.
    """

    id: int
    live: bool
    revision: int
    job_id: int
    backbone: str
    backbone_name: str | None
    dim: int | None
    row_count: int | None
    image_count: int | None
    failures: Mapping[str, int]
    quality: str | None
    created_at: datetime
    published_at: datetime
    superseded_at: datetime | None


class IndexHistory:
    """The published indexes in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, collection_id: int, limit: int) -> list[PublishedIndex]:
        """List the `limit` indexes of a collection that were published last, newest first, without provisional ones."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(NEWEST, collection_id, limit)
        return [_published(row) for row in rows]

    async def get(self, collection_id: int, index_id: int) -> PublishedIndex:
        """Return an index that a collection has published. Raises InvalidRequest, index_not_found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(BY_ID, collection_id, index_id)
        if row is None:
            raise not_found(index_id)
        return _published(row)


def not_found(index_id: int | str) -> InvalidRequest:
    """Return the error for an index that a collection never published. It is a 400, as for collections."""
    return InvalidRequest(f"The collection has published no index {index_id}.", code="index_not_found")


async def archive(connection: Connection, index_id: int) -> None:
    """Remove the row and the failures of an index, and keep what it was made of if it was ever published.

    A live index stays.
    """
    await connection.execute(ARCHIVE, index_id)


def _published(row: asyncpg.Record) -> PublishedIndex:
    return PublishedIndex(
        id=row["id"],
        live=row["live"],
        revision=row["revision"],
        job_id=row["job_id"],
        backbone=row["backbone"],
        backbone_name=row["backbone_name"],
        dim=row["dim"],
        row_count=row["row_count"],
        image_count=row["image_count"],
        failures=loads(row["failures"]),
        quality=row["quality"],
        created_at=row["created_at"],
        published_at=row["published_at"],
        superseded_at=row["superseded_at"],
    )
