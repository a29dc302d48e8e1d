"""Images: the rows of contents, each with an id that stays for as long as its URL stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from catalog.postgres.database import Connection, Database

# Where the upload is given up, the server ends its statement and lets the collection go, instead of finishing first.
STAGE = """
SET LOCAL client_connection_check_interval = '1s';
SET LOCAL work_mem = '64MB';
CREATE TEMP TABLE staged (
    ordinal bigint GENERATED ALWAYS AS IDENTITY, image_url text NOT NULL, repo_url text NOT NULL
) ON COMMIT DROP
"""

NUMBER_OCCURRENCES = """
CREATE TEMP TABLE wanted ON COMMIT DROP AS
SELECT ordinal, image_url, repo_url, (row_number() OVER (PARTITION BY image_url ORDER BY ordinal))::int AS occurrence
FROM staged;
ANALYZE wanted
"""

END_SPANS = """
UPDATE images i SET last_revision = $2 - 1
WHERE i.collection_id = $1 AND i.last_revision IS NULL AND NOT EXISTS (
    SELECT FROM wanted w
    WHERE w.image_url = i.image_url AND w.occurrence = i.occurrence AND w.repo_url = i.repo_url)
"""

# A row whose span just ended and that is wanted again has another repository URL: it keeps its id.
BEGIN_SPANS = """
INSERT INTO images (collection_id, id, image_url, occurrence, repo_url, first_revision)
SELECT $1, coalesce(s.old_id, nextval('image_ids')), s.image_url, s.occurrence, s.repo_url, $2
FROM (
    SELECT w.image_url, w.occurrence, w.repo_url, ended.id AS old_id
    FROM wanted w
    LEFT JOIN images kept ON kept.collection_id = $1 AND kept.last_revision IS NULL
         AND kept.image_url = w.image_url AND kept.occurrence = w.occurrence
    LEFT JOIN images ended ON ended.collection_id = $1 AND ended.last_revision = $2 - 1
         AND ended.image_url = w.image_url AND ended.occurrence = w.occurrence
    WHERE kept.id IS NULL
    ORDER BY w.ordinal
) s
"""

AT_REVISION = "first_revision <= $2 AND (last_revision IS NULL OR last_revision >= $2)"

PAGE = f"""
SELECT id, image_url, repo_url, first_revision FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND id > $3 ORDER BY id LIMIT $4
"""  # noqa: S608 (a constant)

COUNT = f"SELECT count(*) FROM images WHERE collection_id = $1 AND {AT_REVISION}"  # noqa: S608 (a constant)

BY_ID = f"""
SELECT id, image_url, repo_url, first_revision FROM images WHERE collection_id = $1 AND {AT_REVISION} AND id = ANY($3)
"""  # noqa: S608 (a constant)

# Ordered by a hash of their ids, which have nothing to do with what the images show.
SAMPLE = f"""
SELECT id, image_url, repo_url, first_revision FROM images i
WHERE collection_id = $1 AND {AT_REVISION}
      AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = $3 AND f.image_id = i.id)
ORDER BY hashint8extended(id, 0), id LIMIT $4
"""  # noqa: S608 (a constant)

CHANGED = f"""
SELECT avg((first_revision > $3)::int)::float8 FROM images WHERE collection_id = $1 AND {AT_REVISION}
"""  # noqa: S608 (a constant)

# Ordered as SAMPLE.
CHANGED_IMAGES = f"""
SELECT id, image_url, repo_url, first_revision FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND first_revision > $3
ORDER BY hashint8extended(id, 0), id LIMIT $4
"""  # noqa: S608 (a constant)

# Spans that no stored content shows any more.
ENDED = """
FROM images i WHERE i.collection_id = $1 AND i.last_revision IS NOT NULL AND NOT EXISTS (
    SELECT FROM contents t WHERE t.collection_id = i.collection_id
    AND t.revision BETWEEN i.first_revision AND i.last_revision)
"""

WITH_ENDED = """
SELECT c.id FROM collections c WHERE EXISTS (
    SELECT FROM images i WHERE i.collection_id = c.id AND i.last_revision IS NOT NULL AND NOT EXISTS (
        SELECT FROM contents t WHERE t.collection_id = i.collection_id
        AND t.revision BETWEEN i.first_revision AND i.last_revision))
