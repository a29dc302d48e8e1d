"""Indexed images: which images each point of an index stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import asyncpg

from catalog.images import AT_REVISION, Image, Images
from catalog.indexes import Index
from catalog.jobs import LeaseLost
from catalog.postgres.database import Connection, Database

ADD = """
INSERT INTO equal_images (index_id, first_image_id, ordinal, image_id)
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT DO NOTHING
"""

# The images that have a point, and how many others each point stands for; and which index of each collection is live.
# The points of each index are a part of the last argument, from its `first` to its `last`, counted from 1.
# Each subquery is one probe of a primary key, however many rows there are. (Without LIMIT, the planner may read all
# images or all equal images instead.)
FIRST_IMAGES = """
SELECT p.index_id, c.live_index, i.id, i.image_url, i.repo_url, i.first_revision, coalesce(last.ordinal, 0) AS others
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[], $5::int[])
    AS p (collection_id, revision, index_id, first, last)
JOIN collections c ON c.id = p.collection_id AND c.deleting_at IS NULL
LEFT JOIN LATERAL unnest(($6::bigint[])[p.first:p.last]) AS point (id) ON true
LEFT JOIN LATERAL (
    SELECT m.id, m.image_url, m.repo_url, m.first_revision FROM images m
    WHERE m.collection_id = p.collection_id AND m.id = point.id AND m.first_revision <= p.revision
          AND (m.last_revision IS NULL OR m.last_revision >= p.revision) LIMIT 1
) i ON true
LEFT JOIN LATERAL (
    SELECT e.ordinal FROM equal_images e
    WHERE e.index_id = p.index_id AND e.first_image_id = i.id ORDER BY e.ordinal DESC LIMIT 1
) last ON true
"""

# The next `wanted` images of each point.
OTHER_IMAGES = """
SELECT p.first_image_id, other.image_id
FROM unnest($2::bigint[], $3::bigint[]) AS p (first_image_id, wanted) CROSS JOIN LATERAL (
    SELECT e.image_id, e.ordinal FROM equal_images e
    WHERE e.index_id = $1 AND e.first_image_id = p.first_image_id ORDER BY e.ordinal LIMIT p.wanted
) other
ORDER BY p.first_image_id, other.ordinal
"""

# The next rows of a revision, by id.
ROWS_AFTER = f"""
SELECT id, image_url, repo_url, first_revision FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND id > $3 ORDER BY id LIMIT $4
"""  # noqa: S608 (a constant)

# The next equal images of an index, in order.
EQUAL_AFTER = """
SELECT first_image_id, ordinal, image_id FROM equal_images
WHERE index_id = $1 AND (first_image_id, ordinal) > ($2, $3) ORDER BY first_image_id, ordinal LIMIT $4
"""

POINTS_OF_EQUAL = "SELECT image_id, first_image_id FROM equal_images WHERE index_id = $1 AND image_id = ANY($2)"

URLS = f"""
SELECT id, image_url FROM images
WHERE collection_id = $1 AND {AT_REVISION} AND id = ANY($4)
      AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = $3 AND f.image_id = images.id)
"""  # noqa: S608 (a constant)

IN_NEWEST_CONTENT = "SELECT id FROM images WHERE collection_id = $1 AND id = ANY($2) AND last_revision IS NULL"

# The rows of an earlier revision ($2) are those of the newest content that are old enough, which indexes find by a
# digest of their URL, and those that have ended since.
OF_URL = """
SELECT id FROM (
    SELECT i.id FROM images i
    WHERE i.collection_id = $1 AND i.last_revision IS NULL AND i.first_revision <= $2
          AND hashtextextended(i.{column}, 0) = hashtextextended($4, 0) AND i.{column} = $4
    UNION ALL
    SELECT i.id FROM images i
    WHERE i.collection_id = $1 AND i.last_revision >= $2 AND i.first_revision <= $2 AND i.{column} = $4
) named
WHERE NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = $3 AND f.image_id = named.id)
ORDER BY id LIMIT $5
"""

HAS_URL = """
SELECT EXISTS (
    SELECT FROM images i WHERE i.collection_id = $1 AND i.last_revision IS NULL
    AND hashtextextended(i.{column}, 0) = hashtextextended($2, 0) AND i.{column} = $2)
