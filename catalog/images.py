"""Images: the rows of contents. Each keeps its id for as long as its URL stays in the content."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from catalog.postgres.database import Connection, Database
from servicekit.errors import InvalidRequest

# If the client disconnects, the server aborts the statement and unlocks the collection, instead of finishing first.
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

# An image whose span has just ended and that is still wanted has a new repository URL. It keeps its id.
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

# Pages of a book have one repository URL and are not views of one object. Those who learn from views get none for them.
ENTRY = """
CASE WHEN EXISTS (SELECT FROM sources WHERE sources.collection_id = $1 AND NOT sources.views)
THEN '' ELSE repo_url END AS repo_url
"""

AT_REVISION = "first_revision <= $2 AND (last_revision IS NULL OR last_revision >= $2)"

PAGE = f"""
SELECT id, image_url, {ENTRY}, first_revision FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND id > $3 ORDER BY id LIMIT $4
"""  # noqa: S608 (a constant)

COUNT = f"SELECT count(*) FROM images WHERE collection_id = $1 AND {AT_REVISION}"  # noqa: S608 (a constant)

BY_ID = f"""
SELECT id, image_url, repo_url, first_revision FROM images WHERE collection_id = $1 AND {AT_REVISION} AND id = ANY($3)
"""  # noqa: S608 (a constant)

URL = "SELECT image_url FROM images WHERE collection_id = $1 AND id = $2 LIMIT 1"

# Ordered by a hash of the ids, which is unrelated to what the images show.
SAMPLE = f"""
SELECT id, image_url, {ENTRY}, first_revision FROM images i
WHERE collection_id = $1 AND {AT_REVISION}
      AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = $3 AND f.image_id = i.id)
ORDER BY hashint8extended(id, 0), id LIMIT $4
"""  # noqa: S608 (a constant)

CHANGED = f"""
SELECT avg((first_revision > $3)::int)::float8 FROM images WHERE collection_id = $1 AND {AT_REVISION}
"""  # noqa: S608 (a constant)

# Ordered like SAMPLE.
CHANGED_IMAGES = f"""
SELECT id, image_url, {ENTRY}, first_revision FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND first_revision > $3
ORDER BY hashint8extended(id, 0), id LIMIT $4
"""  # noqa: S608 (a constant)

# A span that no stored content contains any more, except for retired ones.
IS_ENDED = """
i.last_revision IS NOT NULL AND NOT EXISTS (
    SELECT FROM contents t WHERE t.collection_id = i.collection_id AND NOT t.retired
    AND t.revision BETWEEN i.first_revision AND i.last_revision)
"""

COLLECTIONS_WITH_ENDED_SPANS = f"""
SELECT c.id FROM collections c
WHERE EXISTS (SELECT FROM images i WHERE i.collection_id = c.id AND {IS_ENDED}) ORDER BY c.id
"""  # noqa: S608 (a constant)

REMOVE_VERSIONS = "DELETE FROM image_versions WHERE collection_id = $1 AND image_id = ANY($2)"
REMOVE_MINIATURES = "DELETE FROM image_miniatures WHERE collection_id = $1 AND image_id = ANY($2)"

REMOVE_ENDED_SPANS = f"DELETE FROM images i WHERE i.collection_id = $1 AND {IS_ENDED}"  # noqa: S608 (a constant)

UNREFERENCED = f"""
SELECT DISTINCT i.id FROM images i WHERE i.collection_id = $1 AND {IS_ENDED}
AND NOT EXISTS (
    SELECT FROM images other WHERE other.collection_id = i.collection_id AND other.id = i.id AND (
        other.last_revision IS NULL OR EXISTS (
            SELECT FROM contents t WHERE t.collection_id = other.collection_id AND NOT t.retired
            AND t.revision BETWEEN other.first_revision AND other.last_revision)))
