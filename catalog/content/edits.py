"""Edits: add rows to the newest content, or delete some, without storing the rest again."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from catalog import collections
from catalog.content import chunks, image_states
from catalog.content.chunks import ByteRange, Chunk
from catalog.content.lines import ContentLines
from catalog.contents import NewContent, begin_revision, finish_revision
from catalog.images import stage
from catalog.postgres.database import Connection, Database
from servicekit.request_context import remaining

EDIT_SECONDS = 55.0

CONTENT = """
SELECT revision, coalesce(base_revision, revision) AS base_revision, row_count, digest, row_lines
FROM contents WHERE collection_id = $1 AND revision = $2
"""

# Further occurrences of a URL get the next numbers. Each is looked up by its digest, which has an index.
ADD = """
INSERT INTO images (collection_id, id, image_url, occurrence, repo_url, first_revision)
SELECT $1, nextval('image_ids'), s.image_url, s.occurrence, s.repo_url, $2
FROM (
    SELECT w.image_url, w.occurrence + coalesce(present.last, 0) AS occurrence, w.repo_url
    FROM wanted w CROSS JOIN LATERAL (
        SELECT max(occurrence) AS last FROM images
        WHERE collection_id = $1 AND last_revision IS NULL
          AND hashtextextended(image_url, 0) = hashtextextended(w.image_url, 0) AND image_url = w.image_url
    ) present
    ORDER BY w.ordinal
) s
RETURNING id
"""

OCCURRENCES = """
SELECT image_url, count(*) AS rows FROM images
WHERE collection_id = $1 AND last_revision IS NULL
  AND hashtextextended(image_url, 0) IN (SELECT hashtextextended(url, 0) FROM unnest($2::text[]) AS url)
GROUP BY image_url
"""

# Contents that a new one may be equal to.
EARLIER = """
SELECT revision, digest FROM contents
WHERE collection_id = $1 AND revision < $2 AND row_count = $3 AND coalesce(base_revision, revision) = $4
ORDER BY revision DESC
"""

SET_DIGEST = "UPDATE contents SET digest = $3 WHERE collection_id = $1 AND revision = $2"

ROWS = """
SELECT id, image_url, repo_url, occurrence FROM images
WHERE collection_id = $1 AND last_revision IS NULL AND id = ANY($2)
"""

END_SPANS = """
UPDATE images SET last_revision = $2 - 1
WHERE collection_id = $1 AND last_revision IS NULL AND id = ANY($3)
"""

# The remaining occurrences of a URL are numbered as they now follow each other.
RENUMBER = """
WITH gone AS MATERIALIZED (
    SELECT image_url, occurrence FROM images WHERE collection_id = $1 AND last_revision = $2 - 1 AND id = ANY($3)
)
UPDATE images i SET occurrence = i.occurrence - (
    SELECT count(*) FROM gone g WHERE g.image_url = i.image_url AND g.occurrence < i.occurrence)
WHERE i.collection_id = $1 AND i.last_revision IS NULL
  AND hashtextextended(i.image_url, 0) IN (SELECT hashtextextended(image_url, 0) FROM gone)
  AND EXISTS (SELECT FROM gone g WHERE g.image_url = i.image_url AND g.occurrence < i.occurrence)