"""

# Without OFFSET, the planner may read all rows once instead of using the index for each URL.
VIEWS = """
SELECT repo_url, count(*) AS number FROM (
    SELECT current.repo_url FROM unnest($3::text[]) AS u (url) CROSS JOIN LATERAL (
        SELECT i.repo_url FROM images i
        WHERE i.collection_id = $1 AND i.last_revision IS NULL AND i.first_revision <= $2
              AND hashtextextended(i.repo_url, 0) = hashtextextended(u.url, 0) AND i.repo_url = u.url OFFSET 0
    ) current
    UNION ALL
    SELECT i.repo_url FROM images i
    WHERE i.collection_id = $1 AND i.last_revision >= $2 AND i.first_revision <= $2 AND i.repo_url = ANY($3)
) named
GROUP BY repo_url
"""


# Rows that are read at a time. Such a page blocks the event loop for a millisecond.
ROWS_AT_ONCE = 500
# Bytes of memory that a row takes besides its URLs.
ROW_BYTES = 400


@dataclass(frozen=True)
class EqualImage:
    """An image whose vector equals that of an earlier image, the first one, which has a point.

    ordinal: 1 for the next image after the first one, and so on, by id.
    """

    first_image_id: int
    ordinal: int
    image_id: int


@dataclass(frozen=True)
class RowUrl:
    """A URL of rows of a collection: of their image, or of their entry in a repository."""

    text: str
    is_entry: bool

    @property
    def column(self) -> str:
        """The column that has it."""
        return "repo_url" if self.is_entry else "image_url"

    @property
    def is_storable(self) -> bool:
        """Whether a row can have it. Postgres refuses other text."""
        return "\0" not in self.text and all(not "\ud800" <= character <= "\udfff" for character in self.text)


@dataclass(frozen=True)
class PointImage:
    """An image that a point stands for. place: of the point among those that were asked for, from 0."""

    place: int
    image: Image


@dataclass(frozen=True)
class Points:
    """Points of an index. ids: of the images in the hits of a query. limit: how many images they should stand for."""

    index: Index
    ids: Sequence[int]
    limit: int


@dataclass(frozen=True)
class PointRows:
    """The rows of points of an index.

    images: the first ones that the points stand for, in the order of the points, then by id. An image that is not in
    the index's revision is left out. first: the first image of each of the points, by its id; also others that were
    read. is_live: whether searches of the collection should use this index now; None: that was not read.
    """

    images: list[PointImage]
    first: Mapping[int, Image]
    is_live: bool | None


class IndexRows:
    """All rows of an index, in memory. They never change, but another index may become live."""

    def __init__(
        self, rows: Mapping[int, tuple[str, str, int]], others: Mapping[int, Sequence[int]], size: int
    ) -> None:
        """rows: image URL, repository URL and first revision, by image id.

        others: the ids of the other images that each point stands for, in their order, by the id of the first image.
        size: about how many bytes of memory they take.
        """
        self._rows = rows
        self._others = others
        self.size = size

    def of_points(self, points: Points) -> PointRows:
        """Return what `IndexedImages.of_indexes` returns for these points."""
        numbers = {first: len(self._others.get(first, ())) for first in points.ids if first in self._rows}
        wanted = _wanted_others(numbers, points.ids, points.limit)
        others = {first: self._others[first][:number] for first, number in wanted}
        ids = [*numbers, *(other for several in others.values() for other in several)]
        images = {each: Image(each, *self._rows[each]) for each in ids if each in self._rows}
        return PointRows(_expanded(points, images, others), images, None)


class IndexedImages:
    """The images of indexes in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._images = Images(database)

    async def add_equal(self, index: Index, images: Sequence[EqualImage]) -> None:
        """Record images that have no point of their own. Adding them again changes nothing.

        Raises LeaseLost if the index is gone.
        """
        rows = [(image.first_image_id, image.ordinal, image.image_id) for image in images]
        try:
            async with self._database.connection() as connection:
                await connection.execute(ADD, index.id, *zip(*rows, strict=True))
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The index has been removed.") from None

    async def of_points(self, index: Index, points: Sequence[int], limit: int) -> list[PointImage]:
        """Return the first `limit` images that the points stand for: in the order of the points, then by id.

        points: the image ids in the hits of a query. An image that is not in the index's revision is left out.
        """
        [rows] = await self.of_indexes([Points(index, points, limit)])
        return rows.images

    async def of_indexes(self, wanted: Sequence[Points]) -> list[PointRows]:
        """Return the rows of points of several indexes, with one statement unless there are equal images."""
        if not wanted:
            return []
        ids = [identifier for points in wanted for identifier in points.ids]
        last = list(accumulate(len(points.ids) for points in wanted))
        first = [end - len(points.ids) + 1 for end, points in zip(last, wanted, strict=True)]
        indexes = [(each.index.collection_id, each.index.revision, each.index.id) for each in wanted]
        async with self._database.connection() as connection:
            rows = await connection.fetch(FIRST_IMAGES, *zip(*indexes, strict=True), first, last, ids)
            live = {row["index_id"] for row in rows if row["index_id"] == row["live_index"]}
            found: dict[int, list[asyncpg.Record]] = {points.index.id: [] for points in wanted}
            for row in rows:
                if row["id"] is not None:
                    found[row["index_id"]].append(row)
            others = {
                points.index.id: await self._others(connection, points, found[points.index.id]) for points in wanted
            }
        answers = []
        for points in wanted:
            images = {row["id"]: _image(row) for row in found[points.index.id]}
            more = others[points.index.id]
            if more:
                named = [other for several in more.values() for other in several]
                images |= await self._images.by_id(points.index.collection_id, points.index.revision, named)
            answers.append(PointRows(_expanded(points, images, more), images, points.index.id in live))
        return answers

    async def all_rows(self, index: Index, *, most: int, most_bytes: int) -> IndexRows | None:
        """Return all rows of an index, read page by page; None if they are too many or take too much memory."""
        rows: dict[int, tuple[str, str, int]] = {}
        used = after = 0
        while page := await self._page(ROWS_AFTER, index.collection_id, index.revision, after):
            for after, image_url, repo_url, since in page:
                rows[after] = (image_url, repo_url, since)
                used += len(image_url) + len(repo_url) + ROW_BYTES
            if len(rows) > most or used > most_bytes:
                return None
        others: dict[int, list[int]] = {}
        after_equal = (0, 0)
        while page := await self._page(EQUAL_AFTER, index.id, *after_equal):
            for row in page:
                after_equal = (row["first_image_id"], row["ordinal"])
                others.setdefault(row["first_image_id"], []).append(row["image_id"])
        return IndexRows(rows, others, used)

    async def _page(self, statement: str, *arguments: int) -> list[asyncpg.Record]:
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments, ROWS_AT_ONCE)
        return rows

    async def _others(
        self, connection: Connection, points: Points, rows: Sequence[asyncpg.Record]
    ) -> dict[int, list[int]]:
        """Return the ids of the other images that belong to the first ones, by the id of the first image."""
        wanted = _wanted_others({row["id"]: row["others"] for row in rows}, points.ids, points.limit)
        others: dict[int, list[int]] = {}
        if wanted:
            for first, other in await connection.fetch(OTHER_IMAGES, points.index.id, *zip(*wanted, strict=True)):
                others.setdefault(first, []).append(other)
        return others

    async def points_of_equal(self, index: Index, image_ids: Sequence[int]) -> dict[int, int]:
        """Return the point that stands for each of the images that have no point of their own."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(POINTS_OF_EQUAL, index.id, image_ids)
        return {row["image_id"]: row["first_image_id"] for row in rows}

    async def urls(self, index: Index, image_ids: Sequence[int]) -> dict[int, str]:
        """Return the URL of each of the images that the index has, by id. Those that failed are left out."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(URLS, index.collection_id, index.revision, index.id, image_ids)
        return {row["id"]: row["image_url"] for row in rows}

    async def in_newest_content(self, collection_id: int, image_ids: Sequence[int]) -> set[int]:
        """Return which of the images are in a collection's newest content, indexed or not."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(IN_NEWEST_CONTENT, collection_id, image_ids)
        return {row["id"] for row in rows}

    async def with_url(self, index: Index, url: RowUrl, limit: int) -> list[int]:
        """Return the ids of the first `limit` images of an index whose rows have a URL. Failed images are left out."""
        if not url.is_storable:
            return []
        statement = OF_URL.format(column=url.column)
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, index.collection_id, index.revision, index.id, url.text, limit)
        return [row["id"] for row in rows]

    async def newest_content_has(self, collection_id: int, url: RowUrl) -> bool:
        """Return whether a row of a collection's newest content has a URL, indexed or not."""
        if not url.is_storable:
            return False
        statement = HAS_URL.format(column=url.column)
        async with self._database.connection() as connection:
            found: bool = await connection.fetchval(statement, collection_id, url.text)
        return found

    async def views(self, index: Index, repo_urls: Sequence[str]) -> dict[str, int]:
        """Return how many images of the index's revision each repository URL has, failed ones included."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(VIEWS, index.collection_id, index.revision, repo_urls)
        return {row["repo_url"]: row["number"] for row in rows}


def _wanted_others(others: Mapping[int, int], points: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Return how many others of which points belong to the first `limit` images. others: the number by first image."""
    wanted: list[tuple[int, int]] = []
    if not any(others.values()):
        return wanted
    for first in points:
        if limit <= 0:
            break
        if first in others:
            taken = min(others[first], limit - 1)
            limit -= 1 + taken
            if taken:
                wanted.append((first, taken))
    return wanted


def _expanded(points: Points, images: Mapping[int, Image], others: Mapping[int, Sequence[int]]) -> list[PointImage]:
    """Return the first images that points stand for. others: of each first image."""
    found = [(place, image) for place, first in enumerate(points.ids) for image in (first, *others.get(first, ()))]
    return [PointImage(place, images[image]) for place, image in found if image in images][: points.limit]


def _image(row: asyncpg.Record) -> Image:
    return Image(row["id"], row["image_url"], row["repo_url"], row["first_revision"])
