"""Indexed images: which images each point of an index stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from catalog.images import Image, Images
from catalog.indexes import Index
from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

ADD = """
INSERT INTO equal_images (index_id, first_image_id, ordinal, image_id)
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT DO NOTHING
"""

FIRST_IMAGES = """
SELECT i.id, i.image_url, i.repo_url, i.first_revision, equal.first_image_id IS NOT NULL AS has_equal
FROM images i LEFT JOIN LATERAL (
    SELECT e.first_image_id FROM equal_images e WHERE e.index_id = $3 AND e.first_image_id = i.id LIMIT 1
) equal ON true
WHERE i.collection_id = $1 AND i.first_revision <= $2 AND (i.last_revision IS NULL OR i.last_revision >= $2)
      AND i.id = ANY($4)
"""

# The images without a point that are needed. One probe of the primary key finds how many images a point stands for, and
# another one those that are needed. So the cost depends on what is asked for and not on the size of a group.
EXPAND = """
WITH point AS MATERIALIZED (
    SELECT p.first_image_id, p.place, 1 + coalesce((
        SELECT e.ordinal FROM equal_images e
        WHERE e.index_id = $1 AND e.first_image_id = p.first_image_id ORDER BY e.ordinal DESC LIMIT 1), 0) AS size
    FROM unnest($2::bigint[]) WITH ORDINALITY AS p (first_image_id, place)
), needed AS (
    SELECT first_image_id, place, size, $3 - (sum(size) OVER (ORDER BY place) - size)::bigint AS wanted FROM point
)
SELECT n.first_image_id, equal.image_id
FROM needed n CROSS JOIN LATERAL (
    SELECT e.image_id, e.ordinal FROM equal_images e
    WHERE e.index_id = $1 AND e.first_image_id = n.first_image_id ORDER BY e.ordinal LIMIT n.wanted - 1
) equal
WHERE n.size > 1 AND n.wanted > 0
ORDER BY n.place, equal.ordinal
"""


@dataclass(frozen=True)
class EqualImage:
    """An image whose vector equals that of an earlier image, the first one, which has a point.

    ordinal: 1 for the next image after the first one, and so on, by id.
    """

    first_image_id: int
    ordinal: int
    image_id: int


@dataclass(frozen=True)
class PointImage:
    """An image that a point stands for. place: of the point among those that were asked for, from 0."""

    place: int
    image: Image


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
        async with self._database.connection() as connection:
            rows = await connection.fetch(FIRST_IMAGES, index.collection_id, index.revision, index.id, points)
            equal: dict[int, list[int]] = {}
            if any(row["has_equal"] for row in rows):
                for first, image in await connection.fetch(EXPAND, index.id, points, limit):
                    equal.setdefault(first, []).append(image)
        images = {row["id"]: _image(row) for row in rows}
        if equal:
            others = [image for group in equal.values() for image in group]
            images |= await self._images.by_id(index.collection_id, index.revision, others)
        found = [(place, image) for place, first in enumerate(points) for image in (first, *equal.get(first, ()))]
        return [PointImage(place, images[image]) for place, image in found[:limit] if image in images]

    async def first_of_points(self, index: Index, points: Sequence[int]) -> dict[int, Image]:
        """Return the first image that each of the points stands for, by its id. points: as in `of_points`."""
        return await self._images.by_id(index.collection_id, index.revision, points)


def _image(row: asyncpg.Record) -> Image:
    return Image(row["id"], row["image_url"], row["repo_url"], row["first_revision"])
