"""Chunks: the bytes of contents, in rows of at most 1 MiB. Contents that were edited from one upload share them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from catalog.postgres.database import Connection

CHUNK_BYTES = 1024 * 1024
# Data that is appended to a smaller chunk is stored together with it. Otherwise a content that grows row by row would
# have a chunk for each row.
SMALL_BYTES = 64 * 1024

# No row: the content is gone. A row with NULL: it has no bytes.
OF_CONTENT = """
SELECT p.revision, p.ordinal, octet_length(p.data) AS size
FROM contents t LEFT JOIN content_chunks p ON p.collection_id = t.collection_id
     AND p.revision BETWEEN coalesce(t.base_revision, t.revision) AND t.revision
     AND (p.last_revision IS NULL OR p.last_revision >= t.revision)
WHERE t.collection_id = $1 AND t.revision = $2
ORDER BY p.ordinal
"""

DATA = "SELECT data FROM content_chunks WHERE collection_id = $1 AND revision = $2 AND ordinal = $3"

INSERT = "INSERT INTO content_chunks (collection_id, revision, ordinal, data) VALUES ($1, $2, $3, $4)"

END = "UPDATE content_chunks SET last_revision = $4 WHERE collection_id = $1 AND revision = $2 AND ordinal = $3"

REMOVE_UNUSED = """
DELETE FROM content_chunks p
WHERE p.collection_id = ANY($1) AND NOT EXISTS (
    SELECT FROM contents t WHERE t.collection_id = p.collection_id
    AND p.revision BETWEEN coalesce(t.base_revision, t.revision) AND t.revision
    AND (p.last_revision IS NULL OR p.last_revision >= t.revision))
"""

# The first byte of a part of a content, and the byte after its last.
ByteRange = tuple[int, int]


@dataclass(frozen=True)
class Chunk:
    """A chunk of a content. revision: the first content that it belongs to. ordinal: its order. size: in bytes."""

    revision: int
    ordinal: int
    size: int


async def chunks_of(connection: Connection, collection_id: int, revision: int) -> list[Chunk] | None:
    """List the chunks of a content in order; None if there is no such content."""
    rows = await connection.fetch(OF_CONTENT, collection_id, revision)
    if not rows:
        return None
    return [Chunk(row["revision"], row["ordinal"], row["size"]) for row in rows if row["ordinal"] is not None]


async def read_chunk(connection: Connection, collection_id: int, chunk: Chunk) -> bytes | None:
    """Return the bytes of a chunk; None if it was removed."""
    data: bytes | None = await connection.fetchval(DATA, collection_id, chunk.revision, chunk.ordinal)
    return data


async def read_locked(connection: Connection, collection_id: int, chunks: Sequence[Chunk]) -> AsyncIterator[bytes]:
    """Yield the bytes of chunks of the newest content, whose collection is locked in this transaction."""
    for chunk in chunks:
        data = await read_chunk(connection, collection_id, chunk)
        assert data is not None, "chunks of the newest content are never removed"  # noqa: S101
        yield data


async def digest_of(connection: Connection, collection_id: int, chunks: Sequence[Chunk]) -> bytes:
    """Return the SHA-256 of the newest content, whose collection is locked in this transaction."""
    digest = hashlib.sha256()
    async for data in read_locked(connection, collection_id, chunks):
        await asyncio.to_thread(digest.update, data)
    return digest.digest()


async def are_equal(
    connection: Connection, collection_id: int, chunks: Sequence[Chunk], others: Sequence[Chunk]
) -> bool:
    """Return whether chunks of contents of a locked collection have the same bytes. Reads only those that differ."""
    if sum(chunk.size for chunk in chunks) != sum(chunk.size for chunk in others):
        return False
    shared = set(chunks) & set(others)
    # What is before or between shared chunks must have the same size, so that the others begin at the same place.
    if _places(chunks, shared) != _places(others, shared):
        return False
    digests = [
        await digest_of(connection, collection_id, [chunk for chunk in some if chunk not in shared])
        for some in (chunks, others)
    ]
    return digests[0] == digests[1]


def _places(chunks: Sequence[Chunk], some: set[Chunk]) -> list[tuple[int, Chunk]]:
    starts = accumulate((chunk.size for chunk in chunks), initial=0)
    return [(start, chunk) for start, chunk in zip(starts, chunks, strict=False) if chunk in some]


async def store(connection: Connection, collection_id: int, revision: int, source: Path, *, first: int = 0) -> None:
    """Store the bytes of a file as chunks of a new content. first: the ordinal of the first chunk."""
    # Not opened in a thread: if the request were cancelled while it opens, nobody would close the file.
    with source.open("rb") as file:
        ordinal = first
        while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
            await connection.execute(INSERT, collection_id, revision, ordinal, data)
            ordinal += 1


async def append(
    connection: Connection, collection_id: int, revision: int, chunks: Sequence[Chunk], source: Path
) -> None:
    """Store the bytes of a file behind the chunks of the content before `revision`."""
    last = chunks[-1] if chunks else None
    size = (await asyncio.to_thread(source.stat)).st_size
    if last is None or last.size + size > SMALL_BYTES:
        await store(connection, collection_id, revision, source, first=last.ordinal + 1 if last else 0)
        return
    data = await read_chunk(connection, collection_id, last) or b""
    await _replace(connection, collection_id, revision, last, data + await asyncio.to_thread(source.read_bytes))


async def cut(
    connection: Connection, collection_id: int, revision: int, chunks: Sequence[Chunk], ranges: Sequence[ByteRange]
) -> None:
    """Store the chunks that differ without some parts of the content before `revision`. ranges: in order, disjoint."""
    starts = accumulate((chunk.size for chunk in chunks), initial=0)
    for chunk, begin in zip(chunks, starts, strict=False):
        inside = [
            (max(start - begin, 0), min(end - begin, chunk.size))
            for start, end in ranges
            if start < begin + chunk.size and end > begin
        ]
        if inside:
            data = await read_chunk(connection, collection_id, chunk) or b""
            await _replace(connection, collection_id, revision, chunk, without(data, inside))


async def remove_unused(connection: Connection, collections: Sequence[int]) -> None:
    """Remove the chunks of these collections that no content contains any more."""
    await connection.execute(REMOVE_UNUSED, collections)


def without(data: bytes, ranges: Sequence[ByteRange]) -> bytes:
    """Return the bytes that are in none of the ranges. ranges: in order, disjoint."""
    kept, position = [], 0
    for start, end in ranges:
        kept.append(data[position:start])
        position = end
    return b"".join((*kept, data[position:]))


async def _replace(connection: Connection, collection_id: int, revision: int, chunk: Chunk, data: bytes) -> None:
    await connection.execute(END, collection_id, chunk.revision, chunk.ordinal, revision - 1)
    if data:
        await connection.execute(INSERT, collection_id, revision, chunk.ordinal, data)
