"""Duplicates: groups of images of an index that are copies of each other, found when the index was made."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum

import asyncpg

from catalog.images import AT_REVISION
from catalog.indexes import Index
from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

REMOVE = ("DELETE FROM duplicate_groups WHERE index_id = $1", "DELETE FROM duplicate_images WHERE index_id = $1")

# Indexed images with the same bytes. The inner query is for large collections: few digests repeat.
ADD_IDENTICAL = f"""
INSERT INTO duplicate_images (index_id, ordinal, image_id)
SELECT $1, dense_rank() OVER (ORDER BY first_id, digest), id FROM (
    SELECT m.id, v.digest, min(m.id) OVER (PARTITION BY v.digest) AS first_id
    FROM image_versions v
    JOIN images m ON m.collection_id = v.collection_id AND m.id = v.image_id AND {AT_REVISION.replace("$2", "$3")}
    WHERE v.collection_id = $2 AND v.backbone = $4 AND v.digest IN (
        SELECT digest FROM image_versions WHERE collection_id = $2 AND backbone = $4 AND digest IS NOT NULL
        GROUP BY digest HAVING count(*) > 1)
    AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = $1 AND f.image_id = m.id)
) found
"""  # noqa: S608 (a constant)

LAST_ORDINAL = "SELECT coalesce(max(ordinal), 0) FROM duplicate_images WHERE index_id = $1"

ADD_COPIES = """
INSERT INTO duplicate_images (index_id, ordinal, image_id)
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[])
"""

# Groups of several images. A group of copies has several different files; one without a digest counts as different.
# Each row without an entry counts as a separate entry.
ADD_GROUPS = f"""
INSERT INTO duplicate_groups (index_id, ordinal, kind, score, images, entries)
SELECT $1, d.ordinal, CASE WHEN d.ordinal <= $5 THEN 'identical' ELSE 'copy' END,
       coalesce(($6::real[])[(d.ordinal - $5)::int], 1), count(*),
       count(DISTINCT coalesce(nullif(m.repo_url, ''), m.id::text))
FROM duplicate_images d
JOIN images m ON m.collection_id = $2 AND m.id = d.image_id AND {AT_REVISION.replace("$2", "$3")}
LEFT JOIN image_versions v ON v.collection_id = $2 AND v.image_id = d.image_id AND v.backbone = $4
WHERE d.index_id = $1
GROUP BY d.ordinal
HAVING count(*) > 1 AND (d.ordinal <= $5 OR count(DISTINCT coalesce(v.digest, int8send(d.image_id))) > 1)
"""  # noqa: S608 (a constant)

REMOVE_UNGROUPED = """
DELETE FROM duplicate_images d WHERE d.index_id = $1
AND NOT EXISTS (SELECT FROM duplicate_groups g WHERE g.index_id = $1 AND g.ordinal = d.ordinal)
"""

MARK_SEARCHED = "UPDATE indexes SET duplicates_searched = $2, vectors_digest = $3 WHERE id = $1"

SEARCHED_WITH = """
SELECT max(id) FROM indexes WHERE collection_id = $1 AND duplicates_searched AND vectors_digest = $2
"""

COPIES = """
SELECT array_agg(d.image_id ORDER BY d.image_id) AS images, g.score
FROM duplicate_groups g JOIN duplicate_images d ON d.index_id = g.index_id AND d.ordinal = g.ordinal
WHERE g.index_id = $1 AND g.kind = 'copy' GROUP BY g.ordinal, g.score ORDER BY g.ordinal
"""

OF_LIVE = """
SELECT c.live_index, i.duplicates_searched,
       (SELECT count(*) FROM duplicate_groups g WHERE g.index_id = i.id AND ($2::text IS NULL OR g.kind = $2)) AS number
FROM collections c LEFT JOIN indexes i ON i.id = c.live_index WHERE c.id = $1
"""

GROUPS = """
SELECT ordinal, kind, score, images, entries FROM duplicate_groups
WHERE index_id = $1 AND ($2::text IS NULL OR kind = $2) AND ordinal > $3 ORDER BY ordinal LIMIT $4
"""

# The first images of each group.
IMAGES_OF_GROUPS = """
SELECT wanted.ordinal, m.id, m.image_url, m.repo_url
FROM indexes i
CROSS JOIN unnest($2::bigint[]) AS wanted (ordinal)
CROSS JOIN LATERAL (
    SELECT d.image_id FROM duplicate_images d WHERE d.index_id = i.id AND d.ordinal = wanted.ordinal
    ORDER BY d.image_id LIMIT $3
) d
JOIN images m ON m.collection_id = i.collection_id AND m.id = d.image_id AND m.first_revision <= i.revision
     AND (m.last_revision IS NULL OR m.last_revision >= i.revision)
WHERE i.id = $1
ORDER BY wanted.ordinal, m.id
"""

ROWS = """
SELECT g.ordinal, g.kind, g.score, g.images, g.entries, m.id, m.image_url, m.repo_url
FROM indexes i
JOIN duplicate_groups g ON g.index_id = i.id AND ($2::text IS NULL OR g.kind = $2)
JOIN duplicate_images d ON d.index_id = i.id AND d.ordinal = g.ordinal
JOIN images m ON m.collection_id = i.collection_id AND m.id = d.image_id AND m.first_revision <= i.revision
     AND (m.last_revision IS NULL OR m.last_revision >= i.revision)
