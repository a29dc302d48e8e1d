"""Contents: the CSV of a collection, byte for byte, and the images that its rows name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from catalog import collections
from catalog.content import chunks
from catalog.images import merge_staged
from catalog.postgres.database import Connection, Database
from servicekit.errors import InvalidRequest
from servicekit.process.fault_points import FaultPoint
from servicekit.request_context import remaining

REPLACE_SECONDS = 55.0
# So many contents of a collection can be downloaded, the newest included.
KEPT_REVISIONS = 3

KEPT = """
SELECT t.revision, t.created_at, t.row_count, t.key_name
FROM collections c JOIN contents t ON t.collection_id = c.id AND t.revision > c.content_revision - $2
WHERE c.id = $1 ORDER BY t.revision DESC
"""

NEWEST = "SELECT digest, base_revision IS NOT NULL AS edited FROM contents WHERE collection_id = $1 AND revision = $2"

SUPERSEDE = "UPDATE contents SET superseded_at = clock_timestamp() WHERE collection_id = $1 AND revision = $2"

INSERT = """
INSERT INTO contents (collection_id, revision, digest, row_count, key_name, base_revision, row_lines)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

# The time of a revision is that of `last_modified`. Not now(), the start of the transaction: it may have waited for
# another upload to finish.
MAKE_NEWEST = """
WITH modified AS (
    UPDATE collections SET content_revision = $2, last_modified = clock_timestamp() WHERE id = $1
    RETURNING last_modified
)
UPDATE contents SET created_at = modified.last_modified FROM modified WHERE collection_id = $1 AND revision = $2
"""

# Nothing pins a retired content, and nothing will: jobs only begin with the newest.
RETIRE = """
UPDATE contents t SET retired = true
FROM collections c
WHERE c.id = t.collection_id
  AND NOT t.retired
  AND t.revision <> c.content_revision
  AND t.superseded_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM indexes i WHERE i.collection_id = t.collection_id AND i.revision = t.revision)
  AND NOT EXISTS (SELECT FROM jobs j WHERE j.collection_id = t.collection_id AND j.revision = t.revision
                  AND j.state IN ('queued', 'running'))
"""

# A content leaves the list of kept ones when the one that is $2 - 1 newer is superseded.
REMOVE_RETIRED = """
DELETE FROM contents t
USING collections c
WHERE c.id = t.collection_id AND t.retired AND t.revision <= c.content_revision - $2
  AND NOT EXISTS (SELECT FROM contents n WHERE n.collection_id = t.collection_id AND n.revision = t.revision + $2 - 1
                  AND n.superseded_at >= now() - make_interval(secs => $1))
RETURNING t.collection_id
"""


@dataclass(frozen=True)
class StagedContent:
    """A validated upload on disk.

    csv: the bytes as uploaded. rows: image_url and repo_url of each row in order, in the CSV format of Postgres' COPY,
    UTF-8. digest: SHA-256 of the uploaded bytes. key_name: the name of the API key that uploaded it. row_lines: whether
    each line of the CSV is a record; None: not known.
    """

    csv: Path
    rows: Path
    digest: bytes
    row_count: int
    key_name: str | None = None
    row_lines: bool | None = None


@dataclass(frozen=True)
class NewContent:
    """A content that is being stored.

    digest: SHA-256 of its bytes; after an edit that did not read them, another value that no other content has.
    base_revision: the upload that it was edited from; None if it is one. key_name: of the API key that stores it.
    row_lines: as in StagedContent.
    """

    digest: bytes
    row_count: int
    key_name: str | None
    base_revision: int | None = None
    row_lines: bool | None = None


@dataclass(frozen=True)
class Revision:
    """A stored content. changed: False if the same bytes were stored already."""

    revision: int
    row_count: int
    changed: bool


@dataclass(frozen=True)
class KeptRevision:
    """A content that can be downloaded. key_name: of the API key that uploaded it; None if that was not recorded."""

    revision: int
    created_at: datetime
    row_count: int
    key_name: str | None


