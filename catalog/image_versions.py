"""Image versions: the HTTP validators (RFC 9110, 8.8) of the bytes that were embedded, and what was wrong with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from catalog.images import AT_REVISION
from catalog.jobs import LeaseLost
from catalog.postgres.database import Database
from servicekit.download.image_version import ImageVersion

OF_IMAGES = """
SELECT image_id, etag, last_modified, warning, refreshed_by FROM image_versions
WHERE collection_id = $1 AND backbone = $2 AND image_id = ANY($3)
"""

SAVE = """
INSERT INTO image_versions (collection_id, image_id, backbone, etag, last_modified, warning, refreshed_by, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (collection_id, image_id) DO UPDATE
SET backbone = excluded.backbone, etag = excluded.etag, last_modified = excluded.last_modified,
    warning = excluded.warning, refreshed_by = excluded.refreshed_by,
    digest = coalesce(excluded.digest, image_versions.digest)
"""

# Images that the index has although something was wrong with them.
WARNED = """
SELECT v.image_id, m.image_url, m.repo_url, v.warning
FROM indexes i
JOIN image_versions v ON v.collection_id = i.collection_id AND v.backbone = i.backbone AND v.warning IS NOT NULL
JOIN images m ON m.collection_id = i.collection_id AND m.id = v.image_id AND m.first_revision <= i.revision
     AND (m.last_revision IS NULL OR m.last_revision >= i.revision)
WHERE i.id = $1 AND v.image_id > $2
  AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = i.id AND f.image_id = v.image_id)
ORDER BY v.image_id LIMIT $3
"""

# Rows without an entry count as entries of their own. The inner query is for large collections: few digests repeat.
REPEATED = f"""
SELECT count(*) AS images, (array_agg(DISTINCT m.image_url ORDER BY m.image_url))[1:2] AS examples
FROM image_versions v
JOIN images m ON m.collection_id = v.collection_id AND m.id = v.image_id AND {AT_REVISION.replace("$2", "$3")}
WHERE v.collection_id = $1 AND v.backbone = $2 AND v.digest IN (
    SELECT digest FROM image_versions WHERE collection_id = $1 AND backbone = $2 AND digest IS NOT NULL
    GROUP BY digest HAVING count(*) >= $4)
GROUP BY v.digest
HAVING count(DISTINCT m.image_url) >= $4 AND count(DISTINCT coalesce(nullif(m.repo_url, ''), m.image_url)) >= $4
ORDER BY images DESC LIMIT $5
"""  # noqa: S608 (a constant)


@dataclass(frozen=True)
class StoredVersion:
    """The version that an image's stored vector was made of. refreshed_by: the last refresh job that checked it."""

    version: ImageVersion
    refreshed_by: int | None


@dataclass(frozen=True)
class WarnedImage:
    """A row whose image was indexed although something was wrong with it. warning: the code of that."""

    image_id: int
    image_url: str
    repo_url: str
    warning: str


@dataclass(frozen=True)
class RepeatedImage:
    """The same bytes behind different URLs and different entries. images: rows. examples: two of the URLs."""

    images: int
    examples: Sequence[str]


@dataclass(frozen=True)
class EmbeddedVersion:
    """A version, and the digest of its bytes; None: the bytes are those that were embedded before."""

    version: ImageVersion
    digest: bytes | None = None


class ImageVersions:
    """The versions in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_images(self, collection_id: int, backbone: str, ids: Sequence[int]) -> Mapping[int, StoredVersion]:
        """Return the known versions of images by image id. backbone: checksum of the one that embedded them."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_IMAGES, collection_id, backbone, ids)
        return {
            row["image_id"]: StoredVersion(
                ImageVersion(row["etag"], row["last_modified"], row["warning"]), row["refreshed_by"]
            )
            for row in rows
        }

    async def warned(self, index_id: int | None, *, after: int, limit: int) -> list[WarnedImage]:
        """List the first `limit` images of an index that have a warning and an id above `after`, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(WARNED, index_id, after, limit)
        return [WarnedImage(**row) for row in rows]

    async def save(
        self, collection_id: int, backbone: str, versions: Mapping[int, EmbeddedVersion], *, refreshed_by: int | None
    ) -> None:
        """Save which version each image's vector was made of. Raises LeaseLost if the collection is gone."""
        rows = [
            (
                *(collection_id, image, backbone, new.version.etag, new.version.last_modified, new.version.warning),
                *(refreshed_by, new.digest),
            )
            for image, new in versions.items()
        ]
        try:
            async with self._database.connection() as connection:
                await connection.executemany(SAVE, rows)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection has been deleted.") from None

    async def repeated(
        self, collection_id: int, backbone: str, revision: int, *, least: int, limit: int
    ) -> list[RepeatedImage]:
        """List the images of a revision that are behind at least `least` URLs and entries, the most frequent first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(REPEATED, collection_id, backbone, revision, least, limit)
        return [RepeatedImage(row["images"], row["examples"]) for row in rows]