WHERE i.id = $1 AND (d.ordinal, d.image_id) > ($3, $4)
ORDER BY d.ordinal, d.image_id LIMIT $5
"""

# Grouping two million rows takes longer than the statements of a request.
STORE_SECONDS = 300.0


class DuplicateKind(Enum):
    """What the images of a group have in common: the same bytes, or the same picture in different files."""

    IDENTICAL = "identical"
    COPY = "copy"


@dataclass(frozen=True)
class CopyGroup:
    """Images that show the same picture. score: the lowest similarity that made one of them a member, at most 1."""

    images: Sequence[int]
    score: float


@dataclass(frozen=True)
class FoundDuplicates:
    """What is known about the duplicates of the live index.

    index_id: None if the collection has never been finetuned. searched: whether the search for duplicates was done;
    None if the index is of an older release. number: of the groups.
    """

    index_id: int | None
    searched: bool | None
    number: int


@dataclass(frozen=True)
class DuplicateImage:
    """A row of the content that a group contains."""

    image_id: int
    image_url: str
    repo_url: str


@dataclass(frozen=True)
class DuplicateGroup:
    """A group. number_of_images, number_of_entries: of all its images. images: the first of them, by id."""

    ordinal: int
    kind: str
    score: float
    number_of_images: int
    number_of_entries: int
    images: Sequence[DuplicateImage]


class Duplicates:
    """The groups in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def copies_among(self, collection_id: int, vectors: bytes) -> list[CopyGroup] | None:
        """Return the copies in the newest index with these vectors; None if the search was done for none of them.

        vectors: the digest that `replace` got.
        """
        async with self._database.connection() as connection:
            index: int | None = await connection.fetchval(SEARCHED_WITH, collection_id, vectors)
            if index is None:
                return None
            rows = await connection.fetch(COPIES, index, timeout=STORE_SECONDS)
        return [CopyGroup(row["images"], row["score"]) for row in rows]

    async def replace(self, index: Index, copies: Sequence[CopyGroup], vectors: bytes) -> None:
        """Store the groups of an index: images with the same bytes, and the given copies in their order.

        A group of copies whose files are all the same is left out. vectors: a digest of the images and their base
        vectors. Raises LeaseLost if the index is gone.
        """
        version = (index.collection_id, index.revision, index.backbone)
        try:
            async with self._database.transaction() as connection:
                for statement in REMOVE:
                    await connection.execute(statement, index.id)
                await connection.execute(ADD_IDENTICAL, index.id, *version, timeout=STORE_SECONDS)
                last: int = await connection.fetchval(LAST_ORDINAL, index.id)
                ordinals = [last + place for place, group in enumerate(copies, start=1) for _ in group.images]
                members = [image for group in copies for image in group.images]
                await connection.execute(ADD_COPIES, index.id, ordinals, members, timeout=STORE_SECONDS)
                scores = [group.score for group in copies]
                await connection.execute(ADD_GROUPS, index.id, *version, last, scores, timeout=STORE_SECONDS)
                await connection.execute(REMOVE_UNGROUPED, index.id, timeout=STORE_SECONDS)
                await connection.execute(MARK_SEARCHED, index.id, True, vectors)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The index has been removed.") from None

    async def mark_failed(self, index: Index) -> None:
        """Record that the duplicates of an index are not known, because the search for them failed."""
        async with self._database.connection() as connection:
            await connection.execute(MARK_SEARCHED, index.id, False, None)

    async def of_live_index(self, collection_id: int, kind: DuplicateKind | None) -> FoundDuplicates:
        """Return what is known about the live index of a collection. kind: count only groups of this kind."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(OF_LIVE, collection_id, kind.value if kind else None)
        if row is None:
            return FoundDuplicates(None, None, 0)
        return FoundDuplicates(row["live_index"], row["duplicates_searched"], row["number"])

    async def page(
        self, index_id: int, kind: DuplicateKind | None, *, after: int, limit: int, images: int
    ) -> list[DuplicateGroup]:
        """List the first `limit` groups of an index with an ordinal above `after`. images: the most of each group."""
        async with self._database.connection() as connection:
            groups = await connection.fetch(GROUPS, index_id, kind.value if kind else None, after, limit)
            ordinals = [group["ordinal"] for group in groups]
            rows = await connection.fetch(IMAGES_OF_GROUPS, index_id, ordinals, images)
        members: dict[int, list[DuplicateImage]] = {ordinal: [] for ordinal in ordinals}
        for row in rows:
            members[row["ordinal"]].append(_image(row))
        return [_group(group, members[group["ordinal"]]) for group in groups]

    async def rows(
        self, index_id: int, kind: DuplicateKind | None, *, page: int
    ) -> AsyncIterator[list[DuplicateGroup]]:
        """Yield all images of all groups of an index, `page` at a time: each as a group with this image only."""
        ordinal = image = 0
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(ROWS, index_id, kind.value if kind else None, ordinal, image, page)
            if not rows:
                return
            yield [_group(row, [_image(row)]) for row in rows]
            ordinal, image = rows[-1]["ordinal"], rows[-1]["id"]


def _image(row: asyncpg.Record) -> DuplicateImage:
    return DuplicateImage(row["id"], row["image_url"], row["repo_url"])


def _group(row: asyncpg.Record, images: Sequence[DuplicateImage]) -> DuplicateGroup:
    return DuplicateGroup(row["ordinal"], row["kind"], row["score"], row["images"], row["entries"], images)