LIMIT $2
"""  # noqa: S608 (a constant)


@dataclass(frozen=True)
class Image:
    """A row of a content.

    id: positive, also the id of the point in Qdrant. repo_url: in pages and samples, empty if the collection's source
    says that images with one URL are not views of one object. since: the revision in which the row last changed.
    """

    id: int
    image_url: str
    repo_url: str
    since: int


class Images:
    """The images in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, collection_id: int, revision: int, *, after: int, limit: int) -> list[Image]:
        """List the first `limit` images of a revision with an id above `after`, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(PAGE, collection_id, revision, after, limit)
        return [_image(row) for row in rows]

    async def count(self, collection_id: int, revision: int) -> int:
        """Count the images of a revision."""
        async with self._database.connection() as connection:
            images: int = await connection.fetchval(COUNT, collection_id, revision)
        return images

    async def by_id(self, collection_id: int, revision: int, ids: Sequence[int]) -> dict[int, Image]:
        """Return the images of a revision that have one of the ids, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(BY_ID, collection_id, revision, ids)
        return {row["id"]: _image(row) for row in rows}

    async def url(self, collection_id: int, image_id: int) -> str:
        """Return the URL of an image of any content that is stored or searched. Raises InvalidRequest, image_not_found.

        An image keeps its URL for as long as it exists.
        """
        async with self._database.connection() as connection:
            url: str | None = await connection.fetchval(URL, collection_id, image_id)
        if url is None:
            raise InvalidRequest(f"The collection has no image with the id {image_id}.", code="image_not_found")
        return url

    async def sample(self, collection_id: int, revision: int, index_id: int, count: int) -> list[Image]:
        """Draw up to `count` images of a revision that did not fail in an index: uniformly, and the same each time."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SAMPLE, collection_id, revision, index_id, count)
        return [_image(row) for row in rows]

    async def changed_share(self, collection_id: int, revision: int, since: int) -> float:
        """Return the share, 0 to 1, of a revision's rows that changed after the revision `since`."""
        async with self._database.connection() as connection:
            share: float | None = await connection.fetchval(CHANGED, collection_id, revision, since)
        return 1.0 if share is None else share

    async def changed(self, collection_id: int, revision: int, since: int, *, limit: int) -> list[Image]:
        """Draw up to `limit` of the rows that changed after the revision `since`, as `sample` does."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(CHANGED_IMAGES, collection_id, revision, since, limit)
        return [_image(row) for row in rows]

    async def collections_with_ended_spans(self) -> list[int]:
        """List the collections with spans that no stored content contains any more."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(COLLECTIONS_WITH_ENDED_SPANS)
        return [row["id"] for row in rows]

    async def unreferenced(self, collection_id: int, limit: int) -> list[int]:
        """List images that no stored content contains any more. Remove their vectors first, then their rows."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(UNREFERENCED, collection_id, limit)
        return [row["id"] for row in rows]

    async def remove(self, collection_id: int, ids: Sequence[int]) -> None:
        """Remove the ended spans, the versions and the miniatures of these images."""
        async with self._database.connection() as connection:
            for statement in (REMOVE_VERSIONS, REMOVE_MINIATURES):
                await connection.execute(statement, collection_id, ids)
            await connection.execute(
                "DELETE FROM images WHERE collection_id = $1 AND id = ANY($2) AND last_revision IS NOT NULL",
                collection_id,
                ids,
            )

    async def remove_ended_spans(self, collection_id: int) -> None:
        """Remove the spans that no stored content contains any more, even if their image still exists."""
        async with self._database.connection() as connection:
            await connection.execute(REMOVE_ENDED_SPANS, collection_id)


async def stage(connection: Connection, rows: Path, *, timeout: float) -> None:
    """Read the rows of a file into the temporary table `wanted`, with the occurrence of each URL among them.

    rows: CSV in COPY format. timeout: seconds for each statement.
    """
    await connection.execute(STAGE)
    await connection.copy_to_table(
        "staged", source=rows, columns=["image_url", "repo_url"], format="csv", encoding="utf-8", timeout=timeout
    )
    await connection.execute(NUMBER_OCCURRENCES, timeout=timeout)


async def merge_staged(
    connection: Connection, collection_id: int, revision: int, rows: Path, *, timeout: float
) -> None:
    """Make the rows of a file the images of `revision`. Only differences from the previous revision are written.

    The caller has locked the collection in this transaction. rows: CSV in COPY format. timeout: seconds for each
    statement.
    """
    await stage(connection, rows, timeout=timeout)
    await connection.execute(END_SPANS, collection_id, revision, timeout=timeout)
    await connection.execute(BEGIN_SPANS, collection_id, revision, timeout=timeout)


def _image(row: asyncpg.Record) -> Image:
    return Image(row["id"], row["image_url"], row["repo_url"], row["first_revision"])
