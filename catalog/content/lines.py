"""Lines of a content, found and read without reading the rest of it."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from catalog.content.chunks import ByteRange, Chunk, read_chunk
from catalog.postgres.database import Connection

# The positions of the chunks that have one of some texts, even if it ends in the next chunk.
FIND = """
SELECT c.place - 1 AS place
FROM unnest($2::bigint[], $3::int[], $4::bigint[], $5::int[])
     WITH ORDINALITY AS c (revision, ordinal, next_revision, next_ordinal, place)
JOIN content_chunks p ON p.collection_id = $1 AND p.revision = c.revision AND p.ordinal = c.ordinal
LEFT JOIN content_chunks n ON n.collection_id = $1 AND n.revision = c.next_revision AND n.ordinal = c.next_ordinal
CROSS JOIN LATERAL (SELECT p.data || coalesce(substring(n.data FROM 1 FOR $7), '') AS data OFFSET 0) AS whole
WHERE EXISTS (SELECT FROM unnest($6::bytea[]) AS w (text) WHERE position(w.text IN whole.data) > 0)
ORDER BY c.place
"""

# More chunks are not held in memory.
MOST_CHUNKS = 8


class ContentLines:
    """The lines of the newest content, whose collection is locked in this transaction."""

    def __init__(self, connection: Connection, collection_id: int, chunks: Sequence[Chunk]) -> None:
        self._connection = connection
        self._collection_id = collection_id
        self._chunks = chunks
        self._starts = list(accumulate((chunk.size for chunk in chunks), initial=0))
        self._read: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        """The number of bytes in the content."""
        return self._starts[-1]

    async def having(self, texts: Sequence[bytes]) -> list[tuple[ByteRange, bytes]] | None:
        """Return the lines that have one of these texts, in order: where each stands, and its bytes with the line end.

        None if too many chunks have one.
        """
        longest = max(map(len, texts))
        following = [*self._chunks[1:], None]
        places = await self._connection.fetch(
            FIND,
            self._collection_id,
            [chunk.revision for chunk in self._chunks],
            [chunk.ordinal for chunk in self._chunks],
            [chunk and chunk.revision for chunk in following],
            [chunk and chunk.ordinal for chunk in following],
            texts,
            longest,
        )
        if len(places) > MOST_CHUNKS:
            return None
        found: dict[ByteRange, bytes] = {}
        for row in places:
            start = self._starts[row["place"]]
            end = min(self._starts[row["place"] + 1] + longest, self.size)
            data = await self.bytes_of(start, end)
            for text in texts:
                position = data.find(text)
                while position >= 0:
                    line = await self._line_at(start + position)
                    found[line] = await self.bytes_of(*line)
                    position = data.find(text, position + 1)
        return sorted(found.items())

    async def bytes_of(self, start: int, end: int) -> bytes:
        """Return the bytes of a range."""
        parts = []
        for place in range(self._place(start), len(self._chunks)):
            begin = self._starts[place]
            if begin >= end:
                break
            parts.append((await self._data(place))[max(start - begin, 0) : end - begin])
        return b"".join(parts)

    async def _line_at(self, position: int) -> ByteRange:
        place = self._place(position)
        begin = self._starts[place]
        before = (await self._data(place)).rfind(b"\n", 0, position - begin)
        while before < 0 and place > 0:
            place -= 1
            begin = self._starts[place]
            before = (await self._data(place)).rfind(b"\n")
        start = begin + before + 1 if before >= 0 else 0
        place = self._place(position)
        after = (await self._data(place)).find(b"\n", position - self._starts[place])
        while after < 0 and place + 1 < len(self._chunks):
            place += 1
            after = (await self._data(place)).find(b"\n")
        return start, self._starts[place] + after + 1 if after >= 0 else self.size

    async def _data(self, place: int) -> bytes:
        if place not in self._read:
            self._read[place] = await read_chunk(self._connection, self._collection_id, self._chunks[place]) or b""
        return self._read[place]

    def _place(self, position: int) -> int:
        return bisect_right(self._starts, position, hi=len(self._chunks)) - 1