ORDER BY c.id
"""

UNREFERENCED = f"""
SELECT DISTINCT i.id {ENDED}
AND NOT EXISTS (
    SELECT FROM images other WHERE other.collection_id = i.collection_id AND other.id = i.id AND (
        other.last_revision IS NULL OR EXISTS (
            SELECT FROM contents t WHERE t.collection_id = other.collection_id
            AND t.revision BETWEEN other.first_revision AND other.last_revision)))
LIMIT $2
"""  # noqa: S608 (a constant)


@dataclass(frozen=True)
class Image:
    """A row of a content.

    id: positive, also the point's id in Qdrant. since: the revision from which on the row is as it is.
    """

    id: int
    image_url: str
    repo_url: str
    since: int


class Images:
    """The images of collections. Every method raises what `Database.connection` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, collection_id: int, revision: int, *, after: int, limit: int) -> list[Image]:
        """The images of a revision by id, at most `limit` of those with an id above `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(PAGE, collection_id, revision, after, limit)
        return [_image(row) for row in rows]

    async def count(self, collection_id: int, revision: int) -> int:
        """How many images a revision has."""
        async with self._database.connection() as connection:
            images: int = await connection.fetchval(COUNT, collection_id, revision)
        return images

    async def by_id(self, collection_id: int, revision: int, ids: Sequence[int]) -> dict[int, Image]:
        """Those of the ids that are in the revision."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(BY_ID, collection_id, revision, ids)
        return {row["id"]: _image(row) for row in rows}

    async def sample(self, collection_id: int, revision: int, index_id: int, count: int) -> list[Image]:
        """At most `count` images of a revision that did not fail in an index, drawn uniformly, the same each time."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SAMPLE, collection_id, revision, index_id, count)
        return [_image(row) for row in rows]

    async def changed_share(self, collection_id: int, revision: int, since: int) -> float:
        """The share, 0 to 1, of a revision's rows that are not as they were at the revision `since`."""
        async with self._database.connection() as connection:
            share: float | None = await connection.fetchval(CHANGED, collection_id, revision, since)
        return 1.0 if share is None else share

    async def changed(self, collection_id: int, revision: int, since: int, *, limit: int) -> list[Image]:
        """At most `limit` of a revision's rows that are not as they were at `since`, drawn as in `sample`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(CHANGED_IMAGES, collection_id, revision, since, limit)
        return [_image(row) for row in rows]

    async def collections_with_ended_spans(self) -> list[int]:
        """The collections that have images, or spans of them, that no stored content shows any more."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(WITH_ENDED)
        return [row["id"] for row in rows]

    async def unreferenced(self, collection_id: int, limit: int) -> list[int]:
        """Ids that no stored content shows any more: their vectors may go, and then their rows."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(UNREFERENCED, collection_id, limit)
        return [row["id"] for row in rows]

    async def remove(self, collection_id: int, ids: Sequence[int]) -> None:
        """Removes the ended spans of these images, and what is known of their versions."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM image_versions WHERE collection_id = $1 AND image_id = ANY($2)", collection_id, ids
            )
            await connection.execute(
                "DELETE FROM images WHERE collection_id = $1 AND id = ANY($2) AND last_revision IS NOT NULL",
                collection_id,
                ids,
            )

    async def remove_ended_spans(self, collection_id: int) -> None:
        """Removes spans that no stored content shows any more, whether or not their image lives on."""
        async with self._database.connection() as connection:
            await connection.execute(f"DELETE {ENDED}", collection_id)


async def merge_staged(
    connection: Connection, collection_id: int, revision: int, rows: Path, *, timeout: float
) -> None:
    """Makes the rows of a file the images of `revision`, writing only what differs from the revision before.

    rows: COPY format CSV. The connection is in a transaction that holds the collection. timeout: seconds for each
    statement.
    """
    await connection.execute(STAGE)
    await connection.copy_to_table(
        "staged", source=rows, columns=["image_url", "repo_url"], format="csv", encoding="utf-8", timeout=timeout
    )
    await connection.execute(NUMBER_OCCURRENCES, timeout=timeout)
    await connection.execute(END_SPANS, collection_id, revision, timeout=timeout)
    await connection.execute(BEGIN_SPANS, collection_id, revision, timeout=timeout)


def _image(row: asyncpg.Record) -> Image:
    return Image(row["id"], row["image_url"], row["repo_url"], row["first_revision"])