"""


@dataclass(frozen=True)
class ContentRow:
    """A row of a content. occurrence: 1 for the first row with its image URL, and so on."""

    image_id: int
    image_url: str
    repo_url: str
    occurrence: int


@dataclass(frozen=True)
class NewRows:
    """Rows to add. rows: image_url and repo_url of each, in the CSV format of Postgres' COPY. csv: as appended.

    row_lines: whether each is one line of `csv`.
    """

    rows: Path
    csv: Path
    row_count: int
    row_lines: bool = False


@dataclass(frozen=True)
class Cut:
    """Rows to delete. ranges: where they stand in the CSV, in order.

    digest: SHA-256 of the CSV without them; None: not known, because it was not read.
    """

    image_ids: Sequence[int]
    ranges: Sequence[ByteRange]
    digest: bytes | None


@dataclass(frozen=True)
class Edited:
    """An edited content. image_ids: of the images that were added, in the order of their rows, or deleted."""

    revision: int
    row_count: int
    image_ids: Sequence[int]


class OpenContent:
    """The newest content of a collection, locked for one edit."""

    def __init__(self, connection: Connection, collection_id: int, revision: int, newest: NewContent) -> None:
        self._connection = connection
        self._collection_id = collection_id
        self._revision = revision
        self._newest = newest
        self._chunks: Sequence[Chunk] = ()

    @classmethod
    async def locked(cls, connection: Connection, collection_id: int) -> "OpenContent":
        """Lock a collection until the transaction ends. Raises InvalidRequest, collection_not_found."""
        revision = await collections.lock(connection, collection_id)
        row = await connection.fetchrow(CONTENT, collection_id, revision)
        if row is None:
            return cls(connection, collection_id, revision, NewContent(b"", 0, None, row_lines=True))
        newest = NewContent(row["digest"], row["row_count"], None, row["base_revision"], row["row_lines"])
        content = cls(connection, collection_id, revision, newest)
        content._chunks = await chunks.chunks_of(connection, collection_id, revision) or ()
        return content

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self._newest.row_count

    @property
    def size(self) -> int:
        """The number of bytes in the CSV."""
        return sum(chunk.size for chunk in self._chunks)

    @property
    def lines(self) -> ContentLines | None:
        """The lines of the CSV, if each of them is known to be a record."""
        if not self._newest.row_lines:
            return None
        return ContentLines(self._connection, self._collection_id, self._chunks)

    async def occurrences(self, image_urls: Sequence[str]) -> dict[str, int]:
        """Return how many rows have each of these URLs."""
        rows = await self._connection.fetch(OCCURRENCES, self._collection_id, image_urls)
        return {row["image_url"]: row["rows"] for row in rows}

    def read(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the CSV."""
        return chunks.read_locked(self._connection, self._collection_id, self._chunks)

    def head(self, size: int) -> AsyncIterator[bytes]:
        """Yield at least the first `size` bytes of the CSV, if it has as many."""
        starts = accumulate((chunk.size for chunk in self._chunks), initial=0)
        first = [chunk for chunk, start in zip(self._chunks, starts, strict=False) if start < size]
        return chunks.read_locked(self._connection, self._collection_id, first)

    async def last_byte(self) -> bytes:
        """Return the last byte of the CSV; nothing if it is empty."""
        last = chunks.read_locked(self._connection, self._collection_id, self._chunks[-1:])
        return b"".join([data[-1:] async for data in last])

    async def rows(self, image_ids: Sequence[int]) -> list[ContentRow]:
        """Return the rows of these images. Raises InvalidRequest, image_not_found, if one of them has none."""
        found = await self._connection.fetch(ROWS, self._collection_id, image_ids)
        missing = sorted(set(image_ids) - {row["id"] for row in found})
        if missing:
            raise image_states.not_found(missing)
        return [ContentRow(row["id"], row["image_url"], row["repo_url"], row["occurrence"]) for row in found]

    async def add(self, new: NewRows, key_name: str | None) -> Edited:
        """Append rows. key_name: the name of the API key that adds them."""
        collection_id, revision, timeout = self._collection_id, self._revision + 1, remaining(EDIT_SECONDS)
        # The images are new, even if an earlier content had the same bytes.
        content = self._after(None, self.row_count + new.row_count, key_name, row_lines=new.row_lines)
        await begin_revision(self._connection, collection_id, revision, content)
        await chunks.append(self._connection, collection_id, revision, self._chunks, new.csv)
        await stage(self._connection, new.rows, timeout=timeout)
        added = await self._connection.fetch(ADD, collection_id, revision, timeout=timeout)
        await finish_revision(self._connection, collection_id, revision)
        return Edited(revision, content.row_count, sorted(row["id"] for row in added))

    async def cut(self, rows: Cut, key_name: str | None) -> Edited:
        """Delete rows. key_name: the name of the API key that deletes them."""
        collection_id, revision, timeout = self._collection_id, self._revision + 1, remaining(EDIT_SECONDS)
        content = self._after(rows.digest, self.row_count - len(rows.image_ids), key_name)
        await begin_revision(self._connection, collection_id, revision, content)
        await chunks.cut(self._connection, collection_id, revision, self._chunks, rows.ranges)
        if rows.digest is None:
            await self._take_equal_digest(revision, content)
        for statement in (END_SPANS, RENUMBER):
            await self._connection.execute(statement, collection_id, revision, rows.image_ids, timeout=timeout)
        await finish_revision(self._connection, collection_id, revision)
        return Edited(revision, content.row_count, rows.image_ids)

    def _after(
        self, digest: bytes | None, row_count: int, key_name: str | None, *, row_lines: bool = True
    ) -> NewContent:
        """Return the content after an edit. digest: None for one that no other content has."""
        if digest is None:
            digest = hashlib.sha256(b"%d:%b" % (self._revision + 1, self._newest.digest)).digest()
        base = self._revision + 1 if self._newest.base_revision is None else self._newest.base_revision
        return NewContent(digest, row_count, key_name, base, self._newest.row_lines if row_lines else None)

    async def _take_equal_digest(self, revision: int, content: NewContent) -> None:
        """Give a new content the digest of an earlier one with the same bytes: it needs no finetune then."""
        edited = await chunks.chunks_of(self._connection, self._collection_id, revision) or []
        earlier = await self._connection.fetch(
            EARLIER, self._collection_id, revision, content.row_count, content.base_revision
        )
        for row in earlier:
            listed = await chunks.chunks_of(self._connection, self._collection_id, row["revision"]) or []
            if await chunks.are_equal(self._connection, self._collection_id, edited, listed):
                await self._connection.execute(SET_DIGEST, self._collection_id, revision, row["digest"])
                return


class ContentEdits:
    """Edits of contents in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def open(self, collection_id: int) -> AsyncIterator[OpenContent]:
        """Lock the newest content for an edit while entered, as an upload does. An error takes the edit back.

        Raises InvalidRequest, collection_not_found.
        """
        async with self._database.transaction() as connection:
            yield await OpenContent.locked(connection, collection_id)