class Contents:
    """The contents of collections. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace(self, collection_id: int, staged: StagedContent) -> Revision:
        """Make an upload the newest content, in one transaction. The same bytes again change nothing.

        Raises InvalidRequest, collection_not_found.
        """
        async with self._database.transaction() as connection:
            return await replace(connection, collection_id, staged)

    async def create_collection(self, name: str, heidicon_tag: str, staged: StagedContent) -> int:
        """Create a collection together with its first content, and return its id."""
        async with self._database.transaction() as connection:
            identifier = await collections.insert(connection, name, heidicon_tag)
            await replace(connection, identifier, staged)
        return identifier

    async def read(self, collection_id: int, revision: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a revision in chunks; none for revision 0. No connection is held between chunks.

        Raises InvalidRequest, collection_not_found, if the content is removed before all of it was read.
        """
        if not revision:
            return
        async with self._database.connection() as connection:
            found = await chunks.chunks_of(connection, collection_id, revision)
        if found is None:
            raise _removed(collection_id)
        for chunk in found:
            async with self._database.connection() as connection:
                data = await chunks.read_chunk(connection, collection_id, chunk)
            if data is None:
                raise _removed(collection_id)
            yield data

    async def size(self, collection_id: int, revision: int) -> int:
        """Return the number of bytes in a revision; 0 if there is none."""
        async with self._database.connection() as connection:
            found = await chunks.chunks_of(connection, collection_id, revision)
        return sum(chunk.size for chunk in found or ())

    async def kept(self, collection_id: int) -> list[KeptRevision]:
        """List the last contents of a collection, the newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(KEPT, collection_id, KEPT_REVISIONS)
        return [KeptRevision(**row) for row in rows]

    async def prune(self, superseded_seconds: float) -> None:
        """Retire contents that nothing pins and that were replaced more than `superseded_seconds` ago.

        A retired content no longer holds the images that only it names. Its bytes stay while it is one of the last, and
        `superseded_seconds` longer.
        """
        async with self._database.connection() as connection:
            await connection.execute(RETIRE, superseded_seconds)
        async with self._database.transaction() as connection:
            removed = await connection.fetch(REMOVE_RETIRED, superseded_seconds, KEPT_REVISIONS)
            if removed:
                await chunks.remove_unused(connection, sorted({row["collection_id"] for row in removed}))


async def begin_revision(connection: Connection, collection_id: int, revision: int, new: NewContent) -> None:
    """Insert the content after the newest one, before its rows and bytes. The caller has locked the collection."""
    await connection.execute(SUPERSEDE, collection_id, revision - 1)
    await connection.execute(
        INSERT, collection_id, revision, new.digest, new.row_count, new.key_name, new.base_revision, new.row_lines
    )


async def finish_revision(connection: Connection, collection_id: int, revision: int) -> None:
    """Make a content the newest one of its collection, when it is complete."""
    await connection.execute(MAKE_NEWEST, collection_id, revision)
    FaultPoint.CONTENT_WRITTEN.reach()


async def replace(
    connection: Connection, collection_id: int, staged: StagedContent, *, seconds: float = REPLACE_SECONDS
) -> Revision:
    """Make a staged content the newest one of its collection, unless that has the same bytes.

    seconds: the most that a statement may take. Raises InvalidRequest, collection_not_found.
    """
    current = await collections.lock(connection, collection_id)
    if await _is_same(connection, collection_id, current, staged):
        return Revision(current, staged.row_count, changed=False)
    revision = current + 1
    new = NewContent(staged.digest, staged.row_count, staged.key_name, row_lines=staged.row_lines)
    await begin_revision(connection, collection_id, revision, new)
    await chunks.store(connection, collection_id, revision, staged.csv)
    await merge_staged(connection, collection_id, revision, staged.rows, timeout=remaining(seconds))
    await finish_revision(connection, collection_id, revision)
    return Revision(revision, staged.row_count, changed=True)


async def _is_same(connection: Connection, collection_id: int, revision: int, staged: StagedContent) -> bool:
    newest = await connection.fetchrow(NEWEST, collection_id, revision)
    if newest is None:
        return False
    if newest["digest"] == staged.digest:
        return True
    if not newest["edited"]:
        return False
    # Its digest may not be that of its bytes.
    stored = await chunks.chunks_of(connection, collection_id, revision) or []
    if sum(chunk.size for chunk in stored) != staged.csv.stat().st_size:
        return False
    return await chunks.digest_of(connection, collection_id, stored) == staged.digest


def _removed(collection_id: int) -> InvalidRequest:
    message = f"The content of collection {collection_id} was removed during the download."
    return InvalidRequest(message, code="collection_not_found")
